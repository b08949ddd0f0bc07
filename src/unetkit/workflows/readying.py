"""Before the first step: look at the data, split it, plan, and prepare every sample."""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.catalog import Catalog, find_cases
from unetkit.data.inspect import Inspection, inspect, raise_if_refused
from unetkit.data.naming import named_as
from unetkit.data.prepare import Cache
from unetkit.data.split import Split, leaks, split
from unetkit.errors import DataError, UsageError
from unetkit.planning.measure import measure
from unetkit.records.case import Case, Sample
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import Plan, TrainingPlan
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.records.split import SplitFile
from unetkit.workflows.asked import (
    FITTED,
    asked_data,
    asked_spacing,
    changed_given,
    given_plan,
    resumed_plan,
    wanted_network,
    wanted_split,
)
from unetkit.workflows.cascading import asked_previous, with_answers
from unetkit.workflows.plan import decide
from unetkit.workflows.run_folder import replaced
from unetkit.workflows.starting import asked_start
from unetkit.workflows.teaching import asked_teachers, note_teachers
from unetkit.workflows.train import Wishes


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
class Again:
    """A run that was looked at to go on with it.

    Args:
        own: The plan the run was started with.
        plan: The same with what is asked for now.
        inspection: What was seen of the data, which is what it was.
        split: The run's own.
    """

    own: Plan
    plan: Plan
    inspection: Inspection
    split: Split


@dataclass(frozen=True)
class Ready:
    """Everything a training needs from the data side.

    Args:
        run: The run's folder.
        source: As the data set was named.
        plan: What was decided.
        train: Training samples.
        trained_on: The cases they come from.
        held_out: Cases that are only measured.
        cache: Where prepared samples lie.
        digests: Case id → hash of its pixels and label.
        seconds: Stage → seconds it took.
    """

    run: Run
    source: Path
    plan: Plan
    train: tuple[Sample, ...]
    trained_on: tuple[Case, ...]
    held_out: tuple[Case, ...]
    cache: Cache
    digests: dict[str, str]
    seconds: dict[str, float]


Accept = Callable[[Inspection, Plan | None], Plan | None]
"""Looks at a data set that could be read, and raises where it will not do; the plan to go on with instead of
the one that was handed in, which may be that one."""


def look(source: Path, wishes: Wishes, *, progress: Progress, accept: Accept | None = None) -> Seen:
    """Read the data set, refuse a bad one, split it and plan; nothing is written.

    Args:
        source: The data set.
        wishes: What was asked for.
        progress: Who watches.
        accept: Refuses more than what no training could use, and may hand in another plan.
    """
    # A key that does not exist must not cost the time it takes to read a data set.
    given = given_plan(wishes)
    wanted, network = wanted_split(wishes, given), wanted_network(wishes)
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    if given is not None:
        inspection = named_as(inspection, given.data)
    if accept is not None:
        given = accept(inspection, given)
    for problem in inspection.problems:
        progress.say(
            f"{problem.severity}: {problem.problem}" + (f" ({problem.where})" if problem.where else "")
        )
    sides = split(
        inspection.catalog, inspection.facts, fold=wanted.fold, folds=wanted.folds, seed=wanted.seed
    )
    inspection = _parts(inspection, sides, progress)
    for text in (
        *sides.warnings,
        *_leaks(inspection, sides),
        *_other_fold(given, wanted, sides, inspection.catalog),
    ):
        progress.say(f"warning: {text}")
    progress.say(f"split: {len(sides.train)} to train on, {len(sides.held_out)} held out: {sides.how}")
    known = set(sides.train)
    seen = dataclasses.replace(inspection, facts=tuple(each for each in inspection.facts if each.id in known))
    fingerprint = measure(seen)
    assert inspection.data is not None  # refused otherwise
    if given is None:
        data = asked_data(inspection.data, wishes)
        if network and network.rank not in (0, data.input_rank):
            progress.say(f"warning: {network.name} is for {network.rank} axes; a network is planned anew")
            network = None
        made = decide(
            fingerprint,
            data,
            minutes=wishes.minutes,
            memory_gb=wishes.memory_gb,
            device=wishes.device,
            wanted=network,
            spacing_mm=asked_spacing(inspection.data, wishes),
        )
        return Seen(source, inspection, sides, fingerprint, made.with_values(wishes.every_change()))
    if given.data.rank != inspection.data.rank:
        raise UsageError(
            f"the plan is for {given.data.rank} axes, the data has {inspection.data.rank}",
            cure="plan anew for this data",
        )
    return Seen(source, inspection, sides, fingerprint, changed_given(given, wishes))


