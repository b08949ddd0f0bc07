"""Verbs that make something: plan, train, demo."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from unetkit.cli import options
from unetkit.cli.console import counted, give_json, give_line, give_table, program, tell, watcher
from unetkit.cli.options import Data, Device, DryRun, Json, Memory, Minutes, Quiet, Set

if TYPE_CHECKING:
    from unetkit.workflows.train import TrainPreview

Out = Annotated[
    Path | None, typer.Option("--out", "-o", help="Folder of the run; runs/<name>-<n> when not given.")
]
PlanOut = Annotated[Path | None, typer.Option("--out", "-o", help="Also write the plan to this file.")]
PlanFile = Annotated[Path | None, typer.Option("--plan", help="Train with this plan instead of making one.")]
Fold = Annotated[
    str | None, typer.Option("--fold", metavar="K/N", help="Hold out part K (from 0) of N; 0/5 by default.")
]
Seed = Annotated[int | None, typer.Option("--seed", min=0, help="Of every random number; 0 by default.")]
Resume = Annotated[
    bool,
    typer.Option(
        "--resume", help="Go on with the run in the folder; only --minutes and --set training.… may change."
    ),
]
Overwrite = Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")]
Cache = Annotated[
    Path | None, typer.Option("--cache", help="Keep prepared samples here, for other runs too.")
]


def plan(
    data: Data,
    out: PlanOut = None,
    minutes: Minutes = 0.0,
    memory: Memory = 0.0,
    set_: Set = None,
    fold: Fold = None,
    device: Device = "auto",
    seed: Seed = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure the training cases of a data set and decide everything, each choice with its reason."""
    from unetkit.workflows.plan import plan as work

    result = work(
        data,
        minutes=minutes,
        memory_gb=memory,
        changes=options.changes(set_),
        fold=options.fold(fold),
        device=device,
        seed=seed,
        out=None if dry_run else out,
        progress=watcher(quiet=quiet),
    )
    if as_json:
        give_json(result.plan.model_dump(mode="json"))
    else:
        _show_plan(result.plan.flat(), result.plan.reasons)
    if dry_run and out is not None:
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


def train(
    data: Data,
    out: Out = None,
    minutes: Minutes = 0.0,
    memory: Memory = 0.0,
    plan: PlanFile = None,
    set_: Set = None,
    fold: Fold = None,
    device: Device = "auto",
    seed: Seed = None,
    resume: Resume = False,
    overwrite: Overwrite = False,
    cache: Cache = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Check, split, plan, prepare, train, measure and report: the whole road."""
    from unetkit.workflows.train import TrainSettings, preview
    from unetkit.workflows.train import train as work

    settings: TrainSettings = {
        "minutes": minutes,
        "memory_gb": memory,
        "plan": plan,
        "changes": options.changes(set_),
        "fold": options.fold(fold),
        "device": device,
        "seed": seed,
        "resume": resume,
        "overwrite": overwrite,
        "cache": cache,
    }
    if dry_run:
        seen = preview(data, out, progress=watcher(quiet=quiet), **settings)
        if as_json:
            give_json(seen.model_dump(mode="json"))
            return
        _show_preview(seen)
        return
    run = work(data, out, progress=watcher(quiet=quiet), **settings)
    facts = run.facts()
    if as_json:
        give_json(facts)
        return
    _show_dice(facts)
    give_line(f"report: {facts['report']}")
    give_line(f"model:  {facts['model']}")
    tell(f"next: {program()} predict {facts['model']} IMAGES --out predictions", quiet=quiet)


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
    rows = [(name, "–" if value is None else f"{value:.4f}") for name, value in facts["dice"].items()]
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
        give_line(
            f"would write wafers/, unseen/, run/ and predictions/ into {out} and train "
            f"{3.0 if minutes is None else minutes:g} minutes"
        )
        return
    from unetkit.workflows.demo import demo as work
    from unetkit.workflows.train import TrainSettings

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
