"""Verbs for models that live on: monitor, update, and registry with its own verbs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

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
from unetkit.cli.options import (
    Device,
    DryRun,
    Fold,
    Json,
    Minutes,
    Quiet,
    Seed,
    Set,
    Telling,
    grouped,
)
from unetkit.records.figures import counted, difference, per_cent, score, with_interval

if TYPE_CHECKING:
    from unetkit.records.drift import MonitorResult
    from unetkit.records.kept import UpdateFile
    from unetkit.records.registered import Decision, Version
    from unetkit.workflows.update import UpdateSettings

registry = typer.Typer(
    name="registry",
    help="Versions of a model, one of them live; a log that shows any tampering. REGISTRY is a MODEL, too.",
    no_args_is_help=True,
)

Model = Annotated[Path, typer.Argument(metavar="MODEL", help="Model folder, or a run that holds one.")]
Folder = Annotated[Path, typer.Argument(metavar="REGISTRY", help="Folder of the registry.")]
Number = Annotated[int, typer.Argument(metavar="VERSION", min=1, help="A number of 'registry list'.")]
Golden = Annotated[
    list[Path] | None,
    typer.Option("--golden", metavar="DATA", help="Labelled cases never trained on; repeatable."),
]


def monitor(
    model: Model,
    source: Annotated[
        Path,
        typer.Argument(metavar="FOLDER", help="New images; of a data set with labels, the scores count too."),
    ],
    html: Annotated[Path, typer.Option("--html", help="The page to write.")] = Path("drift.html"),
    learn: Annotated[
        bool,
        typer.Option("--learn", help="Make these images, on which the model is good, its reference instead."),
    ] = False,
    alarm: Annotated[
        float, typer.Option("--alarm", help="Chance that drift is declared where there is none.")
    ] = 0.001,
    device: Device = "auto",
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Say whether new images, predictions or scores have drifted from the model's reference. Exit 4 if so."""
    from unetkit.errors import GateError
    from unetkit.workflows.monitor import monitor as work

    if dry_run and learn:
        from unetkit.workflows.model_folder import model_folder
        from unetkit.workflows.observing import refuse_reference

        refuse_reference(place := model_folder(model))
        give_preview([f"write reference.json into {place}"], as_json=as_json)
        return

    result = work(
        model,
        source,
        html=None if dry_run or learn else html,
        learn=learn,
        alarm=alarm,
        device=device,
        progress=watcher(quiet=quiet),
    )
    if as_json:
        give_json(result.model_dump(mode="json"))
    else:
        _show_drift(result)
    if not learn:
        tell(f"{'would write' if dry_run else 'wrote'} {html}", quiet=quiet)
    if result.drifted:
        first = next(test for test in result.tests if test.drifted)
        raise GateError(
            f"drift in {' and '.join(result.drifted)}: {first.name} first of all "
            f"(adjusted p {first.adjusted:.2g})",
            cure="look at the images that are named; if they are as they should be, label some and run "
            "'unet update'",
            where=source,
        )


def _show_drift(result: MonitorResult) -> None:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    for each in result.refused:
        give_line(f"refused {each.where}: {each.problem}. Do this: {each.cure}.")
    for note in result.notes:
        give_line(f"note: {note}")
    if result.learned:
        give_line(f"reference: {counted(result.reference_images, 'image')} of {result.source}")
        return
    tests = [test for test in result.tests if test.drifted] or result.tests[:5]
    rows = [
        (
            "drift" if test.drifted else "",
            test.name,
            shown(test.reference),
            shown(test.batch),
            f"{test.p_value:.2g}",
            f"{test.adjusted:.2g}",
        )
        for test in tests
    ]
    give_table(f"{result.source}", ("", "statistic", "reference", "new", "p", "p, adjusted"), rows)
    rows = [(each.id, "; ".join(each.reasons)) for each in result.unusual[:10]]
    if rows:
        give_table("Unusual images", ("image", "statistic, value (range in the reference)"), rows)
    about = f"{counted(result.images, 'image')} against {result.reference_images} ({result.reference})"
    give_line(
        f"{result.verdict} ({about})" if result.images < result.needed else f"{result.verdict}: {about}"
    )