def _other_fold(given: Plan | None, wanted: TrainingPlan, sides: Split, catalog: Catalog) -> tuple[str, ...]:
    """What is wrong with a plan that was made on cases which are held out now."""
    if given is None or any(case.split for case in catalog.cases):
        return ()
    made, now = (
        (one.fold, one.folds, 0 if sides.parts else one.seed)  # cutting one image takes no seed
        for one in (given.training, wanted)
    )
    if made == now:
        return ()
    words = f"--fold {wanted.fold}/{wanted.folds} --seed {wanted.seed}"
    return (
        f"the plan was made for fold {made[0]}/{made[1]} and seed {made[2]}, this run holds out fold "
        f"{now[0]}/{now[1]} of seed {now[2]}: intensities, spacing and losses of the plan were measured on "
        f"cases that are held out now; for honest scores plan anew with 'unet plan DATA {words}'",
    )


def make_ready(
    source: Path, run: Run, wishes: Wishes, *, progress: Progress, accept: Accept | None = None
) -> Ready:
    """Look at the data, write down what was decided, prepare every sample.

    A resumed run takes its own plan and split; data that has changed since is refused.

    Args:
        source: The data set.
        run: Where plan, split and fingerprint go.
        wishes: What was asked for.
        progress: Who watches.
        accept: As in ``look``.
    """
    started = time.monotonic()
    if wishes.resume and is_started(run):
        plan, inspection, sides = _again(source, run, wishes, progress=progress)
    else:
        start, teachers = asked_start(wishes.init), asked_teachers(wishes.teachers)
        seen = look(source, wishes, progress=progress, accept=accept)
        previous = asked_previous(wishes, seen.plan, seen.split, seen.digests)
        plan, inspection, sides = fitted(seen.plan, wishes, progress=progress), seen.inspection, seen.split
        file = SplitFile(
            source=str(source),
            train=sides.train,
            held_out=sides.held_out,
            how=sides.how,
            digests=seen.digests,
            label_digests={facts.id: facts.label_digest for facts in inspection.facts},
        )
        with replaced(run) if wishes.overwrite else nullcontext():
            if start is not None:  # before the plan: a run that is killed now still knows its start
                write_text(run.start, start.to_json())
            if teachers:
                count = note_teachers(run, teachers, inspection.catalog, held_out=sides.held_out)
                progress.say(f"teachers: {len(teachers)}, and {count} images without a label")
            if previous is not None:
                write_text(run.previous, previous.to_json())
            write_text(run.fingerprint, seen.fingerprint.to_json())
            write_text(run.split, file.to_json())
            write_text(run.plan, plan.to_json())
    looked = time.monotonic()
    cache = Cache(Path(wishes.cache) if wishes.cache else run.folder / "cache", plan.data, plan.preparation)
    by_id = {case.id: case for case in with_answers(inspection.catalog.cases, run)}
    trained_on = tuple(by_id[id] for id in sides.train)
    train = _prepared(cache, trained_on, progress=progress)
    return Ready(
        run=run,
        source=source,
        plan=plan,
        train=train,
        trained_on=trained_on,
        held_out=tuple(by_id[id] for id in sides.held_out),
        cache=cache,
        digests={facts.id: facts.content_digest for facts in inspection.facts},
        seconds={"checks and planning": looked - started, "preparation": time.monotonic() - looked},
    )


def fitted(plan: Plan, wishes: Wishes, *, progress: Progress, step: bool = True) -> Plan:
    """The plan, shrunk where memory does not hold it.

    Args:
        plan: The plan.
        wishes: Device.
        progress: Told what had to be smaller.
        step: Whether one real step decides; else what is counted, in no time.
    """
    from unetkit.planning.memory import fit_to_memory

    smaller = fit_to_memory(plan, plan.training.memory_gb, wishes.device, step=step)
    for key, value in smaller.flat().items():
        if plan.flat()[key] != value:
            progress.say(f"{key} is now {value}: {smaller.reasons.get(key, 'memory')}")
    return smaller


