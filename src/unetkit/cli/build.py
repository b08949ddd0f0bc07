"""Verbs that make something: plan, train, ensemble, demo."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unetkit.cli import options
from unetkit.cli.console import (
    give_json,
    give_line,
    give_preview,
    give_table,
    program,
    tell,
    watcher,
)
from unetkit.cli.options import Data, Device, DryRun, Json, Planning, Quiet, Seed, Set, Telling, grouped
from unetkit.errors import UsageError
from unetkit.records.figures import counted, score

if TYPE_CHECKING:
    from unetkit.workflows.ensemble import CrossValidated
    from unetkit.workflows.train import TrainPreview, TrainSettings

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/<name>-<n> when not given.")
]
PlanOut = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the plan to this file.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="Train with this plan instead of making one.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in the folder; only --minutes and --set training.… may change."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")]
Init = Annotated[
    Path | None,
    typer.Option(
        "--init", metavar="MODEL", help="Start from this model's weights; channels and classes may differ."
    ),
]
Compare = Annotated[
    str | None,
    typer.Option(
        "--compare",
        metavar="A,B,…",
        help="Train these networks alike, one run each below --out, and write one table; 'planned' is the "
        "planner's own. The same command goes on where it was stopped.",
    ),
]
Seeds = Annotated[int, typer.Option("--seeds", min=1, help="With --compare: train with so many seeds.")]
Runs = Annotated[
    list[Path],
    typer.Argument(metavar="RUN…", help="Runs over the same folds, or the folds of one training."),
]
Where = Annotated[
    Path | None, typer.Option("--data", help="The data set, where it is no longer where the runs found it.")
]
Try = Annotated[
    list[str] | None,
    typer.Option(
        "--try",
        metavar="KEY=VALUE",
        help="Try a refinement of the predictions, such as inference.crf_steps=5 or "
        "inference.guided_radius=4; kept only if it helps.",
    ),
]
EnsembleOut = Annotated[Path, typer.Option("--out", "-o", help="The new folder; it is a MODEL.")]
EnsembleOverwrite = Annotated[
    bool, typer.Option("--overwrite", help="Replace what was put together in the folder.")
]
Previous = Annotated[
    Path | None,
    typer.Option(
        "--previous",
        metavar="RUN",
        help="Train the second stage of a cascade; RUN is the first one, trained with --fold all/n and "
        "--set data.cascade=low.",
    ),
]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Keep prepared samples here, for other runs too.")
]


@grouped
def plan(data: Data, out: PlanOut = None, *, planning: Planning, telling: Telling) -> None:
    """Measure the training cases of a data set and decide everything, each choice with its reason."""
    from unetkit.workflows.plan import plan as work

    quiet = telling.quiet
    to = None if telling.dry_run else out
    result = work(data, out=to, progress=watcher(quiet=quiet), **planning.settings())
    if telling.as_json:
        give_json(result.plan.model_dump(mode="json"))
    else:
        _show_plan(result.plan.flat(), result.plan.reasons)
    if telling.dry_run and out is not None:
        tell(f"would write {out}", quiet=quiet)
    elif result.path is not None:
        tell(f"wrote {result.path}; train with it: unet train {data} --plan {result.path}", quiet=quiet)


def _show_plan(values: dict[str, Any], reasons: dict[str, str]) -> None:
    rows = [(key, _short(value), reasons.get(key, "")) for key, value in values.items() if key in reasons]
    rows += [(key, "", reason) for key, reason in reasons.items() if key not in values]
    give_table("Plan", ("choice", "value", "reason"), rows)
    rest = [(key, _short(value)) for key, value in values.items() if key not in reasons]
    give_table("At their defaults", ("choice", "value"), rest)


def _short(value: Any) -> str:  # noqa: ANN401 - a value of the plan
    return json.dumps(value, default=lambda record: record.model_dump(mode="json"))


@grouped
def train(
    data: Data,
    out: Out = None,
    *,
    planning: Planning,
    plan: PlanFile = None,
    init: Init = None,
    previous: Previous = None,
    compare: Compare = None,
    seeds: Seeds = 1,
    resume: Resume = False,
    overwrite: Overwrite = False,
    cache: Cache = None,
    telling: Telling,
) -> None:
    """Check, split, plan, prepare, train, measure and report: the whole road."""
    folds = options.every_fold(planning.fold)
    planning = planning if folds is None else replace(planning, fold=None)
    settings: TrainSettings = {
        **planning.settings(),
        "plan": plan,
        "init": init,
        "previous": previous,
        "resume": resume,
        "overwrite": overwrite,
        "cache": cache,
    }
    if folds is not None and compare is not None:
        raise UsageError(
            "--compare and --fold all/n contradict one another",
            cure="train each network with --fold all/n into a folder of its own, then: unet ensemble A B …",
        )
    if compare is not None:
        _compare(data, out, options.listed(compare), seeds, settings, telling)
    elif seeds != 1:
        raise UsageError(
            f"--seeds {seeds} is for a comparison", cure="say --seed, or --compare with the networks"
        )
    elif folds is not None:
        _every_fold(data, out, folds, settings, telling)
    elif telling.dry_run:
        _preview(data, out, settings, telling)
    else:
        _train(data, out, settings, telling)


def _train(data: Path, out: Path | None, settings: TrainSettings, telling: Telling) -> None:
    from unetkit.workflows.train import train as work

    facts = work(data, out, progress=watcher(quiet=telling.quiet), **settings).facts()
    if telling.as_json:
        give_json(facts)
        return
    _show_dice(facts)
    give_line(f"report: {facts['report']}")
    give_line(f"model:  {facts['model']}")
    tell(f"next: {program()} predict {facts['model']} IMAGES --out predictions", quiet=telling.quiet)


def _preview(data: Path, out: Path | None, settings: TrainSettings, telling: Telling) -> None:
    from unetkit.workflows.train import preview

    seen = preview(data, out, progress=watcher(quiet=telling.quiet), **settings)
    if telling.as_json:
        give_json(seen.model_dump(mode="json"))
        return
    _show_preview(seen)


def _every_fold(data: Path, out: Path | None, folds: int, settings: TrainSettings, telling: Telling) -> None:
    from unetkit.workflows.cross_validate import cross_validate, planned_folds

    watch = watcher(quiet=telling.quiet)
    if telling.dry_run:
        steps = []
        for each in planned_folds(data, out, folds=folds, progress=watch, **settings):
            sides = f"{each.trained_on} cases, hold out {each.held_out}"
            steps.append(f"train fold {each.number} on {sides}, into {each.folder}")
        give_preview(steps, as_json=telling.as_json)
        return
    _show_joined(cross_validate(data, out, folds=folds, progress=watch, **settings), telling)


def _show_joined(done: CrossValidated, telling: Telling) -> None:
    if telling.as_json:
        give_json(done.facts())
        return
    from unetkit.workflows import cross_validation as tables

    found = done.record
    give_table("Every case, unseen", tables.fold_head(done.scores), tables.fold_rows(found, done.scores))
    give_line(tables.NOTE)
    if found.candidates:
        give_table("Which answer together", tables.OPTIONS_HEAD, tables.option_rows(found))
        give_line(tables.OPTIONS_NOTE)
    if found.refinement is not None:
        give_line(tables.refinement_sentence(found.refinement))
    give_line(f"report: {done.report}")
    give_line(f"model:  {done.run.model}")
    tell(f"next: {program()} predict {done.run.model} IMAGES --out predictions", quiet=telling.quiet)


@grouped
def ensemble(
    runs: Runs,
    out: EnsembleOut,
    *,
    data: Where = None,
    try_: Try = None,
    overwrite: EnsembleOverwrite = False,
    device: Device = "auto",
    telling: Telling,
) -> None:
    """Put finished runs together: choose on cases they had not seen, fit, measure; one model for all."""
    from unetkit.workflows.configurations import read_configurations
    from unetkit.workflows.ensemble import ensemble as work

    if telling.dry_run:
        steps = [
            f"compare {one.name}: {counted(len(one.parts), 'fold')}" for one in read_configurations(runs)
        ]
        give_preview([*steps, f"write {out}"], as_json=telling.as_json)
        return
    done = work(
        runs,
        out,
        data=data,
        changes=options.changes(try_, option="--try"),
        overwrite=overwrite,
        device=device,
        progress=watcher(quiet=telling.quiet),
    )
    _show_joined(done, telling)


def _compare(
    data: Path,
    out: Path | None,
    names: list[str],
    seeds: int,
    settings: TrainSettings,
    telling: Telling,
) -> None:
    from unetkit.workflows.compare import compare, planned_runs

    if telling.dry_run:
        entries = planned_runs(data, names, out, seeds=seeds, **settings)
        steps = (f"train {name}, seed {seed}, into {folder}" for name, seed, folder in entries)
        give_preview(steps, as_json=telling.as_json)
        return
    found = compare(data, names, out, seeds=seeds, progress=watcher(quiet=telling.quiet), **settings)
    if telling.as_json:
        give_json(found.model_dump(mode="json"))
        return
    from unetkit.workflows.comparison import head, note, rows, title

    give_table(title(found), head(found), rows(found))
    give_line(note(found))
    tell(f"wrote {found.folder}/compare.json, .md and .html", quiet=telling.quiet)


def _show_preview(seen: TrainPreview) -> None:
    _show_plan(seen.plan.flat(), seen.plan.reasons)
    if seen.finished:
        give_line(f"{seen.out} is finished already ({seen.steps_done} steps); nothing is left to do")
        return
    if seen.resumed:
        total = "" if seen.steps_left is None else f" of {seen.steps_done + seen.steps_left}"
        left = f"{seen.minutes_left:g} minutes" if seen.steps_left is None else f"{seen.steps_left} steps"
        give_line(f"would go on with {seen.out} after step {seen.steps_done}{total}: {left} left")
    give_line(f"would train on {seen.train} cases, hold out {seen.held_out} ({seen.split})")
    give_line(f"would need about {seen.memory_gb:g} GB of memory")
    give_line(f"would write into {seen.out}: {', '.join(seen.files)}")


def _show_dice(facts: dict[str, Any]) -> None:
    rows = [(name, score(value)) for name, value in facts["dice"].items()]
    if rows:
        cases = counted(facts["cases"], "held-out case") if "cases" in facts else "held-out cases"
        give_table(f"Dice on {cases}", ("class", "mean"), rows)


def demo(
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for everything.")] = Path("demo"),
    minutes: Annotated[
        float | None, typer.Option("--minutes", min=0.0, help="Time for the training; 3 when not given.")
    ] = None,
    set_: Set = None,
    device: Device = "auto",
    seed: Seed = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Make a small wafer-inspection data set, train on it for a few minutes, measure, predict, report."""
    if dry_run:
        time = f"{3.0 if minutes is None else minutes:g} minutes"
        step = f"write wafers/, unseen/, run/ and predictions/ into {out} and train {time}"
        give_preview([step], as_json=as_json)
        return
    from unetkit.workflows.demo import demo as work

    settings: TrainSettings = {
        "changes": options.changes(set_),
        "device": device,
        "seed": seed,
        "resume": resume,
        "overwrite": overwrite,
    }
    if minutes is not None:
        settings["minutes"] = minutes
    result = work(out, progress=watcher(quiet=quiet), **settings)
    if as_json:
        give_json(result.model_dump(mode="json"))
        return
    _show_dice({"dice": result.dice})
    give_line(f"report:  {result.report}")
    give_line(f"model:   {result.model}")
    give_line(f"picture: {result.overlay} (an image the model had never seen)")
    give_line("three commands to try next:")
    for command in result.next:
        give_line(f"  {program()} {command.removeprefix('unet ')}")
