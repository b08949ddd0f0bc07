"""Before the first step: look at the data, split it, plan, and prepare every sample."""

from __future__ import annotations

import dataclasses
import time
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.catalog import Catalog, find_cases
from unetkit.data.inspect import Inspection, inspect, raise_if_refused
from unetkit.data.prepare import Cache
from unetkit.data.split import Split, leaks, split
from unetkit.errors import DataError, UsageError
from unetkit.planning.measure import measure
from unetkit.records.case import Case, Sample
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.workflows.plan import decide
from unetkit.workflows.split_file import SplitFile
from unetkit.workflows.train import Wishes

DEFAULT_FOLDS = 5


@dataclass(frozen=True)
class Seen:
    """A data set that was looked at, split and planned for.

    Args:
        source: As it was named.
        inspection: What was seen.
        split: Training and held-out cases.
        fingerprint: What the training cases are.
        plan: What was decided.
    """

    source: Path
    inspection: Inspection
    split: Split
    fingerprint: Fingerprint
    plan: Plan

    def cases(self, ids: tuple[str, ...]) -> list[Case]:
        """The cases with these ids, in this order."""
        by_id = {case.id: case for case in self.inspection.catalog.cases}
        return [by_id[id] for id in ids]

    @property
    def digests(self) -> dict[str, str]:
        """Case id → hash of its pixels."""
        return {facts.id: facts.digest for facts in self.inspection.facts}


@dataclass(frozen=True)
class Ready:
    """Everything a training needs from the data side.

    Args:
        run: The run's folder.
        source: As the data set was named.
        plan: What was decided.
        train: Training samples.
        held_out: Cases that are only measured.
        cache: Where prepared samples lie.
        digests: Case id → hash of its pixels.
        seconds: Stage → seconds it took.
    """

    run: Run
    source: Path
    plan: Plan
    train: tuple[Sample, ...]
    held_out: tuple[Case, ...]
    cache: Cache
    digests: dict[str, str]
    seconds: dict[str, float]


def look(source: Path, wishes: Wishes, *, progress: Progress) -> Seen:
    """Read the data set, refuse a bad one, split it and plan; nothing is written.

    Args:
        source: The data set.
        wishes: What was asked for.
        progress: Who watches.
    """
    # A key that does not exist must not cost the time it takes to read a data set.
    given = _given(wishes)
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    for problem in inspection.problems:
        progress.say(
            f"{problem.severity}: {problem.problem}" + (f" ({problem.where})" if problem.where else "")
        )
    fold, folds = wishes.fold or (0, DEFAULT_FOLDS)
    if given is not None and wishes.fold is None:
        fold, folds = given.training.fold, given.training.folds
    seed = wishes.seed if wishes.seed is not None else given.training.seed if given else 0
    sides = split(inspection.catalog, inspection.facts, fold=fold, folds=folds, seed=seed)
    inspection = _parts(inspection, sides)
    for text in (*sides.warnings, *_leaks(inspection, sides)):
        progress.say(f"warning: {text}")
    progress.say(f"split: {len(sides.train)} to train on, {len(sides.held_out)} held out: {sides.how}")
    known = set(sides.train)
    seen = dataclasses.replace(inspection, facts=tuple(each for each in inspection.facts if each.id in known))
    fingerprint = measure(seen)
    assert inspection.data is not None  # refused otherwise
    plan = given or decide(
        fingerprint, inspection.data, minutes=wishes.minutes, memory_gb=wishes.memory_gb, device=wishes.device
    )
    if given is not None and given.data.rank != inspection.data.rank:
        raise UsageError(
            f"the plan is for {given.data.rank} axes, the data has {inspection.data.rank}",
            cure="plan anew for this data",
        )
    changes = {"training.fold": str(fold), "training.folds": str(folds), **wishes.every_change()}
    if wishes.minutes and given is not None:
        changes = {"training.minutes": str(wishes.minutes), **changes}
    return Seen(source, inspection, sides, fingerprint, plan.with_values(changes))


