"""Small rests removed from a prediction; never done unless somebody asks for it."""

from __future__ import annotations

import numpy as np

from unetkit.spatial.regions import components, sizes


def cleaned(
    labels: np.ndarray, *, largest_only: tuple[int, ...] = (), minimum_pixels: dict[int, int] | None = None
) -> np.ndarray:
    """Labels in which small or secondary objects became background.

    Args:
        labels: Class ids ``(*S)``.
        largest_only: Classes of which only the largest connected object stays (the first of equals).
        minimum_pixels: Class id to the number of pixels an object needs to stay.

    Returns:
        A new array of the same type. Pixels that touch at a corner are connected.

    Example:
        >>> cleaned(np.array([1, 1, 0, 1, 0, 2], np.uint8), largest_only=(1,)).tolist()
        [1, 1, 0, 0, 0, 2]
    """
    result = labels.copy()
    needed = minimum_pixels or {}
    for index in sorted({*largest_only, *needed}):
        numbered, count = components(labels == index)
        pixels = sizes(numbered, count)
        keep = pixels >= needed.get(index, 0)
        if index in largest_only and count:
            keep &= np.arange(count) == int(pixels.argmax())
        result[~np.concatenate([[True], keep])[numbered]] = 0
    return result
