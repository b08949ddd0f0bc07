"""What a compression came to, as it is kept, and as a table to read."""

from __future__ import annotations

from html import escape
from typing import Any

from unetkit.compression.parity import CaseChange, Change
from unetkit.compression.sensitivity import Sensitivity, Tried
from unetkit.records.figures import (
    DISTANCES,
    NONE,
    amount,
    figure,
    metric_name,
    p_value,
    per_cent,
    score,
    with_interval,
)
from unetkit.records.markdown import markdown_table
from unetkit.records.plan import Axes
from unetkit.records.saved import Saved
from unetkit.workflows import page


class Size(Saved):
    """What a model costs.

    Args:
        widths: Channels per encoder stage, fine to coarse.
        decoder_widths: Channels per decoder stage as the plan states them; empty: the decoder's own choice.
        parameters: Weights that can be learned.
        multiply_adds: Of one tile, forward.
        weights_bytes: Size of the weights' file.
        memory_bytes: What is needed at once for one tile, counted in float32; None for eight bits.
        seconds_per_tile: Of the network alone, one tile at a time, median; None where it was not timed.
    """

    widths: Axes
    decoder_widths: Axes
    parameters: int
    multiply_adds: int
    weights_bytes: int
    memory_bytes: int | None = None
    seconds_per_tile: float | None = None


class Step(Saved):
    """A model on the way, or at the end of it.

    Args:
        name: ``before``, ``taught``, ``round 1`` …
        size: What it costs.
        dice: Mean over the foreground classes, on the held-out cases.
        loss: Points of Dice that the class lost which lost most.
    """

    name: str
    size: Size
    dice: float | None
    loss: float | None


class Compressed(Saved):
    """``compress.json``.

    Args:
        model: The model that was there, as it was named.
        source: The data set as it was named.
        folder: Where the smaller model's run lies; its model is in ``model`` there.
        stages: What was done, one after the other, in words.
        asked: What was asked for: teachers by the hash of their weights, and every stage's values.
        max_loss: Points of Dice that each class was allowed to lose.
        passed: Whether no class lost more.
        device: What both were timed on.
        split: What the cases are to the model that was there and to every teacher: ``held-out`` where their
            runs say so.
        before: The model that was there.
        after: The smaller one.
        changes: Class, or ``mean`` → metric → change.
        worst: The cases that lost most Dice.
        steps: The model that was there, and every one that was trained on the way to the smaller one.
        sensitivities: What each stage's cut alone lost, where that was asked.
        unit: What distances are in: ``mm``, ``px``, or ``mm or px``; empty in older records.
        tried: The widths that the search for a target looked at, the whole network first.
    """

    version: int = 1
    model: str
    source: str
    folder: str
    stages: tuple[str, ...]
    asked: dict[str, Any]
    max_loss: float
    passed: bool
    device: str
    split: str
    before: Size
    after: Size
    changes: dict[str, dict[str, Change]]
    worst: tuple[CaseChange, ...]
    steps: tuple[Step, ...] = ()
    sensitivities: tuple[Sensitivity, ...] = ()
    unit: str = ""
    tried: tuple[Tried, ...] = ()


SIZE_HEAD = ("", "before", "after", "before / after")
STEP_HEAD = ("model", "widths", "parameters", "weights", "time per tile", "Dice", "most lost, points")
CUT_HEAD = ("stage", "cut", "points of Dice lost", "cost left")
CHANGE_HEAD = ("class", "metric", "before", "after", "after − before [95 % interval]", "p", "cases")
TRIED_HEAD = ("widths", "of the decoder", "cost", "Dice before training")
NOTE = (
    "The same cases through both models. Interval: 95 % bootstrap of the mean difference, groups resampled; "
    "p: two-sided Wilcoxon signed-rank test. A class that only one of the two finds where there is none "
    "counts as the best value for the other. Multiply-adds and seconds: one tile, the network alone; "
    "memory: its weights and all that lies between its layers at once, in float32, counted."
)

