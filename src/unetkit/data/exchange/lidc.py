"""LIDC-IDRI: CT series with the XML of up to four readers, as the archive (TCIA) delivers them."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Mapping
from functools import partial
from pathlib import Path

import numpy as np

from unetkit.data.exchange import Content, Foreign, Item, Volume
from unetkit.data.exchange.lidc_nodules import (
    Lesion,
    consensus,
    describe_group,
    lesion_of,
    match,
    reader_bits,
)
from unetkit.data.exchange.lidc_readings import ROOT, Nodule, Place, Reading, read_reading
from unetkit.data.exchange.series import DicomObject, folders_below, objects_in, public_names
from unetkit.data.formats import holds_slices
from unetkit.data.formats.dicom import DicomFormat, read_planes
from unetkit.data.formats.dicom_files import Plane
from unetkit.data.problems import Problem, from_error, refused
from unetkit.errors import DataError
from unetkit.records.case import Grid

READERS, NODULES = "readers", "nodules"
_LOOKED_AT = 2**12
_MOST_READERS = 16


class Lidc:
    """The collection LIDC-IDRI, or any part of it, in the folders of any download tool.

    Every voxel that at least half of the readers marked is nodule. Files of chest films are left out.

    Reference:
        Armato et al., The Lung Image Database Consortium (LIDC) and Image Database Resource Initiative
        (IDRI), Medical Physics 38 (2011).
    """

    def holds(self, source: Path) -> bool:
        """Whether an XML below the folder begins as the readers' do."""
        if not source.is_dir():
            return False
        return any(path.is_file() and _begins(path) for path in source.rglob("*.xml"))

    def find(self, source: Path) -> Foreign:
        """List the series that were read; a series is found by its UID, or in the folder of its XML."""
        readings, others, problems = _readings(source)
        if not readings and not problems:
            raise DataError(
                f"no CT of LIDC-IDRI here: expected an XML that begins with <{ROOT}>, got {others} other XML",
                cure="name the folder of the archive's DICOM files and their readings (XML)",
                where=source,
            )
        series = {each.path.parent: each for each in _series(source, problems)}
        by_uid = {each.series: folder for folder, each in series.items()}
        used: dict[Path, list[tuple[Path, Reading]]] = defaultdict(list)
        for path, reading in readings:
            folder = by_uid.get(reading.series) or (path.parent if path.parent in series else None)
            if folder is None:
                text = "its CT series is not here"
                problems.append(
                    refused("missing-image", path, text, "download the series, or remove the XML")
                )
            else:
                used[folder].append((path, reading))
        folders = [folder for folder in series if folder in used]
        ids = public_names([series[folder].patient for folder in folders])
        items: list[Item] = []
        for (id, patient), folder in zip(ids, folders, strict=True):
            if len({path.read_bytes() for path, _ in used[folder]}) > 1:
                text = f"{len(used[folder])} different readings belong to this series"
                problems.append(refused("readings", folder, text, "keep the right XML"))
            else:
                items.append(Item(id, folder, partial(_read, folder, *used[folder][0]), group=patient))
        notes = [f"left out, as no reading of a CT: {others} XML"] if others else []
        if len(series) > len(used):
            notes.append(f"left out, as nobody read it as a CT: {len(series) - len(used)} series")
        return Foreign(
            tuple(items),
            {0: "background", 1: "nodule"},
            ("CT",),
            notes=tuple(notes),
            problems=tuple(problems),
        )


def _begins(path: Path) -> bool:
    with path.open("rb") as file:
        return f"<{ROOT}".encode() in file.read(_LOOKED_AT)


def _readings(source: Path) -> tuple[list[tuple[Path, Reading]], int, list[Problem]]:
    """The readings below a folder, the number of other XML files, and those that are damaged."""
    found: list[tuple[Path, Reading]] = []
    others, problems = 0, []
    for path in sorted(source.rglob("*.xml")):
        try:
            reading = read_reading(path)
        except DataError as wrong:
            problems.append(from_error("reading", wrong, path))
            continue
        if reading is None:
            others += 1
        else:
            found.append((path, reading))
    return found, others, problems


def _series(source: Path, problems: list[Problem]) -> Iterator[DicomObject]:
    """One file of every folder of slices."""
    for folder in folders_below(source):
        if holds_slices(folder):
            yield from itertools.islice(objects_in(folder, problems), 1)


def _read(folder: Path, path: Path, reading: Reading) -> Content:
    """The volume, what the readers drew in it, and the rows of the tables.

    Raises:
        DataError: The series is refused (a slice is missing, say), or a mark does not lie in it.
    """
    if reading.readers > _MOST_READERS:
        raise DataError(
            f"{reading.readers} readers, expected at most {_MOST_READERS}", cure="keep one XML", where=path
        )
    pixels, grid = DicomFormat().read(folder)
    shape = pixels.shape[1:]
    slice_of = partial(_slice, planes=read_planes(folder), grid=grid, path=path)
    lesions = [_lesion(nodule, slice_of, shape, grid, path) for nodule in reading.nodules]
    bits = reader_bits(lesions, shape, reading.readers)
    groups = [describe_group(group, grid.spacing_mm) for group in match(lesions)]
    rows: list[Mapping[str, str]] = [
        {"nodule": str(number), "kind": "nodule", **row} for number, row in enumerate(groups, start=1)
    ]
    for point in reading.points:
        place = {"slice": str(slice_of(point.place)), "row": str(point.row), "column": str(point.column)}
        rows.append({"kind": point.kind, "readers": "1", "marked_by": str(point.reader), **place})
    agreed = [row for row in groups if 2 * int(row["readers"]) >= reading.readers]
    columns = {
        "readers": str(reading.readers),
        "nodules": str(len(agreed)),
        "nodules_by_fewer": str(len(groups) - len(agreed)),
        "malignancy": _highest(agreed, "malignancy"),
        "diameter_mm": _highest(agreed, "diameter_mm"),
    }
    return Content(
        Volume(pixels, grid),
        consensus(bits, reading.readers),
        columns,
        {READERS: bits},
        {NODULES: tuple(rows)},
    )


def _lesion(nodule: Nodule, slice_of: partial[int], shape: tuple[int, ...], grid: Grid, path: Path) -> Lesion:
    for outline in nodule.outlines:
        if (outline.ring.max(axis=0) >= shape[1:]).any():
            raise DataError(
                f"an outline leaves the slices of {shape[1]} × {shape[2]} pixels",
                cure="use the XML of this series",
                where=path,
            )
    return lesion_of(nodule, slice_of=slice_of, shape=shape, spacing_mm=grid.spacing_mm)


def _slice(place: Place, *, planes: tuple[Plane, ...], grid: Grid, path: Path) -> int:
    """The slice of a mark: by its UID, else by its height, as some UIDs of the archive are not its own.

    Raises:
        DataError: There is no such slice.
    """
    for number, plane in enumerate(planes):
        if place.instance and plane.instance == place.instance:
            return number
    heights = np.array([plane.position[2] if plane.position else np.nan for plane in planes])
    away = np.abs(heights - place.height_mm)
    if np.isfinite(away).any() and np.nanmin(away) < grid.spacing_mm[0] / 2:
        return int(np.nanargmin(away))
    raise DataError(
        f"a mark lies on a slice at {place.height_mm:g} mm, which the series does not have",
        cure="download the whole series again",
        where=path,
    )


def _highest(rows: list[dict[str, str]], column: str) -> str:
    return max((row[column] for row in rows if row[column]), key=float, default="")
