"""nnU-Net: ``imagesTr/`` and ``labelsTr/`` with channels as ``_0000``, ``_0001`` …, and ``dataset.json``."""

from __future__ import annotations

from collections import defaultdict
from functools import partial
from pathlib import Path

from unetkit.data.catalog import Catalog, find_cases
from unetkit.data.exchange import Content, Foreign, Item
from unetkit.data.exchange.finding import is_there
from unetkit.data.formats import channel_of, kind_of, stem_of
from unetkit.errors import DataError
from unetkit.records.case import Case
from unetkit.records.files import safe_name

DECLARED, IMAGES, LABELS = "dataset.json", "imagesTr", "labelsTr"
TEST_IMAGES, TEST_LABELS = "imagesTs", "labelsTs"


class NnUnet:
    """The raw data set of nnU-Net, version 1 or 2; the labels of ``labelsTs/`` become the test part."""

    def holds(self, source: Path) -> bool:
        """Whether its folders are there and its files are named by channel."""
        if not all((source / name).is_dir() for name in (IMAGES, LABELS)):
            return False
        visible = (path for path in (source / IMAGES).iterdir() if not path.name.startswith("."))
        return any(channel_of(path) for path in visible)

    def find(self, source: Path) -> Foreign:
        """List the training cases, and the test cases that have a label."""
        catalog = find_cases(source)
        tested, unseen = _test(source)
        return Foreign(
            items=tuple(item(case) for case in (*catalog.cases, *tested)),
            names=catalog.names,
            channels=catalog.channels,
            ignore_value=catalog.ignore_value,
            unseen=unseen,
            notes=notes(catalog),
            problems=catalog.problems,
        )


def item(case: Case) -> Item:
    """A case whose files are copied as they are.

    Args:
        case: Its address; it has a label.
    """
    where = case.label or case.images[0]
    return Item(safe_name(case.id), where, partial(_read, case), case.group, case.split)


def notes(catalog: Catalog) -> tuple[str, ...]:
    """What was decided when the folders were read, but for what any data set without groups is told."""
    return tuple(note for note in catalog.notes if not note.startswith(("no groups", "found the layout")))


def _read(case: Case) -> Content:
    if case.label is None or not is_there(case.label):
        raise DataError("the case has no label", cure="add it, or take the case out", where=case.id)
    for path in case.images:
        if not is_there(path):
            raise DataError("missing image: this file does not exist", cure="add it", where=path)
    return Content(case.images, case.label)


def _test(source: Path) -> tuple[list[Case], tuple[tuple[Path, ...], ...]]:
    """Test cases with a label, and the images of the others."""
    images, labels = source / TEST_IMAGES, source / TEST_LABELS
    if not images.is_dir():
        return [], ()
    known = {stem_of(path): path for path in _readable(labels)} if labels.is_dir() else {}
    grouped: dict[str, list[Path]] = defaultdict(list)
    for path in _readable(images):
        hit = channel_of(path)
        grouped[hit[0] if hit else stem_of(path)].append(path)
    cases = [
        Case(id, tuple(parts), known[id], id, split="test") for id, parts in grouped.items() if id in known
    ]
    return cases, tuple(tuple(parts) for id, parts in grouped.items() if id not in known)


def _readable(folder: Path) -> list[Path]:
    return [path for path in sorted(folder.iterdir()) if not path.name.startswith(".") and kind_of(path)]
