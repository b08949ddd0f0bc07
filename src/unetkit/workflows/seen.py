"""What a model has seen: written when it is made, read wherever it is measured or goes on learning."""

from __future__ import annotations

import shutil
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path

from unetkit.data.facts import digest_of
from unetkit.data.labels import read_pixels
from unetkit.records.case import Case
from unetkit.records.ensemble import MEMBERS
from unetkit.records.files import write_text
from unetkit.records.run import Run
from unetkit.records.seen import SEEN, SeenFile
from unetkit.records.split import SplitFile
from unetkit.workflows.cascading import previous_model
from unetkit.workflows.model_folder import is_ensemble
from unetkit.workflows.starting import read_start
from unetkit.workflows.teaching import read_teachers


def note_seen(run: Run, recalled: Iterable[Case] = ()) -> SeenFile:
    """Write into the model folder of a run which images it has seen.

    What the model it started from and its teachers had seen counts as seen.

    Args:
        run: Its split says which cases it was trained on.
        recalled: Old cases that were shown again.

    Raises:
        DataError: An old case cannot be read any more.
        ResourceError: The disk is full or may not be written.
    """
    split = SplitFile.from_json(run.split.read_bytes(), where=run.split)
    trained = {split.digests[id] for id in split.train if id in split.digests}
    trained |= {digest_of(read_pixels(case)[0]) for case in recalled}
    for folder in _origins(run):
        earlier = read_seen(folder)
        trained |= set(earlier.trained_on) if earlier is not None else set()
    held_out = {split.digests[id] for id in split.held_out if id in split.digests} - trained
    file = SeenFile(trained_on=tuple(sorted(trained)), held_out=tuple(sorted(held_out)))
    write_text(run.model / SEEN, file.to_json())
    return file


def copy_seen(model: Path, folder: Path) -> None:
    """Let another folder with the same weights say the same, where the model folder says it.

    Args:
        model: The model folder.
        folder: Of the copy.
    """
    if (model / SEEN).is_file():
        shutil.copyfile(model / SEEN, folder / SEEN)


def read_seen(folder: Path) -> SeenFile | None:
    """Which images a model has seen; of an ensemble, any of its members. None: nothing says so.

    A model folder from before there was this file is told by the split of the run it lies in.

    Args:
        folder: The model folder.
    """
    path = folder / SEEN
    if path.is_file():
        return SeenFile.from_json(path.read_bytes(), where=path)
    if is_ensemble(folder):
        found = [read_seen(each) for each in sorted((folder / MEMBERS).iterdir())]
        members = [each for each in found if each is not None]
        if members and len(members) == len(found):
            trained = {digest for each in members for digest in each.trained_on}
            held_out = {digest for each in members for digest in each.held_out} - trained
            return SeenFile(trained_on=tuple(sorted(trained)), held_out=tuple(sorted(held_out)))
    split = Run(folder.parent).split
    if not split.is_file():
        return None
    file = SplitFile.from_json(split.read_bytes(), where=split)
    sides = ([file.digests[id] for id in ids if id in file.digests] for ids in (file.train, file.held_out))
    trained_on, kept = map(tuple, sides)
    return SeenFile(trained_on=trained_on, held_out=kept)


def relation(folder: Path, digests: Mapping[str, str]) -> str:
    """What images are to a model, told by their hashes.

    Args:
        folder: The model folder.
        digests: Case id to the hash of its pixels.

    Returns:
        ``training`` where it has seen any of them, ``held-out`` where all were kept from it, or ``unknown``.
    """
    seen = read_seen(folder)
    if seen is None:
        return "unknown"
    asked = set(digests.values())
    if asked & set(seen.trained_on):
        return "training"
    return "held-out" if asked <= set(seen.held_out) else "unknown"


def _origins(run: Run) -> Iterator[Path]:
    """The model folders that a run learned from."""
    start, taught = read_start(run), read_teachers(run)
    if start is not None and Path(start.source).is_dir():
        yield Path(start.source)
    for teacher in taught.teachers if taught is not None else ():
        yield Path(teacher.source)
    if (first := previous_model(run)) is not None:
        yield first