CUT_NOTE = (
    "On patches of training cases, before any training. Cost: multiply-adds where a time is the target, "
    "parameters where a size is."
)

TRIED_NOTE = (
    "In the search for the target: the whole network, the narrowest one, and those between them that were "
    "looked at. Cost: as the target counts it, before training. Dice: on patches of training cases."
)


def size_rows(before: Size, after: Size) -> list[tuple[str, ...]]:
    """The cells of the table of sizes, in the order of ``SIZE_HEAD``."""
    rows = [
        _row("parameters", before.parameters, after.parameters),
        _row("multiply-adds", before.multiply_adds, after.multiply_adds),
        _row("weights", before.weights_bytes, after.weights_bytes, "B"),
    ]
    if before.memory_bytes and after.memory_bytes:
        rows.append(_row("memory of a tile", before.memory_bytes, after.memory_bytes, "B"))
    if before.seconds_per_tile and after.seconds_per_tile:
        times = [1000 * seconds for seconds in (before.seconds_per_tile, after.seconds_per_tile)]
        rows.append(("time per tile", *(f"{figure(time)} ms" for time in times), _ratio(*times)))
    widths = [" ".join(map(str, one.widths)) for one in (before, after)]
    return [*rows, ("widths", *widths, "")]


def change_rows(found: Compressed) -> list[tuple[str, ...]]:
    """The cells of the table of scores, in the order of ``CHANGE_HEAD``."""
    return [
        (
            name,
            _heading(found, metric),
            score(one.before, metric),
            score(one.after, metric),
            with_interval(one.mean, one.low, one.high, metric=metric, apart=True),
            p_value(one.p_value),
            str(one.cases),
        )
        for name, row in found.changes.items()
        for metric, one in row.items()
    ]


def step_rows(found: Compressed) -> list[tuple[str, ...]]:
    """The cells of the table of steps, in the order of ``STEP_HEAD``."""
    rows = []
    for step in found.steps:
        size, seconds = step.size, step.size.seconds_per_tile
        rows.append(
            (
                step.name,
                " ".join(map(str, size.widths)),
                amount(size.parameters),
                amount(size.weights_bytes, "B"),
                NONE if seconds is None else f"{figure(1000 * seconds)} ms",
                score(step.dice),
                NONE if step.loss is None else f"{step.loss:.2f}",
            )
        )
    return rows


def cut_rows(found: Compressed) -> list[tuple[str, ...]]:
    """The cells of the table of sensitivities, in the order of ``CUT_HEAD``."""
    return [
        (str(row.stage), per_cent(row.share, digits=0), f"{row.loss:.2f}", per_cent(row.cost))
        for row in found.sensitivities
    ]


def tried_rows(found: Compressed) -> list[tuple[str, ...]]:
    """The cells of the table of widths that were tried, in the order of ``TRIED_HEAD``, the dearest first."""
    rows = sorted(found.tried, key=lambda row: -row.value)
    return [
        (
            " ".join(map(str, row.widths)),
            " ".join(map(str, row.decoder_widths)) or "as the encoder",
            f"{row.value:.3g} {row.unit}",
            f"{row.dice:.4f}",
        )
        for row in rows
    ]


def still_good(found: Compressed) -> str:
    """The smallest model on the way that lost no more than is allowed, in words; empty: there is none."""
    good = [step for step in found.steps[1:] if step.loss is not None and step.loss <= found.max_loss]
    if not good:
        return ""
    step = min(good, key=lambda each: each.size.multiply_adds)
    name, *row = next(row for row in step_rows(found) if row[0] == step.name)
    return f"'{name}' ({', '.join(row[1:4])}) lost {row[-1]}"


def title(found: Compressed) -> str:
    """One line about what was done."""
    verdict = "within" if found.passed else "NOT within"
    return (
        f"{found.model}, {', then '.join(found.stages)}: {verdict} a loss of {found.max_loss:g} points of "
        "Dice per class"
    )


