"""Several predictors as one: the mean of their probabilities, in place, one after the other."""

from __future__ import annotations

import tracemalloc

import numpy as np
import pytest
from PIL import Image

from unetkit.errors import DataError, UsageError
from unetkit.inference.ensemble import BYTES_PER_SHARE, Ensemble
from unetkit.inference.predict import Predictor
from unetkit.records.case import Case, Grid
from unetkit.records.plan import EXAMPLE, Plan


class Linear:
    """A network of one number per class and channel."""

    notes = ()

    def __init__(self, seed, classes=3):
        self.weights = np.random.default_rng(seed).normal(size=(classes, 1)).astype(np.float32)

    def run(self, batch):
        return np.einsum("kc,bc...->bk...", self.weights, batch)


def plan(**values):
    told = {
        "data.classes": '["background","a","b"]',
        "data.label_values": "[0,1,2]",
        "inference.tile_size": "[16,16]",
        **values,
    }
    return Plan.model_validate(EXAMPLE).with_values(told)


def predictor(seed, **values):
    own = plan(**values)
    return Predictor(Linear(seed), own.data, own.preparation, own.inference)


@pytest.fixture
def image():
    return np.random.default_rng(5).integers(0, 255, (1, 24, 30)).astype(np.uint8)


def ensemble(*members, **values):
    own = plan(**values)
    return Ensemble([lambda member=member: member for member in members], own.data, own.inference)


def test_it_is_the_mean_of_softmaxes(image):
    """Against numpy: z-score, weights, softmax, mean."""
    found = ensemble(*map(predictor, range(3))).array(image, probabilities=True)
    pixels = image[0].astype(np.float64)
    pixels = (pixels - pixels.mean()) / pixels.std()
    logits = [Linear(seed).weights.astype(np.float64)[..., None] * pixels for seed in range(3)]
    wanted = np.mean([np.exp(each) / np.exp(each).sum(0) for each in logits], axis=0)
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
    np.testing.assert_array_equal(found.labels, wanted.argmax(0))
    assert found.labels.dtype == np.uint8


@pytest.mark.parametrize("times", [1, 2, 3])
def test_the_same_network_several_times_is_that_network(image, times):
    alone = predictor(1).array(image, probabilities=True)
    together = ensemble(*[predictor(1)] * times).array(image, probabilities=True)
    np.testing.assert_array_equal(together.labels, alone.labels)
    np.testing.assert_allclose(together.probabilities, alone.probabilities, atol=1e-7)


def test_members_prepare_in_their_own_way_and_meet_on_the_image(image):
    """One is resampled to twice the spacing and one cropped; both answers lie on the image's grid."""
    image[:, :5] = 0
    grid = Grid((1.0, 1.0), (3.0, 4.0), ((1.0, 0.0), (0.0, 1.0)))
    coarse = predictor(0, **{"preparation.spacing_mm": "[2.0,2.0]"})
    cropped = predictor(1, **{"preparation.crop_to_nonzero": "true"})
    parts = [one.array(image, grid, probabilities=True) for one in (coarse, cropped)]
    found = ensemble(coarse, cropped).array(image, grid, probabilities=True)
    wanted = (parts[0].probabilities + parts[1].probabilities) / 2
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-7)
    assert found.grid == grid
    assert found.labels.shape == image.shape[1:]
    assert (parts[1].probabilities[0, :5] == 1).all()  # outside the crop there is background


def test_objects_are_believed_or_not_in_the_mean(image):
    members = [predictor(seed) for seed in range(2)]
    bare = ensemble(*members).array(image).labels
    clean = ensemble(*members, **{"inference.minimum_pixels": "[0,10000]"}).array(image).labels
    assert (bare == 2).any()
    assert not (clean == 2).any()
    np.testing.assert_array_equal(clean, np.where(bare == 2, 0, bare))


def test_one_member_is_there_at_a_time(image):
    """What was asked for is let go before the next one is: a maker that keeps nothing holds one network."""
    alive, most = [0], [0]

    class Heavy(Linear):
        def __init__(self, seed):
            super().__init__(seed)
            alive[0] += 1
            most[0] = max(most[0], alive[0])

        def __del__(self):
            alive[0] -= 1

    def make():
        own = plan()
        return Predictor(Heavy(0), own.data, own.preparation, own.inference)

    own = plan()
    Ensemble([make] * 4, own.data, own.inference).array(image)
    assert (alive[0], most[0]) == (0, 1)


