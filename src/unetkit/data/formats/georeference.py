"""Where a GeoTIFF lies on the Earth: its tags as they are, from the image's file to that of its labels."""

from __future__ import annotations

from collections.abc import Callable

from unetkit.records.case import Georeference

PIXEL_SCALE, TIE_POINTS, TRANSFORMATION, KEYS, NUMBERS, TEXT = 33550, 33922, 34264, 34735, 34736, 34737

SHORT, DOUBLE, ASCII = 3, 12, 2
"""Types of a TIFF's values."""

Tag = tuple[int, int, int, object]
"""Code, type, count and value of a tag."""


def read_georeference(value: Callable[[int], object]) -> Georeference | None:
    """What a file states.

    Args:
        value: Code of a tag → its value, None where there is none.

    Returns:
        None where the tags do not say both where the pixels lie and in which system.

    Example:
        >>> tags = {33550: (2.0, 2.0, 0.0), 33922: (0.0,) * 6, 34735: (1, 1, 0, 0)}
        >>> read_georeference(tags.get).pixel_scale
        (2.0, 2.0, 0.0)
    """
    keys = tuple(int(number) for number in _numbers(value(KEYS)))
    text = value(TEXT)
    found = Georeference(
        pixel_scale=_numbers(value(PIXEL_SCALE)),
        tie_points=_numbers(value(TIE_POINTS)),
        transformation=_numbers(value(TRANSFORMATION)),
        keys=keys,
        numbers=_numbers(value(NUMBERS)),
        text=text if isinstance(text, str) and text.isascii() else "",
    )
    return found if keys and (found.tie_points or found.transformation) else None


def georeference_tags(found: Georeference | None) -> list[Tag]:
    """The same as tags, in rising order of their codes; those that state nothing are left out.

    Args:
        found: What is to be written.
    """
    if found is None:
        return []
    tags: list[Tag] = [
        (PIXEL_SCALE, DOUBLE, len(found.pixel_scale), found.pixel_scale),
        (TIE_POINTS, DOUBLE, len(found.tie_points), found.tie_points),
        (TRANSFORMATION, DOUBLE, len(found.transformation), found.transformation),
        (KEYS, SHORT, len(found.keys), found.keys),
        (NUMBERS, DOUBLE, len(found.numbers), found.numbers),
        (TEXT, ASCII, len(found.text) + 1, found.text),
    ]
    return [tag for tag in tags if tag[3]]


def _numbers(value: object) -> tuple[float, ...]:
    if isinstance(value, tuple | list) and all(isinstance(number, int | float) for number in value):
        return tuple(float(number) for number in value)
    return ()