def as_markdown(found: Compressed) -> str:
    """Both tables as Markdown."""
    parts = [f"# {title(found)}", markdown_table(SIZE_HEAD, size_rows(found.before, found.after))]
    parts += [
        markdown_table(CHANGE_HEAD, change_rows(found)),
        NOTE,
        f"Timed on {found.device}. Cases: {found.split}.",
    ]
    if len(found.steps) > 2:
        parts += ["## On the way", markdown_table(STEP_HEAD, step_rows(found))]
    if found.sensitivities:
        parts += ["## Stages cut alone", markdown_table(CUT_HEAD, cut_rows(found)), CUT_NOTE]
    if found.tried:
        parts += ["## Widths that were tried", markdown_table(TRIED_HEAD, tried_rows(found)), TRIED_NOTE]
    if found.worst:
        rows = [(one.id, score(one.before), score(one.after)) for one in found.worst]
        parts += ["## Cases that lost most", markdown_table(("case", "Dice before", "Dice after"), rows)]
    return "\n\n".join(parts) + "\n"


def as_html(found: Compressed, pictures: str) -> str:
    """Both tables as an offline page, with pictures of the cases that lost most.

    Args:
        found: What was found.
        pictures: Html.
    """
    note = (
        f'<p class="soft">{escape(NOTE)} Timed on {escape(found.device)}. Cases: {escape(found.split)}.</p>'
    )
    changes = [tuple(map(page.stacked, row)) for row in change_rows(found)]
    sections = (
        ("Size and speed", page.table(SIZE_HEAD, size_rows(found.before, found.after), numbers=(1, 2, 3))),
        ("Scores on the same cases", page.table(CHANGE_HEAD, changes, numbers=range(2, 7)) + note),
        ("On the way", _way(found)),
        ("Stages cut alone", _cuts(found)),
        ("Widths that were tried", _tried(found)),
        ("Cases that lost most", pictures),
    )
    return page.page("A smaller model", title(found), sections)


def _way(found: Compressed) -> str:
    """Every model on the way as a table, and Dice against time as a chart; empty: there was one step."""
    if len(found.steps) <= 2:
        return ""
    points = sorted(
        (1000 * step.size.seconds_per_tile, step.dice)
        for step in found.steps
        if step.size.seconds_per_tile is not None and step.dice is not None
    )
    line = page.Line("models", points, dots=True)
    drawn = page.chart("Dice against time per tile", [line], x_name="ms per tile")
    return drawn + page.table(STEP_HEAD, step_rows(found), numbers=(2, 3, 4, 5, 6))


def _cuts(found: Compressed) -> str:
    """What each stage's cut lost; empty where nobody asked."""
    if not found.sensitivities:
        return ""
    table = page.table(CUT_HEAD, cut_rows(found), numbers=(0, 1, 2, 3))
    return f'{table}<p class="soft">{escape(CUT_NOTE)}</p>'


def _tried(found: Compressed) -> str:
    """What the search for a target looked at, as a table and a chart; empty where nothing was searched."""
    if not found.tried:
        return ""
    points = sorted((row.value, row.dice) for row in found.tried)
    unit = "ms per tile" if found.tried[0].unit == "ms" else "MB of weights"
    drawn = page.chart(
        f"Dice before training against {unit}", [page.Line("widths", points, dots=True)], x_name=unit
    )
    table = page.table(TRIED_HEAD, tried_rows(found), numbers=(2, 3))
    return f'{drawn}{table}<p class="soft">{escape(TRIED_NOTE)}</p>'


def _heading(found: Compressed, metric: str) -> str:
    return metric_name(metric) + (f" ({found.unit})" if metric in DISTANCES and found.unit else "")


def _row(name: str, before: float, after: float, unit: str = "") -> tuple[str, ...]:
    return (name, amount(before, unit), amount(after, unit), _ratio(before, after))


def _ratio(before: float, after: float) -> str:
    return f"{before / after:.2f} ×" if after else NONE
