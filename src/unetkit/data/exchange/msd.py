"""Medical Segmentation Decathlon: ``dataset.json`` lists the cases; a fourth axis holds channels."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from unetkit.data.exchange import Foreign
from unetkit.data.exchange.finding import case_ids, is_there
from unetkit.data.exchange.nnunet import DECLARED, item
from unetkit.data.formats import channel_of
from unetkit.data.tables import read_dataset_json, read_json
from unetkit.errors import DataError
from unetkit.records.case import Case


class Msd:
    """A task of the Decathlon."""

    def holds(self, source: Path) -> bool:
        """Whether ``dataset.json`` lists training cases whose files are not named by channel."""
        if not (source / DECLARED).is_file():
            return False
        try:
            pairs = _pairs(source)
        except DataError:
            return False
        return bool(pairs) and not any(channel_of(image) for image, _ in pairs) and is_there(pairs[0][0])

    def find(self, source: Path) -> Foreign:
        """List the training cases, and the test images, which have no label."""
        pairs = _pairs(source)
        if not pairs:
            raise DataError(
                "'training' lists no case", cure="name the folder of a task", where=source / DECLARED
            )
        declared = read_dataset_json(source / DECLARED)
        ids = case_ids([image.relative_to(os.path.normpath(source)).as_posix() for image, _ in pairs])
        cases = [Case(id, (image,), label, id) for id, (image, label) in zip(ids, pairs, strict=True)]
        return Foreign(
            items=tuple(item(case) for case in cases),
            names=declared.names or {},
            channels=declared.channels,
            ignore_value=declared.ignore_value,
            unseen=tuple((path,) for path in _test(source) if is_there(path)),
            notes=declared.notes,
        )


def _pairs(source: Path) -> list[tuple[Path, Path]]:
    """The image and the label of each training case."""
    rows = read_json(source / DECLARED).get("training")
    if not isinstance(rows, list) or not all(isinstance(row, dict) for row in rows):
        raise DataError(
            "expected a list 'training' of images and labels",
            cure="name the folder of a task",
            where=source / DECLARED,
        )
    return [(_inside(source, row.get("image")), _inside(source, row.get("label"))) for row in rows]


def _test(source: Path) -> Iterator[Path]:
    rows = read_json(source / DECLARED).get("test")
    for row in rows if isinstance(rows, list) else ():
        yield _inside(source, row.get("image") if isinstance(row, dict) else row)


def _inside(source: Path, stated: Any) -> Path:  # noqa: ANN401 - JSON
    """A file that the list names, which must lie in the folder of the task."""
    path = Path(os.path.normpath(source / str(stated)))
    if not isinstance(stated, str) or not path.is_relative_to(os.path.normpath(source)):
        raise DataError(
            f"the file '{str(stated)[:100]}' does not lie in this folder",
            cure="correct the list of cases",
            where=source / DECLARED,
        )
    return path
