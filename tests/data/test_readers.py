"""Several readers: found, checked, prepared, drawn; what a batch learns from them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from scipy import stats

from unetkit.data.catalog import find_cases
from unetkit.data.formats import format_of
from unetkit.data.mix import vote_shares
from unetkit.data.patches import Batches
from unetkit.data.prepare import Cache, prepare
from unetkit.data.readers import count_votes, draw_readers, read_marks
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Case, Grid
from unetkit.records.plan import EXAMPLE, AugmentationPlan, Plan
from unetkit.spatial.grid import resample_label

SHAPE = (24, 30)
MARKS = np.random.default_rng(0).integers(0, 8, SHAPE).astype(np.uint8)
PLAN = Plan.model_validate(EXAMPLE)
DATA = PLAN.data.model_copy(
    update={"rank": 2, "channels": ("image",), "classes": ("background", "nodule"), "label_values": (0, 1)}
)

STILL = AugmentationPlan(
    **dict.fromkeys(
        (
            "rotation",
            "scaling",
            "elastic",
            "noise",
            "blur",
            "brightness",
            "contrast",
            "low_resolution",
            "gamma",
        ),
        0.0,
    ),
    flip_axes=(),
)


@pytest.fixture
def folder(tmp_path):
    """One case that three people read."""
    for name in ("images", "masks", "readers"):
        (tmp_path / name).mkdir()
    for name, array in (("images", MARKS * 30), ("masks", count_votes(MARKS) > 1), ("readers", MARKS)):
        path = tmp_path / name / "a.png"
        format_of(path).write(path, array.astype(np.uint8), Grid.plain(2))
    (tmp_path / "index.csv").write_text("id,group,readers\na,a,3\n")
    return tmp_path


def case_of(folder: Path) -> Case:
    (case,) = find_cases(folder).cases
    return case


def preparation(**words):
    more = {"spacing_mm": (1.0, 1.0), "crop_to_nonzero": False, **words}
    norm = PLAN.preparation.normalization[:1]
    return PLAN.preparation.model_copy(update={"normalization": norm, **more})


def sample_of(folder: Path):
    return prepare(case_of(folder), DATA, preparation())


def batches(samples, *, readers, classes=2, augmentation=None, **words):
    values = {"patch_size": (8, 9), "batch_size": 16, "readers": readers, "foreground_fraction": 0.0, **words}
    plan = PLAN.training.model_copy(update=values)
    device = torch.device("cpu")
    return Batches(samples, plan, augmentation or STILL, classes=classes, device=device)


def test_the_readers_of_a_folder_are_found_and_counted(folder):
    found = find_cases(folder)
    case = found.cases[0]
    assert (case.readers, case.reader_count) == (folder / "readers" / "a.png", 3)
    assert "readers/ holds what each reader marked, for 1 of the cases" in found.notes
    np.testing.assert_array_equal(read_marks(case), MARKS)
    part = replace(case, region=((2, 9), (4, 20)))
    np.testing.assert_array_equal(read_marks(part), MARKS[2:9, 4:20])
    (folder / "index.csv").write_text("id,group\na,a\n")
    assert case_of(folder).readers is None  # nobody says how many there were


@pytest.mark.parametrize("count", ["0", "17", "x", "-1"])
def test_a_number_of_readers_that_is_none_is_refused(folder, count):
    (folder / "index.csv").write_text(f"id,group,readers\na,a,{count}\n")
    with pytest.raises(DataError, match=rf"index\.csv: line 2: expected 1 to 16 readers, got '{count}'"):
        find_cases(folder)


def test_a_reader_who_is_not_counted_is_refused(folder):
    (folder / "index.csv").write_text("id,group,readers\na,a,2\n")
    with pytest.raises(DataError, match="expected the marks of 2 readers as values up to 3, got 0 to 7"):
        read_marks(case_of(folder))


def test_marks_of_another_shape_are_refused(folder):
    path = folder / "readers" / "a.png"
    format_of(path).write(path, MARKS[1:], Grid.plain(2))
    with pytest.raises(DataError, match=r"the image has shape \(24, 30\), its readers' marks \(23, 30\)"):
        sample_of(folder)


def test_every_reader_is_resampled_as_a_label(folder):
    half = preparation(spacing_mm=(0.5, 0.5))
    sample = prepare(case_of(folder), DATA, half)
    shape = sample.pixels.shape[1:]
    assert shape == (48, 60)
    for reader in range(3):
        alone = resample_label(MARKS >> reader & 1, shape, order=half.order_label)
        np.testing.assert_array_equal(sample.readers >> reader & 1, alone)


def test_the_cache_keeps_them_and_knows_when_they_change(folder, tmp_path):
    cache, case = Cache(tmp_path / "cache", DATA, preparation()), case_of(folder)
    for _ in range(2):
        sample = cache.get(case)
        np.testing.assert_array_equal(sample.readers, MARKS)
        assert sample.reader_count == 3
    plain = replace(case, readers=None, reader_count=0)
    keys = {cache.key(case), cache.key(plain), cache.key(replace(case, reader_count=4))}
    format_of(case.readers).write(case.readers, MARKS[::-1], Grid.plain(2))
    assert len({*keys, Cache(tmp_path / "cache", DATA, preparation()).key(case)}) == 4


def patches_of(labels):
    """Every patch of 8 × 9 that can be cut from a label."""
    return {
        window.tobytes()
        for window in np.lib.stride_tricks.sliding_window_view(labels, (8, 9)).reshape(-1, 8, 9)
    }


def test_one_reader_teaches_each_patch(folder):
    sample = sample_of(folder)
    made = batches([sample], readers="random")
    of = [patches_of((MARKS >> reader & 1).astype(np.int64)) for reader in range(3)]
    taught = [0, 0, 0]
    for step in range(6):
        batch = made.at(step)
        for target in batch.target.numpy():
            (reader,) = [reader for reader in range(3) if target.tobytes() in of[reader]]
            taught[reader] += 1
        assert torch.equal(batch.target, made.at(step).target)
    assert stats.chisquare(taught).pvalue > 1e-3
    consensus = batches([sample], readers="consensus")
    assert torch.equal(consensus.at(3).pixels, made.at(3).pixels)  # whose marks are learned moves nothing


def test_soft_targets_are_the_share_of_the_readers(folder):
    batch = batches([sample_of(folder)], readers="soft").at(0)
    assert batch.target.shape == (16, 2, 8, 9)
    assert batch.target.dtype == torch.float32
    votes = patches_of(count_votes(MARKS).astype(np.int64))
    for target in batch.target:
        assert torch.allclose(target.sum(0), torch.ones(8, 9))
        assert (target[1] * 3).round().long().numpy().tobytes() in votes


def test_without_readers_or_with_several_classes_it_is_refused(folder):
    sample = sample_of(folder)
    with pytest.raises(
        DataError, match=r"a: training\.readers=soft needs every reader's marks, this case has none"
    ):
        batches([replace(sample, readers=None)], readers="soft")
    with pytest.raises(
        UsageError, match=r"training\.readers=random needs one class beside the background, got 2"
    ):
        batches([sample], readers="random", classes=3)
    mixing = AugmentationPlan(mixup=0.5)
    with pytest.raises(UsageError, match="cannot be mixed with another patch's"):
        batches([sample], readers="soft", augmentation=mixing)
    batches([sample], readers="random", augmentation=mixing).at(0)


def test_votes_are_counted_bit_by_bit():
    marks = np.arange(2**16, dtype=np.uint16)
    assert count_votes(marks).tolist() == [value.bit_count() for value in range(2**16)]
    assert draw_readers(1, 2, [5] * 9) != draw_readers(1, 3, [5] * 9)
    assert set(draw_readers(0, 0, [3] * 400)) == {0, 1, 2}
    assert vote_shares(torch.tensor([[2], [1]]), [4, 1])[:, 1].tolist() == [[0.5], [1.0]]
