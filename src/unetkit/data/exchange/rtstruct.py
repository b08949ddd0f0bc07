"""RTSTRUCT of many patients: regions get the same number everywhere, by their names."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
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

_LACKING = "a region that a patient's RTSTRUCT does not have counts as background there"
_COVERED = "of overlapping regions the one with fewer voxels counts"


class Rtstruct:
    """Folders with DICOM series and the RTSTRUCT drawn on them.

    The names of regions, without regard to capitals, are the classes, numbered in alphabetical order.
    """

    def holds(self, source: Path) -> bool:
        """Whether an RTSTRUCT lies in the folder or below it."""
        if not source.is_dir():
            return False
        return any(each.sop_class == CONTOURS for each in _objects(source, []))

    def find(self, source: Path) -> Foreign:
        """List the RTSTRUCTs; the series of each is found by its UID."""
        problems: list[Problem] = []
        found = list(_objects(source, problems))
        folders = {each.series: each.path.parent for each in found if each.sop_class != CONTOURS}
        usable: list[tuple[DicomObject, Path, tuple[Region, ...]]] = []
        for each in (one for one in found if one.sop_class == CONTOURS):
            try:
                usable.append((each, _series(each.path, folders), read_regions(each.path)))
            except DataError as wrong:
                problems.append(from_error("rtstruct", wrong, each.path))
        if not usable and not problems:
            raise DataError("no RTSTRUCT here", cure="name the folder of the export", where=source)
        twice = {folder for _, folder, _ in usable if sum(folder == other for _, other, _ in usable) > 1}
        for folder in sorted(twice):
            problems.append(
                refused("rtstruct", folder, "several RTSTRUCTs were drawn on this series", "keep one of them")
            )
        usable = [row for row in usable if row[1] not in twice]
        spelled = sorted({region.name.strip() for _, _, regions in usable for region in regions})
        names = list({name.casefold(): name for name in reversed(spelled)}.values())[::-1]
        values = {name.casefold(): number for number, name in enumerate(names, start=1)}
        ids = public_names([each.patient for each, _, _ in usable])
        items = tuple(
            Item(id, each.path, partial(_read, each.path, folder, regions, values), group=patient)
            for (id, patient), (each, folder, regions) in zip(ids, usable, strict=True)
        )
        classes = {0: "background", **dict(enumerate(names, start=1))}
        return Foreign(items, classes, notes=(_LACKING, _COVERED), problems=tuple(problems))


def _objects(source: Path, problems: list[Problem]) -> Iterator[DicomObject]:
    for folder in folders_below(source):
        yield from objects_in(folder, problems)


def _series(path: Path, folders: Mapping[str, Path]) -> Path:
    """The folder of the series that an RTSTRUCT was drawn on."""
    here = {folders[uid] for uid in referenced_series(path) if uid in folders}
    if len(here) != 1:
        raise DataError(
            f"it refers to {len(here)} of the series here, expected 1",
            cure="export it with its series",
            where=path,
        )
    return here.pop()


def _read(path: Path, folder: Path, regions: tuple[Region, ...], values: Mapping[str, int]) -> Content:
    pixels, grid = DicomFormat().read(folder)
    shape = pixels.shape[1:]
    filled = [
        (values[region.name.strip().casefold()], tuple(fill_region(region, shape, grid, where=path)))
        for region in regions
    ]
    sizes = [sum(int(mask.sum()) for _, (_, mask) in places) for _, places in filled]
    labels = np.zeros(shape, np.min_scalar_type(max(values.values())))
    covered = 0
    for number in np.argsort(sizes, kind="stable")[::-1]:  # the smallest last, on top of the others
        value, places = filled[int(number)]
        for at, (window, mask) in places:
            target = labels[at][window]
            covered += int((mask & (target != 0)).sum())
            target[mask] = value
    return Content(Volume(pixels, grid), labels, {"regions": str(len(regions)), "covered_px": str(covered)})
