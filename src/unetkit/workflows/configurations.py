"""Runs that are to be put together: which cases each has not seen, and whether all speak of the same ones."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.inspect import Inspection
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.run import Run
from unetkit.records.split import SplitFile
from unetkit.workflows.cross_validation import read_cross_validation
from unetkit.workflows.readying import refuse_other_data
from unetkit.workflows.train import TrainedRun, reopen

_SAME = ("rank", "channels", "classes", "label_values", "ignore_value")


@dataclass(frozen=True)
class Part:
    """One finished run and what it held out.

    Args:
        trained: The run.
        split: Its two sides.
    """

    trained: TrainedRun
    split: SplitFile

    @property
    def held_out(self) -> frozenset[str]:
        """Ids of the cases that it has not seen."""
        return frozenset(self.split.held_out)

    @property
    def own_plan(self) -> Plan:
        """The plan that it was trained with, without what was fitted after the last step."""
        path = self.trained.run.plan
        return Plan.from_json(path.read_bytes(), where=path)


@dataclass(frozen=True)
class Configuration:
    """One way of training, once per fold.

    Args:
        name: What it is called in tables.
        parts: Its runs, in the order of the folds.
    """

    name: str
    parts: tuple[Part, ...]


@dataclass(frozen=True)
class Fold:
    """Some cases, and for every configuration the model that has not seen them.

    Args:
        cases: Labelled cases.
        models: Model folders, one per configuration.
        trained_on: Cases that these models were trained on.
    """

    cases: tuple[Case, ...]
    models: tuple[Path, ...]
    trained_on: int


def read_configurations(folders: Sequence[str | Path]) -> tuple[Configuration, ...]:
    """Read finished runs and put those of the same folds side by side.

    A cross-validation (``unet train --fold all/n``) is one configuration. So are single runs that have held
    out different cases each: the folds of one training, made one by one.

    Args:
        folders: Runs and cross-validations.

    Raises:
        UsageError: One is not finished or named twice, or they were not measured on the same cases.
    """
    places = [Path(folder) for folder in folders]
    if not places:
        raise UsageError("no run was named", cure="name folders that 'unet train --out' wrote")
    if len({place.resolve() for place in places}) < len(places):
        raise UsageError("a run was named twice", cure="name each run once")
    names = _names(places)
    read = [Configuration(name, _parts(place)) for name, place in zip(names, places, strict=True)]
    found = _refuse_overlap(_as_folds(read))
    _refuse_other_classes(found)
    return found


def _names(places: Sequence[Path]) -> list[str]:
    """Folder names where they tell the runs apart, whole paths where they do not."""
    short = [place.resolve().name for place in places]
    return short if len(set(short)) == len(short) else [str(place) for place in places]


def _parts(place: Path) -> tuple[Part, ...]:
    record = read_cross_validation(Run(place))
    folders = [place]
    if record is not None:
        if any(len(row.runs) != 1 or not (place / row.runs[0]).is_dir() for row in record.folds):
            raise UsageError(
                "this was put together from other runs",
                cure="name these runs themselves, all of them at once",
                where=place,
            )
        folders = [place / row.runs[0] for row in record.folds]
    return tuple(_part(Run(folder)) for folder in folders)


def _part(run: Run) -> Part:
    trained = reopen(run)
    if trained is None or not run.split.is_file():
        raise UsageError(
            "there is no finished run here",
            cure="name folders that 'unet train --out' wrote, and finish them with --resume first",
            where=run.folder,
        )
    split = SplitFile.from_json(run.split.read_bytes(), where=run.split)
    if not split.held_out:
        raise UsageError(
            "this run held no case out: nothing tells how good it is",
            cure="train it with --fold",
            where=run.folder,
        )
    return Part(trained, split)


def _as_folds(read: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """Single runs that held out different cases are the folds of one training."""
    if len(read) < 2 or any(len(one.parts) > 1 for one in read):
        return tuple(read)
    parts = [one.parts[0] for one in read]
    pairs = itertools.combinations(parts, 2)
    if any(one.held_out & other.held_out for one, other in pairs):
        return tuple(read)
    return (Configuration(", ".join(one.name for one in read), tuple(parts)),)


def _refuse_overlap(read: Sequence[Configuration]) -> tuple[Configuration, ...]:
    """All configurations over the same folds, in the order of the first one's."""
    first = read[0]
    order = {part.held_out: place for place, part in enumerate(first.parts)}
    sorted_ones = []
    for one in read:
        if {part.held_out for part in one.parts} != order.keys() or len(one.parts) != len(order):
            raise UsageError(
                f"'{one.name}' and '{first.name}' held out different cases: their scores cannot be compared",
                cure="train them with the same data, --seed and --fold, such as --fold all/5",
            )
        sorted_ones.append(
            Configuration(one.name, tuple(sorted(one.parts, key=lambda part: order[part.held_out])))
        )
    for place, part in enumerate(first.parts):
        for one in sorted_ones:
            _refuse_other_pictures(part, one.parts[place])
    return tuple(sorted_ones)


def _refuse_other_pictures(one: Part, other: Part) -> None:
    for id in sorted(one.held_out):
        if one.split.digests.get(id) != other.split.digests.get(id):
            raise DataError(
                f"'{id}' was another picture to '{one.trained.folder}' than to '{other.trained.folder}'",
                cure="put runs on the same data together",
            )


def _refuse_other_classes(read: Sequence[Configuration]) -> None:
    """Refuse networks whose answers mean different things."""
    first = read[0].parts[0].trained
    for part in (part for one in read for part in one.parts):
        if apart := differing(first.plan.data, part.trained.plan.data):
            name, mine, theirs = apart
            raise UsageError(
                f"expected {name} {mine} as in '{first.folder}', got {theirs}",
                cure="put networks with the same channels and classes together",
                where=part.trained.folder,
            )


def differing(one: DataPlan, other: DataPlan) -> tuple[str, object, object] | None:
    """What makes the answers of two networks mean different things; None where they mean the same.

    Args:
        one: Classes and channels of one.
        other: Of the other.

    Returns:
        What it is, and the value of each.
    """
    for name in _SAME:
        if getattr(one, name) != getattr(other, name):
            return name, getattr(one, name), getattr(other, name)
    return None


def folds_of(read: Sequence[Configuration], inspection: Inspection, source: Path) -> tuple[Fold, ...]:
    """The folds with their cases' addresses.

    Args:
        read: What was put side by side.
        inspection: The data set as it is now.
        source: How it was named, for the error.

    Raises:
        DataError: It is not what the runs were started with, or a single image that was cut in parts.
    """
    if len(inspection.facts) == 1:
        raise DataError(
            "a single image was cut in parts: what was measured on them cannot be put together",
            cure="train on several images",
            where=source,
        )
    for part in (part for one in read for part in one.parts):
        refuse_other_data(source, inspection, part.split)
    by_id = {case.id: case for case in inspection.catalog.cases}
    return tuple(
        Fold(
            cases=tuple(by_id[id] for id in sorted(parts[0].held_out)),
            models=tuple(part.trained.run.model for part in parts),
            trained_on=len(parts[0].split.train),
        )
        for parts in zip(*(one.parts for one in read), strict=True)
    )