def test_files_and_cases_are_read_once(image, tmp_path, monkeypatch):
    from unetkit.inference import ensemble as room

    path = tmp_path / "x.png"
    Image.fromarray(image[0]).save(path)
    reads = []
    read = room.read_pixels
    monkeypatch.setattr(room, "read_pixels", lambda *given: reads.append(given) or read(*given))
    both = ensemble(predictor(0), predictor(1))
    wanted = both.array(image).labels
    np.testing.assert_array_equal(both.file((path,), "x").labels, wanted)
    case = Case(id="x", images=(path,), label=None, group="g")
    np.testing.assert_array_equal(both.case(case).labels, wanted)
    assert len(reads) == 2
    part = Case(id="x", images=(path,), label=None, group="g", region=((0, 8), (0, 30)))
    assert both.case(part).labels.shape == (8, 30)


def test_mirrors_and_progress_reach_every_member(image):
    class Watch:
        def __init__(self):
            self.begun, self.done = [], 0

        def begin(self, task, total=None, *, done=0.0):
            self.begun.append((task, total))

        def advance(self, amount=1.0, /, **shown):
            self.done += 1

        def end(self):
            pass

        def say(self, text):
            pass

    calls = []

    class Counting(Linear):
        def run(self, batch):
            calls.append(batch.shape)
            return super().run(batch)

    own = plan(**{"inference.mirror_axes": "[0,1]", "inference.whole_image_pixels": "9999"})
    members = [Predictor(Counting(n), own.data, own.preparation, own.inference) for n in range(2)]
    watch = Watch()
    both = ensemble(*members)
    both.array(image, id="x", mirror=True, progress=watch)
    assert len(calls) == 2 * 4
    assert watch.begun == [("networks for x", 2)]
    assert watch.done == 2


def test_what_is_refused(image):
    with pytest.raises(UsageError, match="an ensemble of no network answers nothing"):
        ensemble()
    with pytest.raises(DataError, match=r"expected 1 channel "):
        ensemble(predictor(0), predictor(1)).array(np.repeat(image, 3, axis=0))


def test_memory_is_two_sets_of_probabilities_however_many_members():
    classes, edge = 8, 384
    told = {
        "data.classes": str([f"c{n}" for n in range(classes)]).replace("'", '"'),
        "data.label_values": str(list(range(classes))),
        "inference.tile_size": "[32,384]",
    }
    own = plan(**told)
    image = np.random.default_rng(0).integers(0, 255, (1, edge, edge)).astype(np.uint8)
    peaks = []
    for count in (2, 5):
        members = [
            Predictor(Linear(n, classes), own.data, own.preparation, own.inference) for n in range(count)
        ]
        together = Ensemble([lambda member=member: member for member in members], own.data, own.inference)
        tracemalloc.start()
        together.array(image)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    stated = BYTES_PER_SHARE * classes * edge**2
    assert all(stated < peak < 1.4 * stated for peak in peaks)
    assert peaks[1] < 1.02 * peaks[0]


@pytest.mark.parametrize("axis", [0, 1, 2])
def test_a_network_over_the_plane_and_one_over_the_volume_answer_together(axis):
    volume = np.random.default_rng(5).integers(0, 255, (1, 6, 14, 20)).astype(np.uint8)
    rank = {"data.rank": "3"}
    slices = predictor(1, **rank, **{"data.slice_axis": str(axis)})
    whole = predictor(1, **rank, **{"inference.tile_size": "[16,16,16]"})
    alone = [each.array(volume, probabilities=True).probabilities for each in (slices, whole)]
    np.testing.assert_allclose(*alone, atol=1e-5)  # pixel by pixel both compute the same
    other = predictor(2, **rank, **{"inference.tile_size": "[16,16,16]"})
    found = ensemble(slices, other, **rank, **{"data.slice_axis": str(axis)}).array(
        volume, probabilities=True
    )
    wanted = (alone[1] + other.array(volume, probabilities=True).probabilities) / 2
    np.testing.assert_allclose(found.probabilities, wanted, atol=1e-5)
