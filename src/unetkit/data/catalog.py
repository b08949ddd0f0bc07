"""Which images and labels a folder or a CSV holds: names only, no pixel is read here."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unetkit.data.formats import (
    FOLDERS,
    SUFFIXES,
    channel_of,
    files_of,
    is_image_folder,
    kind_of,
    stem_of,
    suffix_of,
)
from unetkit.data.problems import Problem, refused, warning
from unetkit.data.readers import FOLDER, with_readers
from unetkit.data.tables import Declared, Row, read_dataset_json, read_rows, stated_ignore
from unetkit.errors import DataError
from unetkit.records.case import Case

LAYOUTS = (("imagesTr", "labelsTr"), ("images", "masks"), ("images", "labels"))
INDEX = "index.csv"
_MEANT = (("images", "image", "imgs", "img"), ("masks", "mask", "labels", "label", "annotations"))
"""Folder names, in small letters, that say what was meant."""
_MOST_GUESSES = 20
_HEADERS = (".nhdr", ".mhd")
"""Suffixes of a header that lies beside its data; the data are no images of their own."""

_EXPECTED = (
    "put the pictures in images/ and the masks, under the same names, in masks/; or use imagesTr/ and "
    "labelsTr/; or give a CSV with the columns id,image,label,group,split"
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


@dataclass
class _Found:
    """What is being collected while the names are matched."""

    cases: list[Case] = field(default_factory=list)
    unlabelled: list[Case] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def find_cases(source: Path) -> Catalog:
    """Find the images and labels of a data set.

    Args:
        source: A folder with ``images/`` + ``masks/`` or ``imagesTr/`` + ``labelsTr/``, or a CSV. An
            ``index.csv`` in the folder with ``id`` and ``group`` (and ``split``) says which cases count.

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


def _from_folder(source: Path) -> Catalog:
    inside = sorted(path.name for path in source.iterdir() if not path.name.startswith("."))
    if not inside:
        raise DataError("this is an empty folder", cure=_EXPECTED, where=source)
    folders = next(
        (pair for pair in LAYOUTS if all((source / name).is_dir() for name in pair)),
        None,
    )
    if folders is None:
        return _without_folders(source, inside)
    layout = f"{folders[0]}/ + {folders[1]}/"
    found = _Found(notes=[f"found the layout {layout}"])
    images = _files(source / folders[0], found)
    labels = _unique(_files(source / folders[1], found), source / folders[1])
    if not images:
        raise _no_picture(source / folders[0])
    index = _index(source / INDEX, found)
    grouped = _by_case(images, labels)
    _match(source / folders[1], grouped, labels, index, found)
    if (source / FOLDER).is_dir():
        marks = _unique(_files(source / FOLDER, found), source / FOLDER)
        found.cases = with_readers(found.cases, marks, index or {})
        if several := sum(case.readers is not None for case in found.cases):
            found.notes.append(f"{FOLDER}/ holds what each reader marked, for {several} of the cases")
    declared = _declared(source, found, (index or {}).values())
    return _catalog(source, layout, found, declared)


def _no_picture(folder: Path) -> DataError:
    """The error for a folder of images without one that can be read."""
    inside = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    if not inside:
        return DataError("this is an empty folder: it holds no picture", cure=_EXPECTED, where=folder)
    listed = _listed([path.name for path in inside])
    cure = f"convert the pictures to one of {', '.join(SUFFIXES)}"
    if any(path.is_dir() for path in inside):
        cure = f"put the pictures into {folder.name}/ itself, not into folders inside, or name them in a CSV"
    return DataError(f"this folder holds no picture that can be read, only {listed}", cure=cure, where=folder)


