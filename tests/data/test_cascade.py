"""What a first stage says of a case: read, prepared, cached, and shown beside the pixels."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch

from unetkit.data.cascade import as_channels, network_input, prepare_previous, read_previous, with_previous
from unetkit.data.formats import format_of
from unetkit.data.patches import Batches
from unetkit.data.prepare import Cache, prepare
from unetkit.errors import DataError
from unetkit.records.case import Case, Grid, Intensity, Sample
from unetkit.records.plan import AugmentationPlan, DataPlan, Normalization, PreparationPlan, TrainingPlan
from unetkit.spatial.grid import resample_label

STILL = AugmentationPlan().still
RANDOM = np.random.default_rng(0)
SHAPE = (10, 12, 14)
DATA = DataPlan(
    rank=3, channels=("image",), classes=("background", "a", "b"), label_values=(0, 7, 9), cascade="full"
)
PREPARATION = PreparationPlan(
    spacing_mm=(1.0, 0.5, 1.0), crop_to_nonzero=True, normalization=(Normalization(scheme="zscore"),)
)


@pytest.fixture
def case(tmp_path):
    """A volume with an empty margin, its label, and another label file: what a first stage said."""
    pixels = np.zeros(SHAPE, np.uint8)
    pixels[2:9, 1:11, 3:13] = RANDOM.integers(1, 255, (7, 10, 10))
    said = RANDOM.choice([0, 7, 9], SHAPE).astype(np.uint8)
    for name, array in (("image", pixels), ("label", np.zeros(SHAPE, np.uint8)), ("said", said)):
        path = tmp_path / f"{name}.nii.gz"
        format_of(path).write(path, array, Grid.plain(3))
    paths = {name: tmp_path / f"{name}.nii.gz" for name in ("image", "label", "said")}
    return Case("x", (paths["image"],), paths["label"], "x", previous=paths["said"])


def test_an_answer_is_cropped_and_resampled_as_a_label_is(case):
    said = read_previous(case.previous, DATA)
    assert set(np.unique(said)) == {0, 1, 2}
    sample = prepare(case, DATA, PREPARATION)
    assert sample.pixels.shape == (1, 7, 20, 10)
    wanted = resample_label(said[2:9, 1:11, 3:13], (7, 20, 10), order=1)
    assert np.array_equal(sample.previous, wanted)
    as_label = prepare(replace(case, label=case.previous), DATA, PREPARATION)
    assert np.array_equal(sample.previous, as_label.label)
    plain = PREPARATION.model_copy(update={"spacing_mm": (), "crop_to_nonzero": False})
    assert np.array_equal(prepare(case, DATA, plain).previous, said)
    with pytest.raises(
        DataError, match=r"has shape \(10, 12, 14\), the answer of the first stage \(3, 3, 3\)"
    ):
        prepare_previous(np.zeros((3, 3, 3), np.uint8), sample, PREPARATION)


def test_the_cache_keeps_it_and_notices_another_one(case, tmp_path):
    cache = Cache(tmp_path / "cache", DATA, PREPARATION)
    key = cache.key(case)
    assert cache.key(replace(case, previous=None)) != key
    first, again = cache.get(case), cache.get(case)
    assert np.array_equal(first.previous, again.previous)
    assert first.previous.shape == first.pixels.shape[1:]
    assert Cache(tmp_path / "cache", DATA, PREPARATION).get(replace(case, previous=None)).previous is None
    format_of(case.previous).write(case.previous, np.zeros(SHAPE, np.uint8), Grid.plain(3))
    other = Cache(tmp_path / "cache", DATA, PREPARATION)
    assert other.key(case) != key
    assert not other.get(case).previous.any()
    alone = DATA.model_copy(update={"cascade": "none"})
    plain = replace(case, previous=None)
    assert Cache(tmp_path / "cache", alone, PREPARATION).key(plain) == cache.key(plain)


def sample_of(shape, id="a", seed=0):
    """Its answer is a function of its pixels: wherever a patch comes from, both must still agree."""
    pixels = np.random.default_rng(seed).integers(0, 3, (1, *shape)).astype(np.uint8)
    grid = Grid.plain(len(shape))
    return Sample(
        id, pixels, grid, label=pixels[0].copy(), intensity=(Intensity(0, 9, 1.0, 0.5),), previous=pixels[0]
    )


@pytest.mark.parametrize("shape", [(20, 24), (9, 12, 10)])
@pytest.mark.parametrize("size", [6, 16])
def test_patches_show_the_answer_beside_the_pixels_and_only_inside_the_image(shape, size):
    samples = [sample_of(shape), sample_of(shape, "b", 1)]
    plan = TrainingPlan(patch_size=(size,) * len(shape), batch_size=4)
    flips = STILL.model_copy(update={"flip_axes": tuple(range(len(shape)))})
    batches = Batches(samples, plan, flips, classes=3, device=torch.device("cpu"))
    for step in range(3):
        shown = batches.at(step).pixels
        assert shown.shape == (4, 3, *plan.patch_size)
        raw = 2 * shown[:, 0] + 1  # 0, 1, 2; beyond a volume the normalised 0, which is raw 1
        inside = (shown[:, 1:].sum(1) > 0) | (raw == 0)
        assert torch.equal(shown[:, 1][inside], (raw == 1).float()[inside])
        assert torch.equal(shown[:, 2], (raw == 2).float())
    alone = [replace(sample, previous=None) for sample in samples]
    without = Batches(alone, plan, flips, classes=3, device=torch.device("cpu")).at(0)
    assert torch.equal(without.pixels, batches.at(0).pixels[:, :1])


def test_turned_patches_turn_the_answer_too_and_keep_it_hard():
    shape = (32, 32)
    y, x = np.mgrid[:32, :32]
    disc = ((y - 12) ** 2 + (x - 18) ** 2 < 60).astype(np.uint8)
    sample = Sample("a", disc[None], Grid.plain(2), label=disc, previous=disc)
    turns = STILL.model_copy(update={"rotation": 1.0, "rotation_degrees": (90.0,), "scaling": 1.0})
    plan = TrainingPlan(patch_size=shape, batch_size=4)
    batch = Batches([sample], plan, turns, classes=2, device=torch.device("cpu")).at(0)
    assert set(batch.pixels[:, 1].unique().tolist()) == {0.0, 1.0}
    known = torch.ones_like(batch.target, dtype=torch.bool) if batch.known is None else batch.known
    apart = (batch.pixels[:, 1] != batch.target)[known].float().mean()
    assert apart < 0.02  # one is interpolated and cut at a half, the other is the nearest
    assert not torch.equal(batch.pixels[0, 1], torch.from_numpy(disc).float())


def test_cases_of_which_only_some_have_an_answer_are_refused():
    samples = [sample_of((8, 8)), replace(sample_of((8, 8), "b"), previous=None)]
    plan = TrainingPlan(patch_size=(4, 4), batch_size=2)
    with pytest.raises(DataError, match="expected the first stage's answer for each of 2 cases, 1 lack it"):
        Batches(samples, plan, STILL, classes=3, device=torch.device("cpu"))


def test_tiles_and_whole_images_are_shown_alike():
    sample = sample_of((6, 8))
    whole = network_input(sample, lambda array: array, 2)
    assert np.array_equal(whole[1:], as_channels(sample.previous, 2))
    assert np.array_equal(network_input(sample, lambda array: array, 0), whole[:1])
    boxes = [(slice(0, 6), slice(0, 4)), (slice(0, 6), slice(4, 8))]
    tiles = list(with_previous([whole[:1][(slice(None), *box)] for box in boxes], boxes, sample.previous, 2))
    assert np.array_equal(np.concatenate(tiles, axis=2), whole)
