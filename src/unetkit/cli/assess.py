"""Verbs that look, apply and measure: check, predict, screen, evaluate, report."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

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
from unetkit.cli.options import Data, Device, DryRun, Json, Quiet, SetOfInference, Tta, changes
from unetkit.cli.scores import show_against, show_scores, show_subgroups
from unetkit.records.figures import counted, per_cent

if TYPE_CHECKING:
    from unetkit.workflows.check import CheckResult, ProblemRow

REFUSED = 3
OF_ONE_KIND = 10
ModelFolder = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or a run that holds one.")]


def check(
    data: Data,
    html: Annotated[Path | None, typer.Option("--html", help="Also write a page with pictures.")] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Read every file: pairs, sizes, label values, class shares, duplicates, damage. Exit 3 if refused."""
    from unetkit.workflows.check import check as work

    result = work(data, html=None if dry_run else html, progress=watcher(quiet=quiet))
    if as_json:
        give_json(result.model_dump(mode="json"))
    else:
        _show_check(result)
    if html is not None:
        tell(f"{'would write' if dry_run else 'wrote'} {html}", quiet=quiet)
    if result.refused:
        raise typer.Exit(REFUSED)


def _show_check(result: CheckResult) -> None:
    facts = f"{counted(result.cases, 'labelled case')} in {counted(result.groups, 'group')}"
    give_line(f"{result.source}: {facts}, {result.unlabelled} unlabelled, layout {result.layout}")
    if result.data is not None:
        names = result.data.channels
        give_line(f"pixels: {result.data.pixels}, {counted(len(names), 'channel')} ({', '.join(names)})")
    shapes = [(shape, count) for shape, count in list(result.shapes.items())[:8]]
    if shapes:
        give_table("Sizes (commonest first)", ("shape", "cases"), shapes)
    spacings = [(spacing, count) for spacing, count in list(result.spacings_mm.items())[:8]]
    if spacings:
        give_table("Spacings (commonest first)", ("mm", "cases"), spacings)
    classes = [(row.name, row.value, per_cent(row.share, digits=3), row.cases) for row in result.classes]
    if classes:
        give_table("Classes", ("class", "value", "share of pixels", "cases"), classes)
    if result.problems:
        give_table("Findings", ("severity", "where", "what", "do this"), _findings(result.problems))
    give_line("refused: training would not start" if result.refused else "ready to train")


def _findings(problems: Sequence[ProblemRow]) -> list[tuple[str, str, str, str]]:
    """Rows of findings; of one kind only the first few, or a thousand missing masks would hide the rest."""
    rows: list[tuple[str, str, str, str]] = []
    for (severity, code), alike in groupby(problems, key=lambda each: (each.severity, each.code)):
        first = list(alike)
        rows += [(each.severity, each.where, each.problem, each.cure) for each in first[:OF_ONE_KIND]]
        if (more := len(first) - OF_ONE_KIND) > 0:
            rows.append(
                (severity, f"… {more} more", f"the same kind of finding ({code})", "--json lists all")
            )
    return rows


