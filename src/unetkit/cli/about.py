"""Verbs about unetkit itself: info, models, doctor."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unetkit.cli.console import give_json, give_line, give_table, tell, watcher
from unetkit.cli.options import Json, Quiet, sizes
from unetkit.records.figures import NONE, counted, score


def info(
    model: Annotated[Path | None, typer.Argument(metavar="[MODEL]", help="A model folder or a run.")] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List every name a plan may use, or say what a model is. Torch is not loaded."""
    from unetkit.workflows.info import InfoResult
    from unetkit.workflows.info import info as work

    found = work(model)
    if as_json:
        give_json(found.model_dump(mode="json"))
        return
    if isinstance(found, InfoResult):
        rows = [(family, ", ".join(names)) for family, names in found.families.items()]
        give_table(
            "Names a plan may use", ("family", "names"), [*rows, ("file suffix", ", ".join(found.suffixes))]
        )
        tell("about a model: unet info MODEL", quiet=quiet)
        return
    data, network = found.plan.data, found.plan.network
    rows = [
        ("folder", found.folder),
        ("axes", data.rank),
        ("seen by the network", data.sight),
        ("channels", ", ".join(data.channels)),
        (
            "classes",
            ", ".join(f"{value} {name}" for value, name in zip(data.label_values, data.classes, strict=True)),
        ),
        ("network", f"{network.encoder} encoder, {network.decoder} decoder, widths {list(network.widths)}"),
        ("parameters", f"{found.parameters:,} ({found.weights_mb:.1f} MB)"),
        ("patch", " × ".join(map(str, found.plan.training.patch_size))),
        *((name, text) for name, text in found.facts.items()),
        *((f"Dice {name}", score(dice)) for name, dice in found.scores.items()),
        ("measured on", found.measured_on or "nothing yet"),
        ("made with", ", ".join(f"{name} {number}" for name, number in found.packages.items())),
    ]
    give_table("Model", ("what", "is"), rows)


def models(
    patch: Annotated[
        str | None,
        typer.Option("--patch", metavar="N,N[,N]", help="Count for this patch; 512,512 by default."),
    ] = None,
    plan: Annotated[
        Path | None, typer.Option("--plan", help="Count at this plan's patch, channels and classes.")
    ] = None,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """List every network and part that --network takes: parameters, multiply-adds, memory."""
    from unetkit.workflows.models import models as work

    found = work(patch=sizes(patch), plan=plan, progress=watcher(quiet=quiet))
    if as_json:
        give_json(found.model_dump(mode="json"))
        return
    rows = [
        (
            row.family,
            row.name,
            NONE if row.parameters is None else f"{row.parameters / 1e6:.2f} M",
            f"{row.published / 1e6:.2f} M" if row.published else "",
            NONE if row.multiply_adds is None else f"{row.multiply_adds / 1e9:.2f} G",
            NONE if row.memory_gb is None else f"{row.memory_gb:.2f} GB",
            row.remark,
        )
        for row in found.rows
    ]
    size = " × ".join(map(str, found.patch))
    title = f"Networks and parts at {size}, {counted(found.channels, 'channel')}, {found.classes} classes"
    memory = f"memory at batch {found.batch}"
    head = ("family", "name", "parameters", "published", "multiply-adds", memory, "paper or remark")
    give_table(title, head, rows)
    tell("train one: unet train DATA --network NAME; join parts with +", quiet=quiet)


def doctor(
    full: Annotated[bool, typer.Option("--full", help="Also load torch and list devices.")] = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Look at this machine: versions, processors, memory, disk, readers. One block to paste."""
    from unetkit.workflows.doctor import doctor as work

    found = work(full=full)
    if as_json:
        give_json(found.model_dump(mode="json"))
        return
    give_table("Environment", ("what", "is"), list(found.facts.items()))
    for problem in found.problems:
        give_line(f"problem: {problem}")
    if not found.problems:
        tell("all is well", quiet=quiet)
