"""Several readers of one case: who marked what, in one file beside the consensus; what a step learns from."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unetkit.data.formats import format_of
from unetkit.data.labels import crop_alike, cut_region, resampled_alike
from unetkit.data.matching import READERS
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Case, Sample
from unetkit.records.plan import PreparationPlan, TrainingPlan

_STREAM = 4  # random numbers of its own: 0 cuts patches, 1 to 3 mix them


def read_marks(case: Case) -> np.ndarray:
    """Who marked what: bit k of a pixel is set where reader k did.

    Args:
        case: The address; it has readers.

    Returns:
        ``(*S)`` uint8, or uint16 for more than 8 readers.

    Raises:
        DataError: The file is missing or damaged, or a reader has marks who is not counted.
    """
    assert case.readers is not None
    values, grid = format_of(case.readers).read_label(case.readers)
    low, high = (int(values.min()), int(values.max())) if values.size else (0, 0)
    if low < 0 or high >= 2**case.reader_count:
        raise DataError(
            f"expected the marks of {case.reader_count} readers as values up to {2**case.reader_count - 1}, "
            f"got {low} to {high}",
            cure="correct the column 'readers' of index.csv, or convert the data set again",
            where=case.readers,
        )
    kind = np.uint8 if case.reader_count <= 8 else np.uint16
    return cut_region(values[None].astype(kind), grid, case.region, case.id)[0][0]


def prepare_marks(marks: np.ndarray, sample: Sample, preparation: PreparationPlan) -> np.ndarray:
    """The marks on the grid of a prepared sample, each reader's resampled as a label of their own.

    Args:
        marks: ``(*S)`` on the grid of the file.
        sample: The prepared case.
        preparation: How it was prepared.

    Raises:
        DataError: The marks have another shape than the image.
    """
    kept = crop_alike(marks, sample, noun="its readers' marks", cure="convert the data set again")
    target = sample.pixels.shape[1:]
    if kept.shape == target:  # one reader after the other would give the same
        return np.ascontiguousarray(kept)
    result = np.zeros(target, marks.dtype)
    for reader in range(int(kept.max(initial=0)).bit_length()):
        one = ((kept >> reader) & 1).astype(np.uint8)
        moved = resampled_alike(one, target, preparation)
        result |= moved.astype(marks.dtype) << np.asarray(reader, marks.dtype)
    return result


def refuse_readers(samples: Sequence[Sample], training: TrainingPlan, *, classes: int, mixed: bool) -> None:
    """Refuse to learn from readers where it cannot be done.

    Args:
        samples: Prepared cases.
        training: The plan.
        classes: Number of classes with the background.
        mixed: Whether patches are mixed with one another.

    Raises:
        UsageError: There are several classes, or shares of readers would have to be mixed.
        DataError: A case has no readers' marks.
    """
    if training.readers == "consensus":
        return
    if classes != 2:
        raise UsageError(
            f"training.readers={training.readers} needs one class beside the background, got {classes - 1}",
            cure="use training.readers=consensus",
        )
    if training.readers == "soft" and mixed:
        raise UsageError(
            "training.readers=soft makes shares of classes, which cannot be mixed with another patch's",
            cure="set augmentation.mixup, cutmix and copy_paste to 0, or use training.readers=random",
        )
    without = next((sample for sample in samples if sample.readers is None), None)
    if without is not None:
        raise DataError(
            f"training.readers={training.readers} needs every reader's marks, this case has none",
            cure=f"add {READERS}/ and the column '{READERS}' of index.csv (unet convert lidc writes both), "
            "or use training.readers=consensus",
            where=without.id,
        )


def draw_readers(seed: int, step: int, counts: Sequence[int]) -> list[int]:
    """One reader for each item of a batch, the same whenever the step is asked for.

    Args:
        seed: Of the plan.
        step: Counted from 0.
        counts: How many read each item's case.

    Example:
        >>> draw_readers(0, 3, [4, 4, 1]) == draw_readers(0, 3, [4, 4, 1]), draw_readers(0, 3, [1, 1])
        (True, [0, 0])
    """
    random = np.random.default_rng(np.random.SeedSequence([seed & (2**64 - 1), step, _STREAM]))
    return [int(share * count) for share, count in zip(random.random(len(counts)), counts, strict=True)]


def count_votes(marks: np.ndarray) -> np.ndarray:
    """How many readers marked each pixel.

    Args:
        marks: ``(*S)`` unsigned.

    Example:
        >>> count_votes(np.array([0b0000, 0b0101, 0b1111], np.uint8)).tolist()
        [0, 2, 4]
    """
    return _VOTES[marks & 255] + (_VOTES[marks >> 8] if marks.dtype.itemsize > 1 else 0)


_VOTES = np.array([value.bit_count() for value in range(256)], np.uint8)