def predict(
    model: ModelFolder,
    source: Annotated[Path, typer.Argument(metavar="INPUT", help="An image file or a folder of images.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder for the label files.")],
    tta: Tta = False,
    probabilities: Annotated[
        bool, typer.Option("--probabilities", help="Also write <stem>.probabilities.npz (K, *S) float16.")
    ] = False,
    uncertainty: Annotated[
        bool,
        typer.Option(
            "--uncertainty",
            help="Also write uncertainty/: entropy per pixel, 0 to 255; with --tta also disagreement/.",
        ),
    ] = False,
    screen: Annotated[
        bool,
        typer.Option(
            "--screen", help="Leave out tiles that a first look rules out; see 'unet screen --keep'."
        ),
    ] = False,
    set_: SetOfInference = None,
    device: Device = "auto",
    resume: Annotated[
        bool,
        typer.Option("--resume", help="Keep what an earlier call did with the same model and images."),
    ] = False,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Predict one file or a folder: same stems, same geometry, the data set's own label values."""
    from unetkit.workflows.predict import predict as work

    result = work(
        model,
        source,
        out,
        tta=tta,
        probabilities=probabilities,
        uncertainty=uncertainty,
        screen=screen,
        changes=changes(set_),
        device=device,
        resume=resume,
        dry_run=dry_run,
        progress=watcher(quiet=quiet),
    )
    if as_json:
        give_json(result.model_dump(mode="json"))
    elif dry_run:
        for path in result.planned:
            give_line(f"would write {path}")
    else:
        for one in result.written:
            give_line(str(one.path))
        before = f"{len(result.kept)} kept, " if result.kept else ""
        tell(
            f"{before}{len(result.written)} predicted, {len(result.refused)} refused, on {result.device}",
            quiet=quiet,
        )
    for each in result.refused if not quiet or not as_json else ():
        tell(f"refused {each.where}: {each.problem}. Do this: {each.cure}.", quiet=False)
    if result.refused:
        raise typer.Exit(REFUSED)


def screen(
    model: ModelFolder,
    data: Data,
    recall: Annotated[
        float, typer.Option("--recall", help="Share of the tiles with a class that have to be computed.")
    ] = 0.99,
    factor: Annotated[
        int, typer.Option("--factor", help="Pixels per axis that become one in the first look.")
    ] = 4,
    keep: Annotated[
        bool,
        typer.Option("--keep", help="Write it into the model folder, for 'unet predict --screen'."),
    ] = False,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Find out which tiles a first look at low resolution may leave out, what it misses and what it saves."""
    from unetkit.workflows.kept_screen import SCREEN, keep_screen, refuse_kept
    from unetkit.workflows.model_folder import model_folder
    from unetkit.workflows.screen import screen as work

    if keep:
        refuse_kept(model_folder(model))  # before any work
    result = work(model, data, recall=recall, factor=factor, device=device, progress=watcher(quiet=quiet))
    if keep and not dry_run:
        keep_screen(result.model, result, source=str(data))
    if as_json:
        give_json(result.model_dump(mode="json"))
        return

    rows = [
        (
            name,
            f"{row.threshold:g}",
            row.tiles,
            *(per_cent(share, digits=2) for share in (row.found, row.at_least, row.lost_pixels)),
        )
        for name, row in result.classes.items()
    ]
    head = ("class", "threshold", "tiles with it", "computed", "at least (95 %)", "pixels lost")
    give_table(f"A first look at 1/{result.factor} of the resolution", head, rows)
    where = (
        "on groups that had no say in the thresholds" if result.apart else "on the cases of the thresholds"
    )
    give_line(
        f"measured {where}: {counted(result.cases, 'case')} ({result.split}), {per_cent(result.computed)} of "
        f"{counted(result.tiles, 'tile')} computed, {per_cent(result.cost)} of the pixels with the first look"
    )
    words = " ".join(f"--set '{key}={value}'" for key, value in result.values.items())
    if keep:
        give_line(f"{'would write' if dry_run else 'wrote'} {result.model / SCREEN}")
        words = "--screen"
    give_line(f"to use it: {program()} predict {model} IMAGES --out DIR {words}")


def evaluate(
    first: Annotated[
        Path, typer.Argument(metavar="PREDICTIONS|MODEL", help="Folder of label files, or a model.")
    ],
    second: Annotated[Path, typer.Argument(metavar="LABELS|DATA", help="Folder of labels, or a data set.")],
    csv: Annotated[Path | None, typer.Option("--csv", help="Also write one row per case and class.")] = None,
    tolerance: Annotated[
        float,
        typer.Option(
            "--tolerance", min=0.0, help="Tolerance of NSD in mm (pixels where no file states a spacing)."
        ),
    ] = 1.0,
    at_least: Annotated[
        list[str] | None,
        typer.Option(
            "--at-least",
            metavar="METRIC=VALUE",
            help="Exit 4 where the mean over classes is worse, such as dice=0.8; repeatable. "
            "For hd95, assd and volume_error it means at most.",
        ),
    ] = None,
    by: Annotated[
        str | None,
        typer.Option(
            "--by", metavar="COLUMN", help="Also by a column of index.csv, such as site or scanner."
        ),
    ] = None,
    other: Annotated[
        Path | None,
        typer.Option(
            "--against",
            metavar="PREDICTIONS|MODEL",
            help="Measure these too and say how far the first is above them, case by case.",
        ),
    ] = None,
    tta: Tta = False,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Measure predictions against labels, or a model on a data set: per case, per class, misses counted."""
    from unetkit.workflows.against import against, refuse_other
    from unetkit.workflows.evaluate import evaluate as work
    from unetkit.workflows.gate import raise_unmet, read_gates
    from unetkit.workflows.subgroups import refuse_column, subgroups

    gates = read_gates(at_least or ())
    if by:
        refuse_column(second, by)
    if other:
        refuse_other(other)
    given: dict[str, Any] = {
        "tolerance_mm": tolerance,
        "tta": tta,
        "device": device,
        "progress": watcher(quiet=quiet),
    }
    wanted = [gate.metric for gate in gates]
    scores = work(first, second, csv_file=None if dry_run else csv, metrics=wanted, **given)
    parts = subgroups(scores, second, by) if by else ()
    paired = against(scores, work(other, second, metrics=wanted, **given)) if other else {}
    if as_json:
        tables: dict[str, Any] = {"subgroups": [part.model_dump(mode="json") for part in parts]} if by else {}
        if other:
            tables["against"] = {
                name: {metric: one.model_dump() for metric, one in row.items()}
                for name, row in paired.items()
            }
        give_json(scores.model_dump(mode="json") | tables)
    else:
        show_scores(scores)
        show_subgroups(scores, parts)
        show_against(scores, str(other), paired)
    if csv is not None:
        tell(f"{'would write' if dry_run else 'wrote'} {csv}", quiet=quiet)
    raise_unmet(scores, gates)


def report(
    run: Annotated[Path, typer.Argument(metavar="RUN", help="Folder given to 'unet train --out'.")],
    out: Annotated[
        Path | None, typer.Option("--out", "-o", help="The html file; RUN/report.html by default.")
    ] = None,
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Write one offline html page about a run: scores, pictures, curves, plan, versions, how to use it."""
    from unetkit.workflows.report import report as work

    if dry_run:
        give_preview([f"write {out or run / 'report.html'}"], as_json=as_json)
        return
    result = work(run, out=out)
    if as_json:
        give_json(result.model_dump(mode="json"))
    else:
        give_line(str(result.path))
        tell(
            f"{result.bytes / 1e6:.1f} MB, {result.cases} cases with pictures; open it in a browser",
            quiet=quiet,
        )
