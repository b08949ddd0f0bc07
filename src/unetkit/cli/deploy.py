"""Verbs that take a model elsewhere, and time it there: export, bench."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from unetkit.cli.console import (
    give_json,
    give_line,
    give_preview,
    give_table,
    program,
    tell,
    watcher,
)
from unetkit.cli.options import Device, DryRun, Json, Quiet, SetOfInference, changes, sizes
from unetkit.records.figures import NONE, counted, per_cent

if TYPE_CHECKING:
    from unetkit.records.exported import Parity


def export(
    model: Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or a run that holds one.")],
    to: Annotated[str, typer.Option("--to", metavar="RUNTIME", help="onnx, openvino or tensorrt.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the exported model.")],
    data: Annotated[
        Path | None,
        typer.Option(
            "--data", metavar="DATA", help="Also compare on images of this data set, folder or file."
        ),
    ] = None,
    int8: Annotated[
        Path | None,
        typer.Option(
            "--int8",
            metavar="DATA",
            help="Count in eight bits, calibrated on images of this data set or folder.",
        ),
    ] = None,
    uint8: Annotated[
        bool,
        typer.Option("--uint8", help="The files' own bytes go in; the network normalises them itself."),
    ] = False,
    classes: Annotated[
        bool,
        typer.Option("--classes", help="Class ids come out, not logits; overlapping tiles vote then."),
    ] = False,
    set_: SetOfInference = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the exported model there.")] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write a model for another runtime, compare both on the same pixels; exit 4 if they differ."""
    from unetkit.workflows.export import export as work

    result = work(
        model,
        to,
        out,
        data=data,
        int8=int8,
        uint8=uint8,
        classes=classes,
        changes=changes(set_),
        overwrite=overwrite,
        dry_run=dry_run,
        progress=watcher(quiet=quiet),
    )
    if as_json:
        give_json(result.model_dump(mode="json"))
        return
    for path in result.planned:
        give_line(f"would write {path}")
    if result.record is not None:
        _show_parity(result.record.parity, to)
        if kinds := result.record.convolutions:
            give_line(f"convolutions: {kinds['integer']} integer, {kinds['float']} in floating point")
        give_line(f"model: {out}")
        tell(f"next: {program()} predict {out} IMAGES --out predictions (without torch)", quiet=quiet)


def _show_parity(parity: Parity, to: str) -> None:
    def shown(dice: float | None) -> str:
        return NONE if dice is None else f"{dice:.4f}"  # a thousandth is what it may fall

    after = NONE if parity.seconds_after is None else f"{parity.seconds_after * 1e3:.1f}"
    rows = [
        ("network, MB", f"{parity.bytes_before / 1e6:.2f}", f"{parity.bytes_after / 1e6:.2f}"),
        ("one tile, ms", f"{parity.seconds_before * 1e3:.1f}", after),
        *(
            (f"Dice {name}", shown(dice), shown(parity.dice_after[name]))
            for name, dice in parity.dice_before.items()
        ),
    ]
    give_table("Before and after", ("what", "pytorch float32", f"{to} {parity.precision}"), rows)
    logits = ""
    if parity.max_difference is not None:
        logits = (
            f"logits differ by at most {parity.max_difference:.1e} "
            f"(allowed {parity.allowed_difference:.1e}), "
        )
    give_line(
        f"compared on {counted(parity.tiles, 'network call')} of sizes "
        f"{', '.join(parity.sizes)} ({counted(parity.images, 'given image')}): {logits}"
        f"{per_cent(parity.label_agreement, digits=4)} of the pixels have the same class"
    )


def bench(
    models: Annotated[
        list[Path], typer.Argument(metavar="MODEL…", help="Model folders, runs and exported folders.")
    ],
    image: Annotated[
        str | None,
        typer.Option(
            "--image",
            metavar="WxH|DxHxW",
            help="Size of the generated image; 4 tiles a side by default, of volumes 2.",
        ),
    ] = None,
    seconds: Annotated[
        float, typer.Option("--seconds", help="Time for each measurement of each model, in 3 rounds or more.")
    ] = 5.0,
    device: Device = "auto",
    out: Annotated[
        Path | None,
        typer.Option("--out", "-o", help="Also write bench.html and bench.json into this folder."),
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Time models in turn on one image: tiles, array to mask, file to file; memory, share of the machine."""
    from unetkit.workflows.bench import bench as work
    from unetkit.workflows.bench_page import HEAD, machine_lines, table_rows

    size = sizes(image, option="--image")
    result = work(
        models,
        shape=size[::-1] if len(size) == 2 else size,  # width first, as pictures are spoken of
        seconds=seconds,
        device=device,
        out=out,
        dry_run=dry_run,
        progress=watcher(quiet=quiet),
    )
    if dry_run:
        give_preview(result.planned, as_json=as_json)
        return
    if as_json:
        give_json(result.model_dump(mode="json"))
        return
    pixels = " × ".join(map(str, result.image))
    give_table(f"{pixels} pixels ({result.suffix})", HEAD, table_rows(result))
    for line in machine_lines(result):
        give_line(line)
    for row in result.rows:
        for note in row.notes:
            give_line(f"{row.model}: {note}")
    if out is not None:
        give_line(f"page: {out / 'bench.html'}")
    tell("what is measured and what is derived: --out DIR says so on its page", quiet=quiet)
