"""What the first stage of a cascade says of a case: read, brought to the second stage's grid, as channels."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np

from unetkit.data.formats import format_of
from unetkit.data.labels import class_ids, crop_alike, resampled_alike
from unetkit.errors import DataError
from unetkit.records.case import Sample
from unetkit.records.plan import DataPlan, PreparationPlan
from unetkit.spatial.intensity import apply_intensity

Box = tuple[slice, ...]
_TRAIN_ANEW = "train the first stage of the cascade anew, on this data"


def read_previous(path: Path, data: DataPlan) -> np.ndarray:
    """Read a label file that the first stage wrote.

    Args:
        path: The file, in the data set's own values.
        data: Which value is which class.

    Returns:
        Class ids ``(*S)``.

    Raises:
        DataError: The file is missing or damaged, or holds a value that is no class.
    """
    values, _ = format_of(path).read_label(path)
    return class_ids(values, data, where=path)[0]


def prepare_previous(labels: np.ndarray, sample: Sample, preparation: PreparationPlan) -> np.ndarray:
    """Bring labels on the image's own grid to that of the prepared sample: cropped and resampled alike.

    Args:
        labels: Class ids ``(*S)`` on the image's own grid.
        sample: The prepared image.
        preparation: How it was prepared.

    Raises:
        DataError: The labels have another shape than the image.
    """
    kept = crop_alike(labels, sample, noun="the answer of the first stage", cure=_TRAIN_ANEW)
    return resampled_alike(kept, sample.pixels.shape[1:], preparation)


def as_channels(labels: np.ndarray, count: int) -> np.ndarray:
    """Where each class is, background left out.

    Args:
        labels: Class ids ``(*S)``.
        count: Foreground classes.

    Returns:
        ``(count, *S)`` float32, 0 or 1.

    Example:
        >>> as_channels(np.array([0, 2, 1], np.uint8), 2).tolist()
        [[0.0, 0.0, 1.0], [0.0, 1.0, 0.0]]
    """
    return np.stack([labels == value for value in range(1, count + 1)]).astype(np.float32)


def network_input(sample: Sample, take: Callable[[np.ndarray], np.ndarray], count: int) -> np.ndarray:
    """A part of a sample as the network sees it: normalised, and with the answer of the first stage.

    Args:
        sample: The prepared image.
        take: Takes the same part of any array ``(C, *S)``.
        count: Channels of the first stage's answer; 0 where there is none.

    Returns:
        ``(C + count, *P)`` float32.
    """
    pixels = apply_intensity(take(sample.pixels), sample.intensity)
    if not count:
        return pixels
    assert sample.previous is not None
    return np.concatenate([pixels, as_channels(take(sample.previous[None])[0], count)])


def with_previous(
    tiles: Iterable[np.ndarray | None], boxes: Sequence[Box], previous: np.ndarray, count: int
) -> Iterator[np.ndarray | None]:
    """Tiles with the answer of the first stage as further channels.

    Args:
        tiles: ``(C, *P)``, normalised; None for one that is left out.
        boxes: Where each of them lies.
        previous: Class ids ``(*S)``.
        count: Foreground classes.

    Example:
        >>> tiles = with_previous([np.zeros((1, 2)), None], [(slice(0, 2),)] * 2, np.array([0, 1, 1]), 1)
        >>> [None if tile is None else tile.tolist() for tile in tiles]
        [[[0.0, 0.0], [0.0, 1.0]], None]
    """
    for tile, box in zip(tiles, boxes, strict=True):
        yield None if tile is None else np.concatenate([tile, as_channels(previous[box], count)])


def refuse_mixed(samples: Sequence[Sample]) -> None:
    """Refuse cases of which only some come with the answer of a first stage.

    Args:
        samples: Prepared cases.

    Raises:
        DataError: They do.
    """
    without = [sample for sample in samples if sample.previous is None]
    if without and len(without) < len(samples):
        raise DataError(
            f"expected the first stage's answer for each of {len(samples)} cases, {len(without)} lack it",
            cure=_TRAIN_ANEW,
            where=without[0].id,
        )
