"""How far apart pixels lie: units of length, and what a TIFF states (OME-XML, ImageJ, resolution tags)."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from unetkit.data.markup import parse_xml
from unetkit.errors import DataError
from unetkit.records.case import Grid

Spacing = dict[str, float]
"""Axis (``X``, ``Y``, ``Z``) to mm; an axis whose spacing is not stated with a unit is left out."""

Density = tuple[float, float]
"""Pixels per unit along X and Y, 0 where the tag is missing or no number."""

UNITS_MM = {
    "m": 1e3, "meter": 1e3, "metre": 1e3,
    "cm": 10.0, "centimeter": 10.0,
    "mm": 1.0, "millimeter": 1.0,
    "µm": 1e-3, "um": 1e-3, "micron": 1e-3, "microns": 1e-3, "micrometer": 1e-3,
    "nm": 1e-6, "nanometer": 1e-6,
    "å": 1e-7, "angstrom": 1e-7,
    "pm": 1e-9,
    "in": 25.4, "inch": 25.4,
}  # fmt: skip
"""Lower-case name of a unit to mm; ``pixel`` and other words are no lengths."""

RESOLUTION_UNITS_MM = {2: 25.4, 3: 10.0, 4: 1.0, 5: 1e-3}
"""Values of the tag ResolutionUnit; 1 says that there is no unit, a missing tag says nothing."""

SCREEN_DPI = (1.0, 72.0, 96.0, 300.0)
"""Dots per inch that programs write into every picture; they tell how to print it, not how large it is."""

_INCH_MM = 25.4
_DPI_TOLERANCE = 0.5


def ome_spacing(text: str) -> Spacing:
    """The physical pixel sizes of the first image of an OME-XML text.

    Args:
        text: The XML; anything else states nothing.

    Example:
        >>> ome_spacing('<OME><Image><Pixels PhysicalSizeX="2" PhysicalSizeY="3"/></Image></OME>')
        {'X': 0.002, 'Y': 0.003}
    """
    if not text.lstrip().startswith("<"):
        return {}
    try:
        pixels = next((each.attrib for each in parse_xml(text.encode(), where="").iter("Pixels")), {})
    except (DataError, UnicodeEncodeError):
        return {}
    spacing: Spacing = {}
    for axis in "XYZ":
        unit = pixels.get(f"PhysicalSize{axis}Unit", "µm")  # the default of the schema
        spacing[axis] = _number(pixels.get(f"PhysicalSize{axis}")) * _unit(unit)
    return _kept(spacing)


def aperio_spacing(text: str) -> Spacing:
    """What the description of an Aperio slide states: the micrometres of a pixel (MPP).

    Args:
        text: The description; anything else states nothing.

    Example:
        >>> aperio_spacing("Aperio Image Library v10 9x9 (4x4) JPEG/RGB|AppMag = 20|MPP = 0.5")
        {'X': 0.0005, 'Y': 0.0005}
    """
    if not text.startswith("Aperio"):
        return {}
    facts = dict(piece.split("=", 1) for piece in text.split("|")[1:] if "=" in piece)
    microns = next((value for name, value in facts.items() if name.strip().upper() == "MPP"), "")
    step = _number(microns) * UNITS_MM["µm"]
    return _kept({"X": step, "Y": step})


def imagej_spacing(facts: Mapping[str, Any], density: Density) -> Spacing:
    """What ImageJ's description states; the resolution tags count in its unit.

    Args:
        facts: The description's values by name.
        density: Pixels per unit along X and Y.

    Example:
        >>> imagej_spacing({"unit": "um", "spacing": 5.0}, (2.0, 2.0))
        {'X': 0.0005, 'Y': 0.0005, 'Z': 0.005}
    """
    stated = facts.get("unit")
    across, down, deep = (_unit(facts.get(name, stated)) for name in ("unit", "yunit", "zunit"))
    if _for_screens(density, across):
        return {}
    depth = abs(_number(facts.get("spacing", 1.0)))  # ImageJ leaves out a spacing of 1
    return _kept({"X": across * _inverse(density[0]), "Y": down * _inverse(density[1]), "Z": deep * depth})


def tag_spacing(density: Density, unit: int) -> Spacing:
    """What the tags XResolution, YResolution and ResolutionUnit state.

    Args:
        density: Pixels per unit along X and Y.
        unit: The tag ResolutionUnit, 0 where it is missing.

    Example:
        >>> tag_spacing((200.0, 100.0), 3), tag_spacing((72.0, 72.0), 2)
        ({'X': 0.05, 'Y': 0.1}, {})
    """
    length = RESOLUTION_UNITS_MM.get(unit, 0.0)
    if _for_screens(density, length):
        return {}
    return _kept({"X": length * _inverse(density[0]), "Y": length * _inverse(density[1])})


def read_density(across: object, down: object) -> Density:
    """Pixels per unit from the values of the two resolution tags: rationals ``(over, under)`` or numbers."""
    return _ratio(across), _ratio(down)


def grid_of(spacing: Spacing, rank: int) -> Grid:
    """The grid of a picture ``(y, x)`` or a volume ``(z, y, x)``.

    One axis without a spacing makes all of them unknown: 1 mm beside two measured ones is another shape.

    Example:
        >>> grid_of({"X": 0.5, "Y": 0.25}, 2).spacing_mm, grid_of({"X": 0.5, "Y": 0.25}, 3).calibrated
        ((0.25, 0.5), False)
    """
    axes = "ZYX"[-rank:]
    plain = Grid.plain(rank)
    if any(axis not in spacing for axis in axes):
        return plain
    return replace(plain, spacing_mm=tuple(spacing[axis] for axis in axes), calibrated=True)


def unit_lengths(words: Sequence[str]) -> tuple[list[float], tuple[str, ...]]:
    """Millimetres of the units that the header of a volume states; where it states none, mm are meant.

    Args:
        words: As stated, empty for an axis without one.

    Returns:
        A length for each, and a note on a word that is no unit of length.

    Example:
        >>> unit_lengths(["cm", "", "furlong"])
        ([10.0, 1.0, 1.0], ("its unit 'furlong' is not known: its numbers were taken as mm",))
    """
    odd = [word for word in words if word.strip() not in ("", "?") and not _unit(word)]
    notes = (f"its unit '{odd[0].strip()[:20]}' is not known: its numbers were taken as mm",) if odd else ()
    return [_unit(word) or 1.0 for word in words], notes


def _for_screens(density: Density, length: float) -> bool:
    """Whether a density in inches or centimetres is one that programs write without having measured."""
    if length not in (_INCH_MM, 10.0):
        return False
    dpi = density[0] * _INCH_MM / length
    return density[0] == 1.0 or any(abs(dpi - usual) < _DPI_TOLERANCE for usual in SCREEN_DPI)


def _kept(spacing: Spacing) -> Spacing:
    return {axis: value for axis, value in spacing.items() if math.isfinite(value) and value > 0}


def _unit(name: object) -> float:
    """Millimetres of a unit, 0 for what is no length; both µ of Unicode and ImageJ's escape are known."""
    word = str(name).strip().replace("\\u00B5", "µ").replace("μ", "µ").lower()
    return UNITS_MM.get(word, 0.0)


def _number(value: object) -> float:
    try:
        return float(value) if isinstance(value, int | float | str) else 0.0
    except ValueError:
        return 0.0


def _ratio(value: object) -> float:
    if isinstance(value, tuple) and len(value) == 2:
        over, under = (_number(part) for part in value)
        return over / under if under else 0.0
    return _number(value)


def _inverse(value: float) -> float:
    return 1 / value if value else 0.0
