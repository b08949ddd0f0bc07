"""``cross_validate``: one run per fold, every case measured unseen, and all networks as one model."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect, raise_if_refused
from unetkit.data.split import every_fold
from unetkit.errors import UsageError
from unetkit.records.files import write_text
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.training.signals import Preemptible
from unetkit.workflows.cross_validation import CrossValidation, FoldRow, read_cross_validation
from unetkit.workflows.ensemble import CrossValidated, put_together
from unetkit.workflows.run_folder import RunLog, held, next_folder
from unetkit.workflows.train import TrainSettings, Wishes, train

FOLDS = 5


class FoldRun(NamedTuple):
    """One training of a cross-validation.

    Args:
        number: Of the fold, from 0.
        folder: Of the run.
        trained_on: Cases it trains on.
        held_out: Cases it holds out.
    """

    number: int
    folder: Path
    trained_on: int
    held_out: int


def cross_validate(
    source: str | Path,
    out: str | Path | None = None,
    *,
    folds: int = FOLDS,
    progress: Progress | None = None,
    **settings: Unpack[TrainSettings],
) -> CrossValidated:
    """Train every fold in turn, measure every case with the network that has not seen it, and join them.

    Each fold is an ordinary run below ``out``, with a plan of its own: nothing in it comes from a case it is
    measured on. Runs that are finished are kept, one that was stopped goes on: the same call resumes.

    Args:
        source: The data set.
        out: Folder of the runs and of ``model/``, their ensemble; ``runs/<name>-<n>`` when None.
        folds: Into how many parts the groups are divided; with fewer groups there are fewer folds.
        progress: Who watches.
        settings: See ``TrainSettings``. ``minutes`` are for all folds together, in equal shares; putting
            together and measuring come after.

    Returns:
        Scores of every case, unseen, and the ensemble.

    Raises:
        UsageError: A setting is wrong, or the folder holds something else.
        DataError: The data set is refused, states its own split, or has a single image or group.
        ResourceError: Disk, memory or the device does not suffice.
        PreemptedError: It was asked to stop; what was done is kept.
    """
    wishes, watch = _checked(folds, settings), progress or Quiet()
    run = Run(Path(out) if out is not None else next_folder(Path(source)))
    refuse_other_folder(run, folds)
    with held(run.folder), RunLog(run, Path(source)):
        entries = _entries(Path(source), run, folds, wishes, progress=watch)
        if wishes.overwrite or not run.cross_validation.exists():
            rows = tuple(FoldRow(runs=(entry.folder.name,)) for entry in entries)
            write_text(
                run.cross_validation, CrossValidation(source=str(source), asked=folds, folds=rows).to_json()
            )
        cache = Path(wishes.cache) if wishes.cache else run.folder / "cache"
        share = wishes.minutes / len(entries)
        if share:
            watch.say(f"{wishes.minutes:g} minutes: {share:g} for each of {len(entries)} folds")
        for entry in entries:
            watch.say(f"fold {entry.number} of {len(entries)} → {entry.folder}")
            mine: TrainSettings = {
                **settings,
                "minutes": share,
                "fold": (entry.number, folds),
                "cache": cache,
                "resume": not wishes.overwrite,
            }
            train(source, entry.folder, progress=watch, **mine)
        with Preemptible(run.folder, cure="run the same command again: every fold is trained"):
            done = _joined(run, Path(source), entries, folds, wishes, progress=watch)
        if not wishes.cache and cache.is_dir():
            shutil.rmtree(cache)
    return done


def planned_folds(
    source: str | Path,
    out: str | Path | None = None,
    *,
    folds: int = FOLDS,
    progress: Progress | None = None,
    **settings: Unpack[TrainSettings],
) -> list[FoldRun]:
    """The trainings that ``cross_validate`` makes, in order; the data set is read, nothing is written.

    Args:
        source: See ``cross_validate``.
        out: See ``cross_validate``.
        folds: See ``cross_validate``.
        progress: See ``cross_validate``.
        settings: See ``cross_validate``.

    Raises:
        UsageError: See ``cross_validate``.
        DataError: See ``cross_validate``.
    """
    wishes = _checked(folds, settings)
    run = Run(Path(out) if out is not None else next_folder(Path(source)))
    refuse_other_folder(run, folds)
    return _entries(Path(source), run, folds, wishes, progress=progress or Quiet())


def _checked(folds: int, settings: TrainSettings) -> Wishes:
    """Refuse what cannot be done before anything is read."""
    from unetkit.workflows.asked import given_plan

    wishes = Wishes.of(settings)
    if folds < 2:
        raise UsageError(f"2 folds or more were expected, got {folds}", cure="say --fold all/5")
    if wishes.fold is not None:
        raise UsageError(
            f"every fold is trained, and fold {wishes.fold[0]} alone was asked for", cure="leave 'fold' out"
        )
    if wishes.resume and wishes.overwrite:
        raise UsageError("--resume and --overwrite contradict one another", cure="say one of them")
    given_plan(wishes)
    return wishes


def refuse_other_folder(run: Run, folds: int) -> None:
    """Refuse a folder that holds a single run, an ensemble of other runs, or another number of folds.

    Args:
        run: The folder.
        folds: Into how many parts the cases are to be divided.

    Raises:
        UsageError: It does.
    """
    if run.plan.exists() or run.journal.exists():
        raise UsageError(
            "this folder holds a single run",
            cure="name another folder for the cross-validation",
            where=run.folder,
        )
    record = read_cross_validation(run)
    if record is not None and record.asked != folds:
        holds = f"a cross-validation of {record.asked} folds" if record.asked else "an ensemble of other runs"
        raise UsageError(
            f"this folder holds {holds}, {folds} were asked for"
            if record.asked
            else f"this folder holds {holds}",
            cure=f"say --fold all/{record.asked}, or name another folder"
            if record.asked
            else "name another folder",
            where=run.folder,
        )


def _entries(source: Path, run: Run, folds: int, wishes: Wishes, *, progress: Progress) -> list[FoldRun]:
    """Which folds there are; the groups of the data set may not suffice for as many as were asked for."""
    from unetkit.workflows.asked import given_plan, wanted_split

    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    seed = wanted_split(wishes, given_plan(wishes)).seed
    parts = every_fold(inspection.catalog, inspection.facts, folds=folds, seed=seed)
    if len(parts) < folds:
        progress.say(f"warning: {folds} folds were asked for, there are only {len(parts)} separate groups")
    total = sum(map(len, parts))
    return [
        FoldRun(number, run.folder / f"fold-{number}", total - len(part), len(part))
        for number, part in enumerate(parts)
    ]


def _joined(
    run: Run,
    source: Path,
    entries: Sequence[FoldRun],
    folds: int,
    wishes: Wishes,
    *,
    progress: Progress,
) -> CrossValidated:
    """The ensemble of all folds: what is there already, or put together now."""
    from unetkit.networks.store import SCORES, read_record, read_seal
    from unetkit.workflows.configurations import read_configurations
    from unetkit.workflows.ensemble_folder import read_ensemble
    from unetkit.workflows.model_folder import is_ensemble

    record = read_cross_validation(run)
    if record is not None and record.finished and is_ensemble(run.model) and run.report.is_file():
        have = [member.weights_sha256 for member in read_ensemble(run.model)[0].members]
        if have == [read_seal(entry.folder / "model").weights_sha256 for entry in entries]:
            progress.say(f"{run.folder} is finished already; nothing was left to do")
            return CrossValidated(run, record, read_record(Scores, run.model / SCORES))
    read = read_configurations([run.folder])
    return put_together(run, read, source, asked=folds, device=wishes.device, progress=progress)
