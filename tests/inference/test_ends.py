"""A network that takes the files' own pixels, or answers classes, is predicted with as any other."""

import numpy as np
import pytest
import tifffile

from unetkit.data.windows import open_source, prepare_source
from unetkit.errors import DataError, UsageError
from unetkit.inference.ends import refuse_without_logits, votes
from unetkit.inference.predict import Predictor
from unetkit.records.case import Grid, Intensity, Sample
from unetkit.records.plan import DataPlan, InferencePlan, Normalization, PreparationPlan

DATA = DataPlan(rank=2, channels=("c",), classes=("no", "dark", "bright"), label_values=(0, 1, 2))
FIXED = PreparationPlan(normalization=(Normalization(scheme="ct", low=20, high=230, mean=90, std=40),))
RULE = (Intensity(20.0, 230.0, 90.0, 1 / 40),)


class Blurred:
    """Three classes from a pixel and its neighbours, for normalised pixels; it pads with 0."""

    notes = ()

    def run(self, batch):
        assert batch.dtype == np.float32
        wide = np.pad(batch, ((0, 0), (0, 0), (1, 1), (1, 1)))
        mean = sum(
            wide[..., i : i + batch.shape[2], j : j + batch.shape[3]] for i in range(3) for j in range(3)
        )
        return np.concatenate([0 * mean, -mean - 2, mean - 1], axis=1)


class Stored:
    """The same for pixels as they are in the files."""

    notes = ()

    def run(self, batch):
        assert batch.dtype == np.uint8
        ready = (np.clip(batch.astype(np.float32), 20, 230) - np.float32(90)) * np.float32(1 / 40)
        return Blurred().run(ready)


class Ids:
    """The same again, but it answers classes."""

    notes = ()

    def run(self, batch):
        return Stored().run(batch).argmax(axis=1).astype(np.uint8)


def road(runtime, **words):
    kind = {} if isinstance(runtime, Blurred) else {"network_input": "uint8"}
    return Predictor(runtime, DATA, FIXED, InferencePlan(**{"tile_size": (16, 16), **kind, **words}))


def scene(shape=(50, 41)):
    return np.random.default_rng(0).integers(0, 256, (1, *shape), dtype=np.uint8)


@pytest.mark.parametrize(
    "words",
    [
        {},
        {"batch_size": 3, "mirror_axes": (0, 1)},
        {"mode": "exact"},
        {"skip_tiles": "constant"},
        {"whole_image_pixels": 10**6},
    ],
)
def test_pixels_as_stored_give_the_same_answer_bit_for_bit(words):
    sample = Sample("a", scene(), Grid.plain(2), intensity=RULE)
    wanted = road(Blurred(), **words).sample(sample, mirror=True, probabilities=True)
    found = road(Stored(), **words).sample(sample, mirror=True, probabilities=True)
    assert np.array_equal(found.probabilities, wanted.probabilities)
    assert len(np.unique(found.labels)) == 3


def test_equal_constant_tiles_are_still_asked_about_once():
    class Counting(Stored):
        calls = 0

        def run(self, batch):
            Counting.calls += 1
            return super().run(batch)

    flat = np.full((1, 64, 61), 7, np.uint8)  # no multiple of four bytes to a row
    road(Counting(), overlap_fraction=0.0).sample(Sample("a", flat, Grid.plain(2), intensity=RULE))
    assert Counting.calls == 1


@pytest.mark.parametrize("runtime", [Stored(), Ids()])
def test_rows_from_a_file_are_those_of_the_image_in_memory(runtime, tmp_path):
    path, pixels = tmp_path / "a.tif", scene((90, 57))
    tifffile.imwrite(path, pixels[0], photometric="minisblack", tile=(16, 16))
    words = {} if isinstance(runtime, Stored) else {"network_output": "classes"}
    predictor, rows = road(runtime, **words), []
    with open_source([path], DATA) as source:
        sample = prepare_source(source, FIXED, id="a")
        counts = predictor.stream(sample, lambda bands: rows.extend(map(np.copy, bands)), folder=tmp_path)
    whole = predictor.array(pixels).labels
    assert np.array_equal(np.concatenate(rows), whole)
    assert counts.tolist() == np.bincount(whole.ravel(), minlength=3).tolist()


