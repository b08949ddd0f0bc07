"""Which images and labels a folder or a CSV holds: names only, no pixel is read here."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unetkit.data.folders import Part, exact_pair, find_parts, words_of
from unetkit.data.formats import DICOM, SUFFIXES, is_image_folder, kind_of, stem_of
from unetkit.data.matching import (
    DECLARED,
    INDEX,
    READERS,
    Found,
    listed,
    match_cases,
    match_readers,
    name_cases,
    read_index,
    rows_by_id,
)
from unetkit.data.problems import Problem, refused
from unetkit.data.tables import Declared, Row, read_dataset_json, read_rows, stated_ignore
from unetkit.errors import DataError, MissingPackageError
from unetkit.records.case import Case

_EXPECTED = (
    "put the pictures in images/ and the masks, under the same names, in masks/; or use imagesTr/ and "
    "labelsTr/; or give a CSV with the columns id,image,label,group,split; outlines (COCO, YOLO, LabelMe, "
    "CVAT) become masks with: unet convert SRC OUT"
)


@dataclass(frozen=True)
class Catalog:
    """The cases of a data set.

    Args:
        source: The folder or the CSV.
        layout: How it was recognised, such as ``images/ + masks/``.
        cases: Cases with image and label, sorted by id.
        unlabelled: Cases without a label.
        channels: Channel names where the data set states them, else empty.
        names: Raw label value to class name where the data set states them, else empty.
        ignore_value: Raw label value that means "not labelled", where stated.
        notes: What was recognised, in words.
        problems: What is wrong with the names alone, such as a missing mask.
    """

    source: Path
    layout: str
    cases: tuple[Case, ...]
    unlabelled: tuple[Case, ...] = ()
    channels: tuple[str, ...] = ()
    names: dict[int, str] = field(default_factory=dict)
    ignore_value: int | None = None
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


def find_cases(source: Path) -> Catalog:
    """Find the images and labels of a data set.

    Args:
        source: A folder with ``images/`` + ``masks/``, ``imagesTr/`` + ``labelsTr/`` or one of the other
            layouts of ``find_parts``; or a CSV. An ``index.csv`` in the folder with ``id`` and ``group`` (and
            ``split``) says which cases count.

    Returns:
        The catalog; a missing mask is one of its ``problems``, so that ``inspect`` lists it with all others.

    Raises:
        DataError: There is no such path, the folder is empty or of no known layout, the CSV is no CSV, or
            two files have the same name.
    """
    source = Path(source)
    if not source.exists():
        raise DataError("there is no such file or folder", cure="correct the path", where=source)
    if source.is_dir():
        return _from_folder(source)
    if source.suffix.lower() != ".csv":
        raise DataError("expected a folder or a .csv file", cure=_EXPECTED, where=source)
    return _from_csv(source)


def holds_cases(source: Path) -> bool:
    """Whether a path is a data set with labels rather than images alone.

    Example:
        >>> holds_cases(Path("cases.csv")), holds_cases(Path("image.png"))
        (True, False)
    """
    if source.suffix.lower() == ".csv":
        return True
    if not source.is_dir():
        return False
    index = source / INDEX
    return (
        exact_pair(source) is not None
        or (index.is_file() and _names_images(index))
        or bool(find_parts(source))
    )


def _from_folder(source: Path) -> Catalog:
    inside = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
    if not inside:
        raise DataError("this is an empty folder", cure=_EXPECTED, where=source)
    exact, index = exact_pair(source), source / INDEX
    if exact is None and index.is_file() and _names_images(index):
        return _from_csv(index)
    parts = find_parts(source)
    if not parts:
        if exact is not None:
            raise _no_picture(exact[0])
        table = next((name for name in inside if name.lower().endswith(".csv")), None)
        cure = (
            _EXPECTED if table is None else f"name the CSV itself, such as {source / table}; or {_EXPECTED}"
        )
        raise DataError(f"no known layout; this folder holds: {listed(inside, 8)}", cure=cure, where=source)
    layout = words_of(parts[0], source) + (f" and {len(parts) - 1} more like it" if parts[1:] else "")
    found = Found(notes=[f"found the layout {layout}"])
    named = name_cases(source, parts, found)
    if exact is None:
        _say_unused(source, parts, found)
    rows = read_index(index, named.images, found)
    match_cases(source, named, rows, found)
    match_readers(source, rows or {}, found)
    return _catalog(source, layout, found, _declared(source, found, (rows or {}).values()))


def _names_images(index: Path) -> bool:
    return any("image" in row.values for row in read_rows(index, needed=()))


def _say_unused(source: Path, parts: Sequence[Part], found: Found) -> None:
    """Folders of a data set in which no images with masks were found."""
    used = {folder.relative_to(source).parts[:1] for part in parts for folder in (part.images, part.labels)}
    used.add((READERS,))
    folders = (path for path in source.iterdir() if path.is_dir() and not path.name.startswith("."))
    left = sorted(f"{path.name}/" for path in folders if (path.name,) not in used and () not in used)
    if left:
        found.notes.append(f"no images with masks of their own were found in {listed(left)}: left out")


def _no_picture(folder: Path) -> DataError:
    """The error for a folder of images without one that can be read."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not inside:
        return DataError("this is an empty folder: it holds no picture", cure=_EXPECTED, where=folder)
    got = listed([path.name for path in inside])
    cure = f"convert the pictures to one of {', '.join(SUFFIXES)}"
    if any(path.is_dir() for path in inside):
        cure = f"put the pictures into {folder.name}/ itself, not into folders inside, or name them in a CSV"
    return DataError(f"this folder holds no picture that can be read, only {got}", cure=cure, where=folder)


