"""The verb that makes a model smaller: compress."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unetkit.cli import options
from unetkit.cli.console import give_json, give_line, give_table, program, tell, watcher
from unetkit.cli.options import Data, Device, Set, Telling, grouped

if TYPE_CHECKING:
    from unetkit.workflows.compress import CompressPreview, CompressSettings
    from unetkit.workflows.compressed import Compressed

ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or a run that holds one.")]
Out = Annotated[
    Path, typer.Option("--out", "-o", help="Folder of the smaller model's run; must not exist yet.")
]
Prune = Annotated[
    float | None,
    typer.Option(
        "--prune",
        help="Share of the channels of every stage that goes; 0.5 where nothing else is asked for.",
        show_default=False,
    ),
]
Distill = Annotated[
    str | None,
    typer.Option(
        "--distill",
        metavar="STUDENT",
        help="Teach this network what the model knows, before anything is cut: a name as --network takes it, "
        "or a plan.json.",
    ),
]
Teacher = Annotated[
    list[str] | None,
    typer.Option(
        "--teacher", metavar="MODEL", help="One more model to learn from, or an ensemble; repeatable."
    ),
]
MaxLoss = Annotated[
    float,
    typer.Option(
        "--max-loss",
        help="Points of Dice (hundredths) that each class may lose on the held-out cases; exit 4 and nothing "
        "published where one loses more.",
    ),
]
Target = Annotated[
    str | None,
    typer.Option(
        "--target",
        metavar="TARGET",
        help="Cut the stages that lose least for what they save, until this is met: 'onnx cpu <20ms' (one "
        "tile), 'size<4MB' (the weights).",
    ),
]
Int8 = Annotated[
    str | None,
    typer.Option(
        "--int8",
        metavar="WAY",
        help="Count in eight bits at last: ptq (calibrated on training cases) or qat (then trained).",
    ),
]
AllInteger = Annotated[
    bool, typer.Option("--all-integer", help="With --int8: refuse what would stay in floating point.")
]
Importance = Annotated[
    str,
    typer.Option(
        "--importance", metavar="NAME", help="Which channels go first: l1, geometric_median or taylor."
    ),
]
Rounds = Annotated[
    int, typer.Option("--rounds", min=1, help="Cut in so many rounds, each followed by training.")
]
Minutes = Annotated[
    float,
    typer.Option(
        "--minutes",
        min=0.0,
        help="Time for all trainings together, in equal parts; 0: as long as the plan says.",
    ),
]


@grouped
def compress(
    model: ModelFolder,
    data: Data,
    out: Out,
    *,
    prune: Prune = None,
    distill: Distill = None,
    teacher: Teacher = None,
    target: Target = None,
    int8: Int8 = None,
    all_integer: AllInteger = False,
    max_loss: MaxLoss = 0.5,
    minutes: Minutes = 0.0,
    importance: Importance = "l1",
    rounds: Rounds = 1,
    set_: Set = None,
    device: Device = "auto",
    telling: Telling,
) -> None:
    """Make a smaller model of a model, and publish it only if it is still good."""
    from unetkit.workflows.compress import compress as work
    from unetkit.workflows.compress import preview

    settings: CompressSettings = {
        "distill": distill,
        "teachers": teacher or (),
        "target": target,
        "int8": int8,
        "all_integer": all_integer,
        "minutes": minutes,
        "importance": importance,
        "rounds": rounds,
        "changes": options.changes(set_),
        "device": device,
    }
    if telling.dry_run:
        seen = preview(model, out, prune=prune, max_loss=max_loss, **settings)
        give_json(seen.model_dump(mode="json")) if telling.as_json else _show_preview(seen)
        return
    watch = watcher(quiet=telling.quiet)
    found = work(model, data, out, prune=prune, max_loss=max_loss, progress=watch, **settings)
    if telling.as_json:
        give_json(found.model_dump(mode="json"))
        return
    _show(found)
    from unetkit.workflows.model_folder import engine_folder

    place = engine_folder(Path(found.folder)) or found.folder
    tell(f"next: {program()} predict {place} IMAGES --out predictions", quiet=telling.quiet)


def _show(found: Compressed) -> None:
    from unetkit.workflows.compressed import (
        CHANGE_HEAD,
        NOTE,
        SIZE_HEAD,
        STEP_HEAD,
        change_rows,
        size_rows,
        step_rows,
        title,
    )

    give_table(title(found), SIZE_HEAD, size_rows(found.before, found.after))
    if len(found.steps) > 2:
        give_table("On the way", STEP_HEAD, step_rows(found))
    give_table("Scores on the same cases", CHANGE_HEAD, change_rows(found))
    give_line(NOTE)
    give_line(f"model: {found.folder}")


def _show_preview(seen: CompressPreview) -> None:
    from unetkit.workflows.compressed import SIZE_HEAD, size_rows

    give_table("What is left", SIZE_HEAD, size_rows(seen.before, seen.after))
    give_line(f"would train it and, if the gate is passed, write {seen.out}")
