"""Names that a stranger's file states, turned into files of this data set and into names of cases."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Iterable, Sequence
from pathlib import Path, PurePosixPath, PureWindowsPath

from unetkit.data.formats import suffix_of
from unetkit.errors import DataError
from unetkit.records.files import safe_name

_SPLITS = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SPLITS["test"] = "test"


def find_image(name: str, folders: Sequence[Path], *, inside: Path, where: Path) -> Path:
    """The image that an annotation names.

    Args:
        name: As the annotation has it, with either kind of slashes.
        folders: Where to look, the likeliest first.
        inside: The data set; nothing outside of it is opened.
        where: The annotation, for errors.

    Raises:
        DataError: The name leads out of the data set, or there is no such file.
    """
    stated = PurePosixPath(name.replace("\\", "/"))
    if not stated.name or "\0" in name:
        raise DataError("an annotation names no image", cure="export the annotations again", where=where)
    root = os.path.normpath(inside)
    absolute = stated.is_absolute() or bool(PureWindowsPath(name).drive)
    outside = True
    for folder in folders:
        path = Path(os.path.normpath(folder / stated))
        if absolute or not path.is_relative_to(root):
            continue
        outside = False
        if is_there(path):
            return path
    if outside:  # tools write the absolute path of somebody's machine: the name alone is used
        for folder in folders:
            if is_there(folder / stated.name):
                return folder / stated.name
    raise DataError(
        f"missing image: there is no '{stated.name}' in {', '.join(_short(f, inside) for f in folders)}",
        cure="put the images beside the annotations, under the names these state",
        where=where,
    )


def is_there(path: Path) -> bool:
    """Whether a file that a stranger named is there; no disk takes some names, so that asking is an error."""
    try:
        return path.is_file()
    except (OSError, ValueError):
        return False


def _short(folder: Path, inside: Path) -> str:
    return f"{os.path.relpath(folder, inside)}/"


def case_ids(names: Sequence[str]) -> list[str]:
    """Names for cases, each once: the file names, with their folders or suffixes where these tell them apart.

    Args:
        names: Paths of their images as the data set states them.

    Raises:
        DataError: A path occurs twice, or but for capitals.

    Example:
        >>> case_ids(["a/1.png", "a/2.png"]), case_ids(["a/1.png", "b/1.png"])
        (['1', '2'], ['a-1', 'b-1'])
    """
    paths = [PurePosixPath(name.replace("\\", "/")) for name in names]
    folders = ["-".join(part for part in path.parent.parts if part not in ("/", "..")) for path in paths]
    stems = [path.name[: len(path.name) - len(suffix_of(Path(path.name)) or path.suffix)] for path in paths]
    long = [f"{folder}-{stem}" if folder else stem for folder, stem in zip(folders, stems, strict=True)]
    longest = [f"{name}{path.suffix}" for name, path in zip(long, paths, strict=True)]
    ids = list(names)
    for wanted in (stems, long, longest):
        ids = [safe_name(name) for name in wanted]
        if len({id.lower() for id in ids}) == len(ids):  # some disks do not tell A from a
            return ids
    counts = Counter(id.lower() for id in ids)
    twice = next(name for name, id in zip(names, ids, strict=True) if counts[id.lower()] > 1)
    raise DataError(f"two entries name the image '{twice}'", cure="keep one of them")


def split_word(words: Iterable[str]) -> str | None:
    """The split that the name of a file or folder states.

    Example:
        >>> split_word(["annotations", "instances_train2017"]), split_word(["a"])
        ('train', None)
    """
    for word in words:
        letters = "".join(letter if letter.isalpha() else " " for letter in word.lower())
        for each in letters.split():
            if each in _SPLITS:
                return _SPLITS[each]
    return None
