"""``ensemble``: finished runs over the same folds become one model, chosen and measured on unseen cases."""

from __future__ import annotations

import shutil
import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetkit.data.catalog import find_cases
from unetkit.data.formats import kind_of
from unetkit.data.inspect import Inspection, inspect, raise_if_refused
from unetkit.errors import UsageError
from unetkit.networks.card import FORMAT
from unetkit.planning.measure import measure
from unetkit.records.figures import counted
from unetkit.records.files import write_text
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.records.split import SplitFile
from unetkit.training.signals import Preemptible
from unetkit.workflows.configurations import Configuration, Fold, folds_of, read_configurations
from unetkit.workflows.cross_validation import CrossValidation, FoldRow
from unetkit.workflows.refinement import gain_over_folds, tried
from unetkit.workflows.run_folder import RunLog, held, refuse_taken

if TYPE_CHECKING:
    from unetkit.workflows.model import Model

MEASURED = "each case by the members that had not seen it; the mean of all of them was measured on nothing"


@dataclass(frozen=True)
class CrossValidated:
    """Runs that were put together.

    Args:
        run: The folder: ``model/`` is the ensemble.
        record: What was found over all folds.
        scores: Of every case, with what had not seen it.
    """

    run: Run
    record: CrossValidation
    scores: Scores

    @property
    def folder(self) -> Path:
        """The folder."""
        return self.run.folder

    @property
    def report(self) -> Path:
        """The html report."""
        return self.run.report

    @cached_property
    def model(self) -> Model:
        """The ensemble."""
        from unetkit.workflows.model import load

        return load(self.run.model)

    def facts(self) -> dict[str, Any]:
        """The result as JSON values."""
        return {
            "folder": str(self.folder),
            "model": str(self.run.model),
            "report": str(self.report),
            "dice": {name: row["dice"].mean for name, row in self.scores.summary.items()},
            "cases": len(self.scores.cases),
            "split": self.scores.split,
            **self.record.model_dump(mode="json", include={"folds", "candidates", "refinement"}),
        }


def ensemble(
    runs: Sequence[str | Path],
    out: str | Path,
    *,
    data: str | Path | None = None,
    changes: Mapping[str, str] | None = None,
    overwrite: bool = False,
    device: str = "auto",
    progress: Progress | None = None,
) -> CrossValidated:
    """Put finished runs together: choose which answer, fit what is done to their mean, measure, report.

    Of several configurations over the same folds every one, every pair and all are compared on the cases
    that their models have not seen. Memory: the weights of the members (one at a time where all of them
    would take more than a quarter of what is free) and 8 bytes per class and pixel of one image.

    Args:
        runs: Cross-validations (``unet train --fold all/n``), single runs that held out the same cases, or
            the folds of one training, made one by one.
        out: The new folder; its ``model/`` is the ensemble, and every command takes it as a model.
        data: Where the data set lies now; where the first run was told to look when None.
        changes: ``inference.crf_…`` or ``inference.guided_…`` values to try; they are kept only where
            the mean Dice of unseen cases rises and no class falls.
        overwrite: Replace what an earlier call has put together here.
        device: Where to compute.
        progress: Who watches.

    Raises:
        UsageError: A run is not finished, two were not measured on the same cases, or ``out`` is taken.
        DataError: The data set has changed since, or a model is damaged.
        ResourceError: Disk, memory or the device does not suffice.
        PreemptedError: It was asked to stop; nothing was published.
    """
    found, target = read_configurations(runs), Path(out)
    _refuse_place(target, found, overwrite=overwrite)
    if changes:
        tried(found[0].parts[0].trained.plan, changes)
    source = Path(data) if data is not None else Path(found[0].parts[0].split.source)
    with (
        held(target),
        Preemptible(target, cure="run the same command again; the runs are as they were"),
        RunLog(Run(target), source),
    ):
        return put_together(
            Run(target), found, source, changes=changes, device=device, progress=progress or Quiet()
        )


def _refuse_place(target: Path, found: Sequence[Configuration], *, overwrite: bool) -> None:
    """Refuse a folder that holds something else, one of the runs above all."""
    run = Run(target)
    inside = [part.trained.folder.resolve() for one in found for part in one.parts]
    if any(target.resolve() in (folder, folder.parent) for folder in inside) and target.exists():
        raise UsageError(
            "the runs themselves lie in this folder", cure="name another folder for --out", where=target
        )
    if not run.cross_validation.exists():
        refuse_taken(run, resume=False, overwrite=False)
    elif not overwrite:
        raise UsageError(
            "this folder holds an ensemble already",
            cure="replace it (--overwrite), or name another folder",
            where=target,
        )