def test_a_first_look_rounds_its_means_to_pixels():
    sample = Sample("a", scene((64, 64)), Grid.plain(2), intensity=RULE)
    words = {"screen_factor": 2, "screen_thresholds": (0.5, 0.5)}
    (_, wanted), (_, found) = (road(each, **words).screen(sample) for each in (Blurred(), Stored()))
    np.testing.assert_allclose(found, wanted, atol=0.05)
    assert not np.array_equal(found, wanted)
    rounded = np.rint(sample.pixels.reshape(1, 32, 2, 32, 2).astype(np.float64).mean(axis=(2, 4)))
    small = Sample("a", rounded.astype(np.uint8), Grid.plain(2), intensity=RULE)
    shares = road(Blurred()).sample(small, probabilities=True).probabilities[1:]
    assert found.max(axis=0) == pytest.approx(shares.max(axis=(1, 2)), abs=1e-6)


def test_classes_in_one_tile_are_those_of_the_largest_logit():
    sample = Sample("a", scene(), Grid.plain(2), intensity=RULE)
    words = {"whole_image_pixels": 10**6}
    found = road(Ids(), network_output="classes", **words).sample(sample).labels
    assert np.array_equal(found, road(Blurred(), **words).sample(sample).labels)


def test_overlapping_tiles_vote_with_their_weights():
    """Two tiles of one row, by hand: where they disagree the nearer centre wins."""

    class Sides:
        notes = ()

        def run(self, batch):
            return np.full(batch.shape[:1] + batch.shape[2:], batch[0, 0, 0, 0], np.uint8)

    pixels = np.zeros((1, 1, 12), np.uint8)
    pixels[0, 0, 4] = 1  # the first pixel of the second tile
    plan = InferencePlan(
        tile_size=(1, 8), overlap_fraction=0.5, network_input="uint8", network_output="classes"
    )
    found = Predictor(Sides(), DATA, FIXED, plan).array(pixels).labels[0]
    assert found.tolist() == [0] * 6 + [1] * 6


def test_votes_by_hand_and_never_of_logits():
    found = votes(np.array([[2, 0]], np.uint8), 3)
    assert found.dtype == np.float32
    assert found.tolist() == [[[0, 1], [0, 0], [1, 0]]]
    with pytest.raises(UsageError, match="expected class ids from the network, got logits"):
        votes(np.zeros((1, 3, 2), np.float32), 3)


@pytest.mark.parametrize("kind", [np.uint16, np.float32])
def test_pixels_of_another_type_are_refused(kind):
    with pytest.raises(DataError, match=f"expected pixels of type uint8, .* got {np.dtype(kind)}") as refused:
        road(Stored()).array(scene().astype(kind))
    assert "without --uint8" in refused.value.cure


@pytest.mark.parametrize(
    ("words", "name"),
    [
        ({"mode": "exact"}, "inference.mode exact"),
        ({"screen_factor": 4, "screen_thresholds": (0.1, 0.1)}, "inference.screen_factor"),
        ({"crf_steps": 5}, "inference.crf_steps"),
    ],
)
def test_what_needs_logits_is_refused_where_there_are_none(words, name):
    plan = InferencePlan(tile_size=(8, 8), network_output="classes", **words)
    with pytest.raises(UsageError, match=f"{name} needs logits, and this network answers classes"):
        refuse_without_logits(plan)
    refuse_without_logits(plan.model_copy(update={"network_output": "logits"}))


def test_there_are_no_probabilities_of_classes():
    with pytest.raises(UsageError, match="probabilities need logits") as refused:
        road(Ids(), network_output="classes").array(scene(), probabilities=True)
    assert "without --classes" in refused.value.cure