@grouped
def update(
    model: Model,
    data: Annotated[Path, typer.Argument(metavar="NEWDATA", help="The new data, labelled.")],
    out: Annotated[Path, typer.Option("--out", "-o", help="Folder of the new run.")],
    *,
    method: Annotated[
        str,
        typer.Option(
            "--method", help="Against forgetting: replay, ewc, lwf, interpolate, frozen, adabn or finetune."
        ),
    ] = "replay",
    memory: Annotated[
        Path | None,
        typer.Option("--memory", metavar="OLD", help="Old data, or the memory or run of an earlier update."),
    ] = None,
    golden: Golden = None,
    minutes: Minutes = 0.0,
    memory_gb: Annotated[
        float, typer.Option("--memory-gb", min=0.0, help="Memory budget in GB; the plan's own when 0.")
    ] = 0.0,
    set_: Set = None,
    fold: Fold = None,
    device: Device = "auto",
    seed: Seed = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with the update in the folder.")] = False,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Replace the run in the folder.")] = False,
    telling: Telling,
) -> None:
    """Train a model on new data without forgetting the old, and measure what it kept."""
    from unetkit.workflows.update import refuse_words
    from unetkit.workflows.update import update as work

    sets = golden or []
    settings: UpdateSettings = {
        "minutes": minutes,
        "memory_gb": memory_gb,
        "changes": options.changes(set_),
        "fold": options.fold(fold),
        "device": device,
        "seed": seed,
        "resume": resume,
        "overwrite": overwrite,
    }
    if telling.dry_run:
        from unetkit.workflows.model_folder import trained_folder

        refuse_words(method, memory, sets, out)
        step = f"train {trained_folder(model)} on {data} by {method} and write the run into {out}"
        give_preview([step], as_json=telling.as_json)
        return
    watch = watcher(quiet=telling.quiet)
    done = work(model, data, out, method=method, memory=memory, golden=sets, progress=watch, **settings)
    if telling.as_json:
        give_json(done.kept.model_dump(mode="json"))
        return
    _show_kept(done.kept)
    give_line(f"model:  {done.trained.run.model}")
    tell(f"next: {program()} registry add REGISTRY {out}", quiet=telling.quiet)


def _show_kept(kept: UpdateFile) -> None:
    from unetkit.workflows.kept_page import SUMS_HEAD, SUMS_WORDS, kept_cell, sums_rows

    for name, one in kept.classes.items():
        rows = [(stage, *map(kept_cell, row)) for stage, row in zip(kept.stages, one.matrix, strict=True)]
        give_table(f"Dice {name}", ("model", *kept.domains), rows)
    if kept.classes:
        give_table("Kept and gained", SUMS_HEAD, sums_rows(kept))
        give_line(SUMS_WORDS)
    for note in kept.notes:
        give_line(f"note: {note}")


@registry.command()
def add(
    folder: Folder, model: Model, dry_run: DryRun = False, as_json: Json = False, quiet: Quiet = False
) -> None:
    """Copy a model into the registry, as a candidate."""
    from unetkit.workflows.registry import Registry

    if dry_run:
        from unetkit.workflows.model_folder import trained_folder

        give_preview([f"copy {trained_folder(model)} into {folder}"], as_json=as_json)
        return
    version = Registry(folder).add(model)
    if as_json:
        give_json(version.model_dump(mode="json"))
        return
    give_line(f"version {version.number}: {version.stage}")
    word = f"{program()} registry promote {folder} {version.number} --golden DATA"
    tell(f"next: {word}", quiet=quiet)


@registry.command("list")
def list_(folder: Folder, as_json: Json = False) -> None:
    """Every version: stage, when it came, what it was trained from, its Dice."""
    from unetkit.workflows.registry import Registry

    versions = Registry(folder).versions()
    if as_json:
        give_json([version.model_dump(mode="json") for version in versions])
        return
    rows = [_row(version) for version in versions]
    give_table(f"{folder}", ("version", "stage", "added", "trained from", "Dice", "copied from"), rows)


def _row(version: Version) -> tuple[object, ...]:
    dice = version.dice.get("mean")
    parent = f"version {version.parent}" if version.parent else "–"
    return version.number, version.stage, version.added, parent, score(dice), version.source


