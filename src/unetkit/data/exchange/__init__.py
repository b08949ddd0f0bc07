"""Exchange: data sets as other tools and archives lay them out, one file per kind, read case by case."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import numpy as np

from unetkit.data.catalog import holds_cases
from unetkit.data.problems import Problem
from unetkit.errors import DataError
from unetkit.lookup import names, pick
from unetkit.records.case import Grid

FAMILY = "dataset_kind"
KINDS = {
    "lidc": "unetkit.data.exchange.lidc:Lidc",
    "msd": "unetkit.data.exchange.msd:Msd",
    "nnunet": "unetkit.data.exchange.nnunet:NnUnet",
    "coco": "unetkit.data.exchange.coco:Coco",
    "labelme": "unetkit.data.exchange.labelme:LabelMe",
    "yolo": "unetkit.data.exchange.yolo:Yolo",
    "colours": "unetkit.data.exchange.colours:Colours",
    "cvat": "unetkit.data.exchange.cvat:Cvat",
    "rtstruct": "unetkit.data.exchange.rtstruct:Rtstruct",
}


@dataclass(frozen=True)
class Volume:
    """Pixels that are in no file yet.

    Args:
        pixels: ``(C, *S)``.
        grid: Where they lie.
    """

    pixels: np.ndarray
    grid: Grid


@dataclass(frozen=True)
class Content:
    """One case, read.

    Args:
        image: Its files, one per channel, which are copied as they are; or a volume.
        label: A file that is copied as it is; or class numbers ``(*S)`` on the grid of the image.
        columns: Cells of its row in ``index.csv``, besides id, group and split.
        beside: Folder to further labels ``(*S)``, such as each reader's.
        tables: Name of a further CSV to this case's rows in it.
    """

    image: tuple[Path, ...] | Volume
    label: Path | np.ndarray
    columns: Mapping[str, str] = field(default_factory=dict)
    beside: Mapping[str, np.ndarray] = field(default_factory=dict)
    tables: Mapping[str, tuple[Mapping[str, str], ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class Item:
    """One case of a foreign data set, not read yet.

    Args:
        id: Its name, safe as a file name and unique.
        where: The file or folder a person knows it by.
        read: Reads it; raises ``DataError`` where it is refused.
        group: Its group (patient); the id where there is none.
        split: ``train``, ``val`` or ``test`` where the data set says so.
    """

    id: str
    where: Path
    read: Callable[[], Content]
    group: str = ""
    split: str | None = None


@dataclass(frozen=True)
class Foreign:
    """A foreign data set, found but not read.

    Args:
        items: Its cases.
        names: Label value to class name; the background is 0.
        channels: Channel names, where it states them.
        ignore_value: The value that means "not labelled".
        unseen: Images without a label, each with its files.
        notes: What had to be decided, one sentence each.
        problems: What is wrong with it as a whole.
    """

    items: tuple[Item, ...]
    names: Mapping[int, str]
    channels: tuple[str, ...] = ()
    ignore_value: int | None = None
    unseen: tuple[tuple[Path, ...], ...] = ()
    notes: tuple[str, ...] = ()
    problems: tuple[Problem, ...] = ()


class Kind(Protocol):
    """A row of ``KINDS``."""

    def holds(self, source: Path) -> bool:
        """Whether a file or folder looks like this kind; a quick look that refuses nothing."""
        ...

    def find(self, source: Path) -> Foreign:
        """List the cases; raises ``DataError`` where there are none."""
        ...


def kind_of_set(source: Path) -> str:
    """Recognise a foreign data set.

    Args:
        source: A file or a folder.

    Raises:
        DataError: It is not there, or looks like none or several of the kinds.
    """
    if not source.exists():
        raise DataError("there is no such file or folder", cure="correct the path", where=source)
    known = names(FAMILY, KINDS)
    found = [name for name in known if pick(FAMILY, KINDS, name)().holds(source)]
    if len(found) == 1:
        return found[0]
    if not found and holds_cases(source):
        raise DataError(
            "this needs no conversion: it is read as it lies",
            cure=f"look at it with 'unet check {source}', then train on it",
            where=source,
        )
    problem = (
        f"this looks like {' and '.join(found)}" if found else "this looks like no known kind of data set"
    )
    raise DataError(problem, cure=f"name its kind: one of {', '.join(found or known)}", where=source)
