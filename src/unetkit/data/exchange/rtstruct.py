"""RTSTRUCT of many patients: regions get the same number everywhere, by their names."""

from __future__ import annotations

import itertools
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import numpy as np

from unetkit.data.exchange import Content, Foreign, Item, Volume
from unetkit.data.exchange.series import DicomObject, folders_below, objects_in, public_names
from unetkit.data.formats.dicom import DicomFormat
from unetkit.data.formats.dicom_contours import Region, fill_region, read_regions, referenced_series
from unetkit.data.formats.dicom_files import CONTOURS
from unetkit.data.problems import Problem, from_error, refused
from unetkit.errors import DataError

_LOOKED_AT = 2000
_LACKING = "a region that a patient's RTSTRUCT does not have counts as background there"
_COVERED = "of overlapping regions the one with fewer voxels counts"


@dataclass(frozen=True)
class _Drawn:
    """An RTSTRUCT, one slice of the series it was drawn on, and its regions."""

    path: Path
    image: DicomObject
    regions: tuple[Region, ...]


class Rtstruct:
    """Folders with DICOM series and the RTSTRUCT drawn on them.

    The names of regions, without regard to capitals, are the classes, numbered in alphabetical order.
    """

    def holds(self, source: Path) -> bool:
        """Whether an RTSTRUCT lies in the folder or below it."""
        seen = itertools.islice(_objects(source, []), _LOOKED_AT)
        return source.is_dir() and any(each.sop_class == CONTOURS for each in seen)

    def find(self, source: Path) -> Foreign:
        """List the RTSTRUCTs; the series of each is found by its UID."""
        problems: list[Problem] = []
        drawn = _drawn(source, problems)
        if not drawn and not problems:
            raise DataError("no RTSTRUCT here", cure="name the folder of the export", where=source)
        counts = Counter(each.image.series for each in drawn)
        for each in drawn:
            if counts[each.image.series] > 1:
                text = "its series has several RTSTRUCTs"
                problems.append(refused("rtstruct", each.path, text, "keep one of them"))
        drawn = [each for each in drawn if counts[each.image.series] == 1]
        spelled = sorted({region.name.strip() for each in drawn for region in each.regions})
        names = {name.casefold(): name for name in reversed(spelled)}
        values = {key: number for number, key in enumerate(sorted(names), start=1)}
        ids = public_names([each.image.patient for each in drawn])
        items = tuple(
            Item(id, each.path, partial(_read, each, values), group=patient)
            for (id, patient), each in zip(ids, drawn, strict=True)
        )
        classes = {0: "background", **{number: names[key] for key, number in values.items()}}
        return Foreign(items, classes, notes=(_LACKING, _COVERED), problems=tuple(problems))


def _objects(source: Path, problems: list[Problem]) -> Iterator[DicomObject]:
    for folder in folders_below(source):
        yield from objects_in(folder, problems)


def _drawn(source: Path, problems: list[Problem]) -> list[_Drawn]:
    """The RTSTRUCTs whose series is here; what is wrong with others goes to ``problems``."""
    found = list(_objects(source, problems))
    images = {each.series: each for each in found if each.sop_class != CONTOURS}
    usable: list[_Drawn] = []
    for each in (one for one in found if one.sop_class == CONTOURS):
        try:
            here = [images[uid] for uid in sorted(referenced_series(each.path)) if uid in images]
            if len(here) != 1:
                raise DataError(
                    f"it refers to {len(here)} of the series here, expected 1",
                    cure="export it with its series",
                    where=each.path,
                )
            usable.append(_Drawn(each.path, here[0], read_regions(each.path)))
        except DataError as wrong:
            problems.append(from_error("rtstruct", wrong, each.path))
    return usable


def _read(drawn: _Drawn, values: Mapping[str, int]) -> Content:
    pixels, grid = DicomFormat().read(drawn.image.path.parent)
    shape = pixels.shape[1:]
    filled = [
        (values[region.name.strip().casefold()], tuple(fill_region(region, shape, grid, where=drawn.path)))
        for region in drawn.regions
    ]
    sizes = [sum(int(mask.sum()) for _, (_, mask) in places) for _, places in filled]
    labels = np.zeros(shape, np.min_scalar_type(max(values.values())))
    covered = 0
    for number in np.argsort(sizes, kind="stable")[::-1]:  # the smallest last, on top of the others
        value, places = filled[int(number)]
        for at, (window, mask) in places:
            target = labels[at][window]
            covered += int((mask & (target != 0) & (target != value)).sum())
            target[mask] = value
    columns = {"regions": str(len(drawn.regions)), "covered_px": str(covered)}
    return Content(Volume(pixels, grid), labels, columns)
