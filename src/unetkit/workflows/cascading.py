"""The first stage of a cascade: which run it is, and what it says of cases that it has not seen."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from unetkit.errors import DataError, UsageError
from unetkit.networks.store import SEAL
from unetkit.records.case import Case
from unetkit.records.files import sha256
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.records.saved import Saved

if TYPE_CHECKING:
    from unetkit.data.split import Split
    from unetkit.workflows.configurations import Part
    from unetkit.workflows.train import Wishes


class PreviousFold(Saved):
    """One fold of the first stage.

    Args:
        folder: Its run.
        model_sha256: Of the ``model.json`` of its model.
        held_out: Ids of the cases that it had not seen, and predicted.
    """

    folder: str
    model_sha256: str
    held_out: tuple[str, ...]

    @property
    def model(self) -> Path:
        """The model folder.

        Raises:
            DataError: The model is gone, or another one.
        """
        folder = Run(Path(self.folder)).model
        seal = folder / SEAL
        if not seal.is_file() or sha256(seal) != self.model_sha256:
            raise DataError(
                "this run of the first stage is gone, or has changed since the second one began",
                cure="put it back, or train the second stage anew (--overwrite)",
                where=self.folder,
            )
        return folder


class PreviousFile(Saved):
    """``previous.json`` of a run that is the second stage of a cascade.

    Args:
        folds: Of the first stage; together they predicted every case unseen.
        fold: The one that held out the same cases as this run: the model that both stages make has it.
    """

    version: int = 1
    folds: tuple[PreviousFold, ...]
    fold: int


def asked_previous(
    wishes: Wishes, plan: Plan, sides: Split, digests: Mapping[str, str]
) -> PreviousFile | None:
    """The first stage that was asked for, looked at; nothing is written.

    Every training case must have been predicted by a fold that had not seen it: a second stage that learned
    from answers about cases the first stage knows by heart would trust it too much.

    Args:
        wishes: What was asked for.
        plan: Of the second stage.
        sides: Its training and held-out cases.
        digests: Case id → hash of its pixels.

    Raises:
        UsageError: There is no first stage for a plan that needs one, it is no cross-validation of a first
            stage with the same classes over the same folds, or is not finished.
        DataError: The data has changed since.
    """
    if plan.data.cascade != "full":
        return None
    if wishes.previous is None:
        raise UsageError(
            "data.cascade=full is the second stage of a cascade, and there is no first one",
            cure="name the cross-validation of the first stage with --previous (made with data.cascade=low)",
        )
    if wishes.teachers:
        raise UsageError(
            "the second stage of a cascade cannot learn from teachers, which do not see what it sees",
            cure="leave the teachers or --previous out",
        )
    place = Path(wishes.previous)
    parts = _parts(place, plan)
    fold = next((at for at, part in enumerate(parts) if part.held_out == set(sides.held_out)), None)
    if fold is None:
        training = parts[0].trained.plan.training
        raise UsageError(
            "no fold of the first stage held out the cases that this run holds out",
            cure=f"train with the same data, --seed {training.seed} and --fold k/{training.folds} or "
            f"--fold all/{training.folds}",
            where=place,
        )
    _refuse_changed(parts, sides, digests, place)
    return PreviousFile(folds=tuple(map(_fold, parts)), fold=fold)


def _parts(place: Path, plan: Plan) -> Sequence[Part]:
    """The folds of the first stage."""
    from unetkit.workflows.configurations import differing, read_configurations

    parts = read_configurations([place])[0].parts
    if len(parts) < 2:
        raise UsageError(
            "this is a single run: it says nothing about the cases it was trained on that it had not seen",
            cure="train the first stage with --fold all/5 --set data.cascade=low, and name that folder",
            where=place,
        )
    for part in parts:
        data = part.trained.plan.data
        if data.cascade != "low":
            raise UsageError(
                f"expected the first stage of a cascade (data.cascade=low), got data.cascade={data.cascade}",
                cure="train it with --set data.cascade=low",
                where=part.trained.folder,
            )
        if odd := differing(data, plan.data):
            raise UsageError(
                f"the first stage has the {odd[0]} {odd[1]}, this run {odd[2]}",
                cure="train both stages on the same data set",
                where=part.trained.folder,
            )
    return parts


def _refuse_changed(parts: Sequence[Part], sides: Split, digests: Mapping[str, str], place: Path) -> None:
    """Refuse cases that the first stage has never predicted unseen, or that look different now."""
    known = {id: part for part in parts for id in part.held_out}
    for id in (*sides.train, *sides.held_out):
        if id not in known or known[id].split.digests.get(id) != digests.get(id):
            raise DataError(
                f"'{id}' is not what the first stage was trained on",
                cure="train the first stage anew, on this data",
                where=place,
            )


def _fold(part: Part) -> PreviousFold:
    run = part.trained.run
    return PreviousFold(
        folder=str(run.folder),
        model_sha256=sha256(run.model / SEAL),
        held_out=tuple(sorted(part.held_out)),
    )


def read_previous_file(run: Run) -> PreviousFile | None:
    """The first stage of a run; None where it is alone."""
    path = run.previous
    return PreviousFile.from_json(path.read_bytes(), where=path) if path.is_file() else None


def previous_model(run: Run) -> Path | None:
    """The model folder of the first stage that goes with a run's own model; None where it is alone.

    It is the network of the same fold, so that neither stage has seen a held-out case.

    Args:
        run: The run.

    Raises:
        DataError: It is gone, or another one.
    """
    file = read_previous_file(run)
    return None if file is None else file.folds[file.fold].model


def refuse_other_previous(run: Run, previous: str | Path | None) -> None:
    """Refuse to go on with a run after another first stage than it began with.

    Args:
        run: The run.
        previous: What was asked for.

    Raises:
        UsageError: It is another one.
    """
    if previous is None:
        return
    own, asked = read_previous_file(run), Path(previous).resolve()
    if own is None or any(Path(fold.folder).resolve().parent != asked for fold in own.folds):
        raise UsageError(
            f"a resumed run keeps its first stage, and another was asked for (--previous {previous})",
            cure="leave --previous out, or train anew in another folder",
            where=run.folder,
        )


def with_answers(cases: Sequence[Case], run: Run) -> tuple[Case, ...]:
    """The cases of a run, each with what the first stage says of it, having not seen it.

    Args:
        cases: Of the data set.
        run: The run; its cases stay as they are where it is alone.

    Raises:
        DataError: The first stage is gone or has changed, or its answer for a case is missing.
    """
    from unetkit.workflows.measuring import prediction_path

    file = read_previous_file(run)
    if file is None:
        return tuple(cases)
    folds: dict[str, Run] = {}
    for fold in file.folds:
        folds |= dict.fromkeys(fold.held_out, Run(fold.model.parent))
    found = []
    for case in cases:
        path = prediction_path(folds[case.id], case) if case.id in folds else None
        if path is not None and not path.exists():
            raise DataError(
                f"the answer of the first stage for '{case.id}' is missing",
                cure="put the run back, or train the first stage anew",
                where=path,
            )
        found.append(replace(case, previous=path))
    return tuple(found)