def _from_csv(path: Path) -> Catalog:
    rows = read_rows(path, needed=("image",))
    found = Found(notes=[f"found a CSV with {len(rows)} rows"])
    named = []
    for row in rows:
        images = tuple(path.parent / part.strip() for part in row.values["image"].split(";") if part.strip())
        if not images:
            raise DataError(f"line {row.line}: no image is named", cure="name the image file", where=path)
        named.append(
            (images, Row(row.line, {**row.values, "id": row.values.get("id") or stem_of(images[0])}))
        )
    rows_by_id((row for _, row in named), path)
    for images, row in named:
        _csv_case(path, images, row, found)
    if not any("group" in row.values for row in rows):
        found.notes.append("no groups are given: every image counts as its own group")
    if found.unlabelled:
        found.notes.append(f"{len(found.unlabelled)} images have no label and are not trained on")
    return _catalog(path, "csv", found, _declared(path.parent, found, rows))


def _csv_case(path: Path, images: tuple[Path, ...], row: Row, found: Found) -> None:
    id, stated = row.values["id"], row.values.get("label", "")
    label = path.parent / stated if stated else None
    case = Case(id, images, label, row.values.get("group") or id, split=row.split(path))
    for kind, file in (*(("image", image) for image in images), *([("mask", label)] if label else [])):
        if not (file.is_file() or is_image_folder(file)):
            text = f"missing {kind}: line {row.line} of {path.name} names this file, which does not exist"
            found.problems.append(refused(f"missing-{kind}", file, text, "add the file, or correct the path"))
            found.unlabelled.append(case)
            return
    (found.unlabelled if label is None else found.cases).append(case)


def _declared(folder: Path, found: Found, rows: Iterable[Row]) -> Declared:
    """What dataset.json says, and the CSV's ``ignore_value`` where it states one."""
    path = folder / DECLARED
    declared = read_dataset_json(path) if path.is_file() else Declared()
    if path.is_file():
        found.notes.append("dataset.json was used for names, channels and the ignore label")
    found.notes.extend(declared.notes)
    if not declared.channels:
        declared = replace(declared, channels=found.channels or _modalities(found))
    named = _segments(found)
    if declared.names is None and named:
        declared = replace(declared, names=named)
    ignore = stated_ignore(rows, where=folder)
    return declared if ignore is None else replace(declared, ignore_value=ignore)


def _modalities(found: Found) -> tuple[str, ...]:
    """Names of the channels of DICOM images: what made them, where every case says the same."""
    if not found.cases or any(kind_of(path) != DICOM for case in found.cases for path in case.images):
        return ()
    from unetkit.data.formats.dicom import modality

    try:
        seen = {tuple(map(modality, case.images)) for case in found.cases}
    except MissingPackageError:
        return ()  # whoever reads the first image says so
    names = seen.pop()
    if seen or not all(names) or len(set(names)) < len(names):
        return ()
    found.notes.append(f"channels were named by DICOM's modality: {', '.join(names)}")
    return names


def _segments(found: Found) -> dict[int, str]:
    """What DICOM labels call their numbers, where all labels are some and agree.

    Every program numbers segments in its own order: one name with two numbers would be two classes in one.
    """
    tables = [(case.label, kind_of(case.label) == DICOM) for case in found.cases if case.label is not None]
    if not any(dicom for _, dicom in tables):
        return {}
    from unetkit.data.formats.dicom import label_names

    numbers: dict[str, tuple[int, Path]] = {}
    names: dict[int, str] = {}
    sure = all(dicom for _, dicom in tables)
    for path in (path for path, dicom in tables if dicom):
        try:
            here = {number: name for number, name in label_names(path).items() if number}
        except MissingPackageError:
            return {}  # whoever reads the first label says so
        if len({name.casefold() for name in here.values()} - {""}) < len(here):
            sure = False  # one without a name, or several lesions that are all called so
            continue
        for number, name in here.items():
            first, where = numbers.setdefault(name.casefold(), (number, path))
            if first != number:
                text = f"'{name}' has the number {number} here and {first} in {where.name}"
                cure = "export all with the same numbers; outlines: unet convert rtstruct SRC OUT"
                found.problems.append(refused("segment-numbers", path, text, cure))
                return {}
            sure &= names.setdefault(number, name).casefold() == name.casefold()
    if sure and names:
        found.notes.append(f"classes were named by the segments: {', '.join(names.values())}")
    return {0: "background", **names} if sure and names else {}


def _catalog(source: Path, layout: str, found: Found, declared: Declared) -> Catalog:
    if not found.cases and not found.problems:
        raise DataError("no image has a label", cure="add masks", where=source)
    return Catalog(
        source=source,
        layout=layout,
        cases=tuple(sorted(found.cases, key=lambda case: case.id)),
        unlabelled=tuple(sorted(found.unlabelled, key=lambda case: case.id)),
        channels=declared.channels,
        names=declared.names or {},
        ignore_value=declared.ignore_value,
        notes=tuple(found.notes),
        problems=tuple(found.problems),
    )