def put_together(
    run: Run,
    read: Sequence[Configuration],
    source: Path,
    *,
    asked: int = 0,
    changes: Mapping[str, str] | None = None,
    device: str,
    progress: Progress,
) -> CrossValidated:
    """Choose, fit, measure and write; the folder is held by the caller.

    Args:
        run: The folder.
        read: Configurations over the same folds.
        source: The data set.
        asked: Into how many parts its cases were divided, where that is known.
        changes: See ``ensemble``.
        device: Where to compute.
        progress: Who watches.

    Raises:
        DataError: The data set has changed, or a model is damaged.
    """
    from unetkit.workflows.candidates import choose
    from unetkit.workflows.ensemble_folder import write_ensemble
    from unetkit.workflows.out_of_fold import measure_folds

    begun = time.monotonic()
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    folds = folds_of(read, inspection, source)
    names = [one.name for one in read]
    chosen, candidates = (0,), ()
    if len(read) > 1:
        chosen, candidates = choose(folds, names, device=device, progress=progress)
        progress.say(f"chosen on unseen cases: {' + '.join(names[place] for place in chosen)}")
    plan = _plan(read[chosen[0]], count=len(chosen) * len(folds))
    gain = None
    if changes:
        unseen = [([fold.models[place] for place in chosen], fold.cases) for fold in folds]
        gain = gain_over_folds(unseen, plan, changes=changes, device=device, progress=progress)
        why = f"Mean Dice of {gain.gain.cases} unseen cases {gain.gain.mean or 0:+.4f}, and no class falls."
        plan = plan.with_values(gain.values, reason=why)
    found = measure_folds(folds, chosen, plan, run, device=device, progress=progress)
    write_ensemble(
        run.model,
        _members(names, chosen, folds),
        found.plan,
        scores=found.scores,
        facts=_facts(read, chosen, folds),
    )
    rows = tuple(
        FoldRow(
            runs=tuple(_below(one.parts[at].trained.folder, run.folder) for one in read),
            trained_on=fold.trained_on,
            held_out=len(fold.cases),
            summary=scores.summary,
        )
        for at, (fold, scores) in enumerate(zip(folds, found.folds, strict=True))
    )
    record = CrossValidation(
        source=str(source),
        asked=asked,
        folds=rows,
        candidates=candidates,
        refinement=gain,
        rules_by_fold=found.rules_by_fold,
    )
    done = CrossValidated(run, record, found.scores)
    _describe(done, found.plan, read, inspection, device=device, seconds=time.monotonic() - begun)
    return done


def _plan(one: Configuration, *, count: int) -> Plan:
    """The ensemble's plan: its first member's, before anything was fitted where the folds can fit it.

    With one fold no other tells which objects are believed: what the training cases told stays.
    """
    first = one.parts[0]
    plan = first.own_plan if len(one.parts) > 1 else first.trained.plan
    words = f"{count} networks answer with the mean of their probabilities; this is the plan of the first."
    return plan.model_copy(update={"reasons": {**plan.reasons, "members": words}})


def _facts(read: Sequence[Configuration], chosen: Sequence[int], folds: Sequence[Fold]) -> dict[str, str]:
    """What the card tells beyond plan and scores."""
    trained = {id for one in read for part in one.parts for id in part.split.train}
    return {
        FORMAT: kind_of(folds[0].cases[0].images[0]) or "",
        "training cases": str(len(trained)),
        "split": f"{len(folds)} folds, each case held out once" if len(folds) > 1 else "one fold held out",
        "networks": str(len(chosen) * len(folds)),
        "measured": MEASURED,
    }


def _members(names: Sequence[str], chosen: Sequence[int], folds: Sequence[Fold]) -> list[tuple[str, Path]]:
    return [
        (f"{names[place]}, fold {at}", fold.models[place])
        for place in chosen
        for at, fold in enumerate(folds)
    ]


def _below(path: Path, folder: Path) -> str:
    """The path as seen from the folder where it lies in it, else as it was named."""
    inside = path.resolve()
    return str(inside.relative_to(folder.resolve()) if inside.is_relative_to(folder.resolve()) else path)


def _describe(
    done: CrossValidated,
    plan: Plan,
    read: Sequence[Configuration],
    inspection: Inspection,
    *,
    device: str,
    seconds: float,
) -> None:
    """Everything beside the model: split, fingerprint, pictures, record, manifest, report."""
    import torch

    from unetkit.workflows.manifest import write_manifest
    from unetkit.workflows.measuring import picture_cases
    from unetkit.workflows.report import report

    run, source = done.run, Path(done.record.source)
    trained = {id for one in read for part in one.parts for id in part.split.train}
    ids = sorted(facts.id for facts in inspection.facts)
    split = SplitFile(
        source=str(source),
        train=tuple(id for id in ids if id in trained),
        held_out=tuple(id for id in ids if id not in trained),
        how=f"{counted(len(read), 'configuration')}, {counted(len(done.record.folds), 'fold')}; seen by some "
        "member or by none",
        digests={facts.id: facts.digest for facts in inspection.facts},
        label_digests={facts.id: facts.label_digest for facts in inspection.facts},
    )
    write_text(run.split, split.to_json())
    write_text(run.fingerprint, measure(inspection).to_json())
    by_id = {case.id: case for case in inspection.catalog.cases}
    shutil.rmtree(run.folder / "pictures", ignore_errors=True)
    picture_cases(run, [by_id[case.id] for case in done.scores.cases], plan.data, done.scores)
    write_text(run.cross_validation, done.record.to_json())
    write_manifest(
        run,
        source=source,
        seed=plan.training.seed,
        device=device,
        threads=torch.get_num_threads(),
        layout="each member in its own layout",
        data={facts.id: facts.content_digest for facts in inspection.facts},
        seconds={"putting together": seconds},
    )
    report(run.folder)