@registry.command()
@grouped
def promote(
    folder: Folder,
    version: Number,
    golden: Golden = None,
    must_find: Annotated[
        list[Path] | None,
        typer.Option(
            "--must-find",
            metavar="DATA",
            help="Cases in which no object may be missed that the live model finds; repeatable.",
        ),
    ] = None,
    margin: Annotated[
        float, typer.Option("--margin", min=0.0, help="Dice that it may be lower and count as not worse.")
    ] = 0.01,
    device: Device = "auto",
    *,
    telling: Telling,
) -> None:
    """Make a version live if it is worse on no golden set and better on one, case by case. Exit 4 if not."""
    from unetkit.workflows.registry import Registry

    def judged(decision: Decision) -> None:
        if telling.as_json:
            give_json(decision.model_dump(mode="json"))
        else:
            _show_decision(decision)

    Registry(folder).promote(
        version,
        golden=golden or [],
        must_find=must_find or [],
        margin=margin,
        device=device,
        dry_run=telling.dry_run,
        judged=judged,
        progress=watcher(quiet=telling.quiet),
    )
    if not telling.as_json:
        give_line(f"version {version} {'would go' if telling.dry_run else 'is'} live")


def _show_decision(decision: Decision) -> None:
    from unetkit.metrics.noninferiority import unseen_share

    rows = [
        (
            each.name,
            f"{each.cases} ({each.groups})" if each.groups else each.cases,
            score(each.live),
            score(each.candidate),
            with_interval(each.difference, each.low, each.high, apart=True),
            "must find" if each.must_find else difference(each.bound),
            f"{each.missed_live} → {each.missed_candidate}",
        )
        for each in decision.sets
    ]
    head = (
        "golden set",
        "cases (groups)",
        "live",
        "candidate",
        "difference [95 % interval]",
        "at least",
        "missed",
    )
    give_table(f"Mean Dice per case; lower by {decision.margin:g} counts as not worse", head, rows)
    for each in decision.sets:
        if each.bound is not None and not each.must_find:
            words = f"{each.name}: a failure that none of its {each.groups} groups has may still be in"
            give_line(f"{words} {per_cent(unseen_share(each.groups))} of all")


@registry.command()
def rollback(folder: Folder, dry_run: DryRun = False, as_json: Json = False) -> None:
    """Make live what was live before."""
    from unetkit.workflows.registry import Registry

    version = Registry(folder).rollback(dry_run=dry_run)
    if as_json:
        give_json(version.model_dump(mode="json"))
        return
    give_line(f"version {version.number} {'would go' if dry_run else 'is'} live")


@registry.command()
def verify(
    folder: Folder,
    head: Annotated[
        str | None,
        typer.Option("--head", metavar="HASH", help="A head that was printed before and kept elsewhere."),
    ] = None,
    as_json: Json = False,
) -> None:
    """Compare every hash; exit 3 if anything was changed, taken away or put in."""
    from unetkit.workflows.registry import Registry

    found = Registry(folder).verify(head=head)
    if as_json:
        give_json(found.model_dump(mode="json"))
        return
    live = "nothing is live" if found.live is None else f"version {found.live} is live"
    give_line(f"whole: {counted(found.versions, 'version')}, {counted(found.lines, 'line')}, {live}")
    for each in found.unfinished:
        give_line(f"unfinished, made good by the next command that writes: {each}")
    give_line(f"head: {found.head}")


@registry.command()
def publish(
    folder: Folder,
    to: Annotated[
        str, typer.Option("--to", metavar="URI", help="MLflow's server or store, such as http://host:5000.")
    ],
    name: Annotated[str, typer.Option("--name", help="Of the registered model there.")],
    dry_run: DryRun = False,
    as_json: Json = False,
    quiet: Quiet = False,
) -> None:
    """Copy every version into MLflow (an extra); its alias 'live' is what is live here."""
    from unetkit.workflows.registry import Registry

    if dry_run:
        give_line(f"would copy {counted(len(Registry(folder).versions()), 'version')} to '{name}' in {to}")
        return
    found = Registry(folder).publish(to, name=name, progress=watcher(quiet=quiet))
    if as_json:
        give_json(found.model_dump(mode="json"))
        return
    for number, theirs in sorted(found.versions.items()):
        give_line(f"version {number}: {found.name}/{theirs}{' (live)' if number == found.live else ''}")