def _listed(names: Sequence[str], most: int = 3) -> str:
    """The first few names."""
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def _without_folders(source: Path, inside: list[str]) -> Catalog:
    """A folder of no known layout: its index may name the files, otherwise it is refused."""
    index = source / INDEX
    if index.is_file() and any("image" in row.values for row in read_rows(index, needed=())):
        return _from_csv(index)
    meant = [
        next((name for name in inside if name.lower() in words and (source / name).is_dir()), None)
        for words in _MEANT
    ]
    cure = _EXPECTED
    if all(meant):
        cure = f"rename the folder '{meant[0]}' to 'images' and '{meant[1]}' to 'masks'"
    raise DataError(f"no known layout; this folder holds: {_listed(inside, 8)}", cure=cure, where=source)


def _files(folder: Path, found: _Found) -> list[Path]:
    """The files of a folder that a format reads; others are said, never dropped silently."""
    paths = sorted(path for path in folder.iterdir() if not path.name.startswith("."))
    kinds = {path: kind_of(path) for path in paths}
    known = [path for path, kind in kinds.items() if kind and (path.is_file() or kind in FOLDERS)]
    used = {*known, *(part for path in known for part in _data_beside(path))}
    other = [path.name for path in paths if path not in used]
    if other:
        found.problems.append(
            warning(
                "other-files",
                folder,
                f"{len(other)} entries are no pictures and were left out: {_listed(other)}",
                "convert them to PNG, TIFF or NIfTI if they are data",
            )
        )
    return known


def _data_beside(path: Path) -> tuple[Path, ...]:
    """The files that a header names; a damaged header is met when its case is read."""
    try:
        return files_of(path) if suffix_of(path) in _HEADERS else ()
    except DataError:
        return ()