def make_ready(source: Path, run: Run, wishes: Wishes, *, progress: Progress) -> Ready:
    """Look at the data, write down what was decided, prepare every sample.

    A resumed run takes its own plan and split; data that has changed since is refused.

    Args:
        source: The data set.
        run: Where plan, split and fingerprint go.
        wishes: What was asked for.
        progress: Who watches.
    """
    started = time.monotonic()
    if wishes.resume and run.plan.is_file() and run.split.is_file():
        plan, inspection, sides = _again(source, run, progress=progress)
    else:
        seen = look(source, wishes, progress=progress)
        plan, inspection, sides = _fitted(seen.plan, wishes, progress), seen.inspection, seen.split
        file = SplitFile(
            source=str(source),
            train=sides.train,
            held_out=sides.held_out,
            how=sides.how,
            digests=seen.digests,
        )
        write_text(run.fingerprint, seen.fingerprint.to_json())
        write_text(run.split, file.to_json())
        write_text(run.plan, plan.to_json())
    looked = time.monotonic()
    cache = Cache(Path(wishes.cache) if wishes.cache else run.folder / "cache", plan.data, plan.preparation)
    by_id = {case.id: case for case in inspection.catalog.cases}
    train = _prepared(cache, [by_id[id] for id in sides.train], progress=progress)
    return Ready(
        run=run,
        source=source,
        plan=plan,
        train=train,
        held_out=tuple(by_id[id] for id in sides.held_out),
        cache=cache,
        digests={facts.id: facts.digest for facts in inspection.facts},
        seconds={"checks and planning": looked - started, "preparation": time.monotonic() - looked},
    )


def _fitted(plan: Plan, wishes: Wishes, progress: Progress) -> Plan:
    """The plan after one real step: shrunk where memory does not hold it."""
    from unetkit.planning.memory import fit_to_memory

    fitted = fit_to_memory(plan, plan.training.memory_gb, wishes.device)
    for key, value in fitted.flat().items():
        if plan.flat()[key] != value:
            progress.say(f"{key} is now {value}: {fitted.reasons.get(key, 'memory')}")
    return fitted


def step_gigabytes(plan: Plan) -> float:
    """Memory of one training step, GB, counted without making it."""
    from unetkit.planning.memory import step_bytes

    return step_bytes(plan) / 1e9


def _given(wishes: Wishes) -> Plan | None:
    """The plan that was handed in, with the changes tried on it, so that a wrong key shows at once."""
    if wishes.plan is None:
        from unetkit.records.plan import EXAMPLE

        known = Plan.model_validate(EXAMPLE).flat()
        tree = Plan.model_validate(EXAMPLE)
        for key in wishes.every_change():
            if key not in known:
                tree.with_values({key: "null"})  # words the error with the nearest right key
        return None
    if isinstance(wishes.plan, Plan):
        return wishes.plan
    path = Path(wishes.plan)
    if not path.is_file():
        raise UsageError(
            "this plan does not exist", cure="write one with 'unet plan DATA -o plan.json'", where=path
        )
    return Plan.from_json(path.read_bytes(), where=path)


def _parts(inspection: Inspection, sides: Split) -> Inspection:
    """The same data with one large image as the parts it was cut into; classes are those of the whole."""
    if not sides.parts:
        return inspection
    catalog: Catalog = dataclasses.replace(inspection.catalog, cases=sides.parts)
    return dataclasses.replace(inspect(catalog), data=inspection.data, problems=inspection.problems)


def _leaks(inspection: Inspection, sides: Split) -> tuple[str, ...]:
    """A last look at the split itself, whoever made it; what a stated split leaks it says itself."""
    pairs = () if sides.parts or sides.warnings else leaks(inspection.facts, sides.train, sides.held_out)
    return tuple(f"'{one}' (training) and '{other}' (held out) belong together" for one, other in pairs[:3])


def _again(source: Path, run: Run, *, progress: Progress) -> tuple[Plan, Inspection, Split]:
    """What an interrupted run had decided; the data must be what it was."""
    plan = Plan.from_json(run.plan.read_bytes(), where=run.plan)
    file = SplitFile.from_json(run.split.read_bytes(), where=run.split)
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    training = plan.training
    if len(inspection.facts) == 1:
        sides = split(
            inspection.catalog, inspection.facts, fold=training.fold, folds=training.folds, seed=training.seed
        )
        inspection = _parts(inspection, sides)
    now = {facts.id: facts.digest for facts in inspection.facts}
    odd = sorted(id for id in now.keys() | file.digests.keys() if now.get(id) != file.digests.get(id))
    if odd:
        raise DataError(
            f"the data is not what this run was started with ({len(odd)} cases differ, such as '{odd[0]}')",
            cure="put the data back, or train anew in another folder",
            where=source,
        )
    progress.say(f"resuming with the run's own plan ({run.plan})")
    return plan, inspection, Split(file.train, file.held_out, file.how)


def _prepared(cache: Cache, cases: list[Case], *, progress: Progress) -> tuple[Sample, ...]:
    progress.begin("Preparing samples", len(cases))
    samples = []
    try:
        for case in cases:
            samples.append(cache.get(case))
            progress.advance(1, case=case.id)
    finally:
        progress.end()
    return tuple(samples)
