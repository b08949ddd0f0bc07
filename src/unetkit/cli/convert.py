"""The verb that takes data sets of other tools in: convert."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unetkit.cli.console import give_json, give_line, program, tell, watcher
from unetkit.cli.options import Telling, grouped
from unetkit.errors import DataError, UsageError
from unetkit.records.figures import counted

_HELP = (
    "What it is (lidc, msd, nnunet, coco, labelme, yolo, colours, cvat, rtstruct; recognised when left out), "
    "where it lies, and the folder to make."
)


@grouped
def convert(
    words: Annotated[list[str], typer.Argument(metavar="[KIND] SRC OUT", help=_HELP, show_default=False)],
    *,
    overwrite: Annotated[
        bool, typer.Option("--overwrite", help="Replace what an earlier conversion wrote to OUT.")
    ] = False,
    telling: Telling,
) -> None:
    """Turn a data set of another tool or archive into images/, masks/ and index.csv. Exit 3 if refused."""
    from unetkit.workflows.convert import convert as work

    if len(words) not in (2, 3):
        raise UsageError(
            f"expected 'unet convert [KIND] SRC OUT', got {counted(len(words), 'word')} behind 'convert'",
            cure="name what to convert and the folder to make, such as: unet convert coco photos data",
        )
    *kind, source, out = words
    done = work(
        Path(source),
        Path(out),
        kind[0] if kind else None,
        overwrite=overwrite,
        dry_run=telling.dry_run,
        progress=watcher(quiet=telling.quiet),
    )
    if telling.as_json:
        give_json(done.model_dump(mode="json"))
    else:
        verb = "would write" if telling.dry_run else "wrote"
        cases = counted(done.cases, "case")
        give_line(f"{verb} {cases} in {counted(done.groups, 'group')} from {done.kind} into {out}")
        if done.unseen:
            give_line(f"{counted(done.unseen, 'image')} without a label: {Path(out) / 'unseen'}")
        for note in done.notes:
            give_line(f"note: {note}")
    for each in done.refused if not telling.quiet or not telling.as_json else ():
        tell(f"refused {each.where}: {each.problem}. Do this: {each.cure}.", quiet=False)
    if done.refused:
        raise typer.Exit(DataError.exit_code)
    if not telling.dry_run:
        tell(f"next: {program()} check {out}", quiet=telling.quiet)