def _unique(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Stem to path.

    Raises:
        DataError: Two files share a stem.
    """
    table: dict[str, Path] = {}
    for path in paths:
        stem = stem_of(path)
        if stem in table:
            raise DataError(
                f"two files have the same name: {table[stem].name} and {path.name}",
                cure="remove one",
                where=folder,
            )
        table[stem] = path
    return table


def _by_case(images: list[Path], labels: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Case id to its image files: one file of the label's name, or ``_0000``, ``_0001`` … behind it."""
    stems = _unique(images, images[0].parent)
    channelled = any((hit := channel_of(path)) and hit[0] in labels for path in stems.values())
    grouped: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for stem, path in stems.items():
        hit = channel_of(path)
        if hit and stem not in labels and (hit[0] in labels or channelled):
            grouped[hit[0]].append((hit[1], path))
        else:
            grouped[stem].append((-1, path))
    for id, parts in grouped.items():
        numbers = sorted(number for number, _ in parts)
        if numbers not in ([-1], list(range(len(numbers)))):
            listed = ", ".join(path.name for _, path in sorted(parts))
            raise DataError(
                f"the channels of '{id}' must be numbered _0000, _0001 …, got {listed}",
                cure="add the missing channel, or rename the files",
                where=images[0].parent,
            )
    return {id: tuple(path for _, path in sorted(parts)) for id, parts in grouped.items()}


def _index(path: Path, found: _Found) -> dict[str, Row] | None:
    """The rows of ``index.csv`` by id; None where there is none or it has no ids."""
    if not path.is_file():
        return None
    rows = read_rows(path, needed=())
    if "id" not in rows[0].values:
        found.problems.append(
            warning("index", path, "it has no column 'id' and was not used", "add the column")
        )
        return None
    used = [name for name in ("id", "group", "split", "ignore_value") if name in rows[0].values]
    found.notes.append(f"{path.name} was used: {len(rows)} rows, columns {', '.join(used)}")
    return _by_id(rows, path)


def _by_id(rows: Iterable[Row], path: Path) -> dict[str, Row]:
    table: dict[str, Row] = {}
    for row in rows:
        id = row.values.get("id", "")
        if not id or id in table:
            problem = f"the id '{id}' occurs twice" if id else "the id is empty"
            raise DataError(f"line {row.line}: {problem}", cure="give every row its own id", where=path)
        table[id] = row
    return table


def _match(
    folder: Path,
    images: dict[str, tuple[Path, ...]],
    labels: dict[str, Path],
    index: dict[str, Row] | None,
    found: _Found,
) -> None:
    """Put images, labels and the index together."""
    orphans = sorted(set(labels) - set(images))
    for id in sorted(images) if index is None else sorted(index):
        row = Row(0, {}) if index is None else index[id]
        if id not in images:
            text = f"index.csv names '{id}' (line {row.line}), which has no image"
            found.problems.append(refused("missing-image", folder.parent / INDEX, text, "add it or the row"))
            continue
        group = row.values.get("group") or id
        split = row.split(folder.parent / INDEX)
        case = Case(id, images[id], labels.get(id), group, split=split)
        if case.label is None:
            _missing_mask(case, folder, {stem: labels[stem] for stem in orphans}, found)
        else:
            found.cases.append(case)
    if index is None and orphans:
        text = f"{len(orphans)} masks have no image: {_listed(orphans)}"
        found.problems.append(warning("missing-image", folder, text, "add the images, or rename the masks"))
    elif index is not None and (left := sorted(set(images) - set(index))):
        found.notes.append(f"{len(left)} images are not in index.csv and were left out: {_listed(left)}")
    if index is None or not any("group" in row.values for row in index.values()):
        found.notes.append("no groups are given: every image counts as its own group")


def _missing_mask(case: Case, folder: Path, orphans: dict[str, Path], found: _Found) -> None:
    """A mask is missing; one of nearly the same name may be meant for it."""
    text = f"missing mask: expected a file named '{case.id}' in {folder.name}/, found none"
    cure = "add the mask (an empty one where there is nothing to see), or take the image out"
    if len(found.unlabelled) < _MOST_GUESSES:
        near = next((path for stem, path in orphans.items() if _akin(case.id, stem)), None)
        if near is not None:
            text += f" (there is '{near.name}')"
            named = f"{case.id}{suffix_of(near) or ''}"
            cure = f"give every mask the name of its image: rename '{near.name}' to '{named}'"
    found.unlabelled.append(case)
    found.problems.append(refused("missing-mask", case.images[0], text, cure))


def _akin(one: str, other: str) -> bool:
    """Whether one name is the other with a word before or behind it, as ``a7`` and ``a7_mask`` are."""
    short, long = sorted((one, other), key=len)
    if len(short) == len(long):
        return False
    behind = long.startswith(short) and not long[len(short)].isalnum()
    return behind or (long.endswith(short) and not long[-len(short) - 1].isalnum())


def _from_csv(path: Path) -> Catalog:
    rows = read_rows(path, needed=("image",))
    found = _Found(notes=[f"found a CSV with {len(rows)} rows"])
    named = []
    for row in rows:
        images = tuple(path.parent / part.strip() for part in row.values["image"].split(";") if part.strip())
        if not images:
            raise DataError(f"line {row.line}: no image is named", cure="name the image file", where=path)
        named.append(
            (images, Row(row.line, {**row.values, "id": row.values.get("id") or stem_of(images[0])}))
        )
    _by_id((row for _, row in named), path)
    for images, row in named:
        _csv_case(path, images, row, found)
    if not any("group" in row.values for row in rows):
        found.notes.append("no groups are given: every image counts as its own group")
    if found.unlabelled:
        found.notes.append(f"{len(found.unlabelled)} images have no label and are not trained on")
    return _catalog(path, "csv", found, _declared(path.parent, found, rows))


def _csv_case(path: Path, images: tuple[Path, ...], row: Row, found: _Found) -> None:
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


def _declared(folder: Path, found: _Found, rows: Iterable[Row]) -> Declared:
    """What dataset.json says, and the CSV's ``ignore_value`` where it states one."""
    path = folder / "dataset.json"
    declared = read_dataset_json(path) if path.is_file() else Declared()
    if path.is_file():
        found.notes.append("dataset.json was used for names, channels and the ignore label")
    found.notes.extend(declared.notes)
    ignore = stated_ignore(rows, where=folder)
    return declared if ignore is None else replace(declared, ignore_value=ignore)


def _catalog(source: Path, layout: str, found: _Found, declared: Declared) -> Catalog:
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