def step_gigabytes(plan: Plan) -> float:
    """Memory of one training step, GB, counted without making it."""
    from unetkit.planning.memory import step_bytes

    return step_bytes(plan) / 1e9


def _parts(inspection: Inspection, sides: Split, progress: Progress) -> Inspection:
    """The same data with one large image as the parts it was cut into; classes are those of the whole."""
    if not sides.parts:
        return inspection
    catalog: Catalog = dataclasses.replace(inspection.catalog, cases=sides.parts)
    seen = inspect(catalog, progress=progress)
    return dataclasses.replace(seen, data=inspection.data, problems=inspection.problems)


def _leaks(inspection: Inspection, sides: Split) -> tuple[str, ...]:
    """A last look at the split itself, whoever made it; what a stated split leaks it says itself."""
    pairs = () if sides.parts or sides.warnings else leaks(inspection.facts, sides.train, sides.held_out)
    return tuple(f"'{one}' (training) and '{other}' (held out) belong together" for one, other in pairs[:3])


def is_started(run: Run) -> bool:
    """Whether a run has come as far as its plan and its split."""
    return run.plan.is_file() and run.split.is_file()


def look_again(source: Path, run: Run, wishes: Wishes, *, progress: Progress) -> Again:
    """Read what an interrupted run had decided, with what is asked for now; nothing is written.

    Args:
        source: The data set; it must be what it was.
        run: It ``is_started``.
        wishes: What was asked for.
        progress: Who watches.

    Raises:
        DataError: The data has changed.
        UsageError: Something was asked for that would make it another run.
    """
    own = Plan.from_json(run.plan.read_bytes(), where=run.plan)
    file = SplitFile.from_json(run.split.read_bytes(), where=run.split)
    plan = resumed_plan(own, wishes, where=run.folder)
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    training = plan.training
    if len(inspection.facts) == 1:
        sides = split(
            inspection.catalog, inspection.facts, fold=training.fold, folds=training.folds, seed=training.seed
        )
        inspection = _parts(inspection, sides, progress)
    refuse_other_data(source, inspection, file)
    progress.say(f"resuming with the run's own plan ({run.plan})")
    if plan != own:
        before, after = own.flat(), plan.flat()
        for key in (key for key in after if after[key] != before[key]):
            progress.say(f"{key} is now {after[key]}, it was {before[key]}")
    return Again(own, plan, inspection, Split(file.train, file.held_out, file.how))


def _again(source: Path, run: Run, wishes: Wishes, *, progress: Progress) -> tuple[Plan, Inspection, Split]:
    """What an interrupted run goes on with, its plan written down where it is another now."""
    seen = look_again(source, run, wishes, progress=progress)
    plan = seen.plan
    if plan != seen.own:
        before, after = seen.own.flat(), plan.flat()
        if any(after[key] != before[key] for key in FITTED):
            plan = fitted(plan, wishes, progress=progress)
        write_text(run.plan, plan.to_json())
    return plan, seen.inspection, seen.split


def refuse_other_data(source: Path, inspection: Inspection, file: SplitFile) -> None:
    """Refuse pixels, masks or cases that are not those a run was started with.

    Args:
        source: The data set, for the error.
        inspection: What was seen of it now.
        file: The run's own split.

    Raises:
        DataError: Something has changed.
    """
    pixels = {facts.id: facts.digest for facts in inspection.facts}
    labels = {facts.id: facts.label_digest for facts in inspection.facts}
    odd = [id for id in pixels.keys() | file.digests.keys() if pixels.get(id) != file.digests.get(id)]
    masks = [id for id, digest in file.label_digests.items() if labels.get(id) != digest and id not in odd]
    if odd or masks:
        example = f"'{min(odd)}'" if odd else f"'{min(masks)}', whose mask was edited"
        raise DataError(
            f"the data is not what this run was started with ({len(odd) + len(masks)} cases differ, such as "
            f"{example})",
            cure="put the data back, or train anew in another folder",
            where=source,
        )


def _prepared(cache: Cache, cases: Sequence[Case], *, progress: Progress) -> tuple[Sample, ...]:
    progress.begin("Preparing samples", len(cases))
    samples = []
    try:
        for case in cases:
            samples.append(cache.get(case))
            progress.advance(1, case=case.id)
    finally:
        progress.end()
    return tuple(samples)
