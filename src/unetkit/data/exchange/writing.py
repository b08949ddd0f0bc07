"""Our own layout: ``images/``, ``masks/``, ``index.csv``, ``dataset.json``, and what a kind has besides."""

from __future__ import annotations

import csv
import io
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from unetkit.data.exchange import Content, Foreign, Item, Volume
from unetkit.data.exchange.finding import case_ids
from unetkit.data.formats import files_of, format_of, suffix_of
from unetkit.data.formats.nifti import NiftiFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid
from unetkit.records.files import disk_error, write_text

IMAGES, MASKS, UNSEEN = "images", "masks", "unseen"
INDEX, DECLARED = "index.csv", "dataset.json"
VOLUME, PICTURE = ".nii.gz", ".png"
_STAGED = ".case-"


def write_item(folder: Path, item: Item, content: Content) -> dict[str, str]:
    """Write the files of one case: all of them, or none where it is refused.

    Args:
        folder: The data set that is being written.
        item: The case.
        content: What was read of it.

    Returns:
        Its row of ``index.csv``.

    Raises:
        DataError: A file is of no known format, or the label does not fit the image.
        ResourceError: The disk is full.
    """
    staged = Path(tempfile.mkdtemp(prefix=_STAGED, dir=folder))
    try:
        _write_files(staged, item, content)
        for path in sorted(each for each in staged.rglob("*") if each.is_file()):
            target = folder / path.relative_to(staged)
            if target.exists():
                raise DataError(
                    f"another case has written '{target.name}' already",
                    cure="give the images names of their own",
                    where=item.where,
                )
            target.parent.mkdir(exist_ok=True)
            path.rename(target)
    finally:
        shutil.rmtree(staged)
    split = {"split": item.split} if item.split else {}
    return {"id": item.id, "group": item.group or item.id, **split, **content.columns}


def _write_files(folder: Path, item: Item, content: Content) -> None:
    if isinstance(content.image, Volume):
        shape, grid = content.image.pixels.shape[1:], content.image.grid
        NiftiFormat().write_image(folder / IMAGES / f"{item.id}{VOLUME}", content.image.pixels, grid)
    else:
        header = format_of(content.image[0]).describe(content.image[0])
        shape, grid = header.shape, header.grid
        _copy_image(content.image, folder / IMAGES, item.id)
    if isinstance(content.label, Path):
        found = format_of(content.label).describe(content.label).shape
        if found != shape:
            raise DataError(
                f"the label has the shape {found}, its image {shape}",
                cure="export the label on the grid of its image",
                where=content.label,
            )
        _copy(content.label, folder / MASKS / f"{item.id}{suffix_of(content.label) or ''}")
    else:
        _write(folder / MASKS, item, content.label, shape, grid)
    for name, labels in content.beside.items():
        _write(folder / name, item, labels, shape, grid)


def _copy_image(files: Sequence[Path], folder: Path, id: str) -> None:
    """Copy an image as it is; several files are its channels and are numbered so."""
    for number, path in enumerate(files):
        suffix = suffix_of(path)
        if suffix is None or len(files_of(path)) > 1:
            raise DataError(
                "only an image in one file of a known format is copied",
                cure=f"convert it to {VOLUME} or {PICTURE}",
                where=path,
            )
        name = f"{id}_{number:04d}" if len(files) > 1 else id
        _copy(path, folder / f"{name}{suffix}")


def write_unseen(folder: Path, images: Sequence[Sequence[Path]]) -> int:
    """Copy the images that have no label into a folder of their own, under their own names.

    Args:
        folder: The data set that is being written.
        images: Each with its files.

    Returns:
        How many images there were.

    Raises:
        DataError: A file cannot be read.
        ResourceError: The disk is full.
    """
    files = [path for each in images for path in each]
    if files:
        root = os.path.commonpath([path.parent for path in files])
        names = case_ids([path.relative_to(root).as_posix() for path in files])
        for name, path in zip(names, files, strict=True):
            _copy(path, folder / UNSEEN / f"{name}{suffix_of(path) or path.suffix}")
    return len(images)


def write_tables(
    folder: Path, rows: Sequence[Mapping[str, str]], tables: Mapping[str, Sequence[Mapping[str, str]]]
) -> None:
    """Write ``index.csv`` and the tables of a kind; their columns are those of all rows, in their order.

    Args:
        folder: The data set.
        rows: One per case.
        tables: Name to rows.
    """
    for name, each in {INDEX.removesuffix(".csv"): rows, **tables}.items():
        text = io.StringIO()
        columns = list(dict.fromkeys(column for row in each for column in row))
        writer = csv.DictWriter(text, columns, restval="", lineterminator="\n")
        writer.writeheader()
        writer.writerows(each)
        write_text(folder / f"{name}.csv", text.getvalue())


def write_declared(folder: Path, foreign: Foreign) -> None:
    """Write ``dataset.json``: the names of channels and classes, in nnU-Net's words.

    Args:
        folder: The data set.
        foreign: Whose names they are.
    """
    labels = {name: value for value, name in sorted(foreign.names.items())}
    if foreign.ignore_value is not None:
        labels["ignore"] = foreign.ignore_value
    declared: dict[str, object] = {}
    if foreign.channels:
        declared["channel_names"] = {str(number): name for number, name in enumerate(foreign.channels)}
    if labels:
        declared["labels"] = labels
    if declared:
        write_text(folder / DECLARED, json.dumps(declared, indent=2, ensure_ascii=False) + "\n")


def _write(folder: Path, item: Item, labels: np.ndarray, shape: tuple[int, ...], grid: Grid) -> None:
    if labels.shape != shape:
        raise DataError(
            f"its label has the shape {labels.shape}, its image {shape}",
            cure="report this: the two were made from one case",
            where=item.where,
        )
    path = folder / f"{item.id}{PICTURE if labels.ndim == 2 else VOLUME}"
    format_of(path).write(path, labels, grid)


def _copy(source: Path, target: Path) -> None:
    """Copy a file; one that cannot be read is the data's fault, one that cannot be written the disk's."""
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        with source.open("rb") as there:
            try:
                with target.open("xb") as here:
                    shutil.copyfileobj(there, here, 2**20)
            except OSError as wrong:
                raise disk_error(wrong, target) from wrong
    except OSError as wrong:
        raise DataError(
            f"this file cannot be read ({wrong.strerror or wrong})", cure="correct the path", where=source
        ) from wrong
