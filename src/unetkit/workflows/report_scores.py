"""Sections of a report about how good a model is: headline, classes, objects, cases, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unetkit.metrics.calibration import Row, calibration_error
from unetkit.records.manifest import Manifest
from unetkit.records.run import Run
from unetkit.records.scores import Scores, Summary
from unetkit.workflows import page
from unetkit.workflows.cross_validation import SPLIT
from unetkit.workflows.gallery import number, worst_first
from unetkit.workflows.page import Html

_SPLITS = {"held-out": "never seen in training", SPLIT: "each by networks that had never seen it"}
_NAMES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD", "cldice": "clDice"}


def headline(run: Run, scores: Scores | None, manifest: Manifest | None) -> str:
    """The few numbers that are asked for first.

    Args:
        run: Its journal tells the steps.
        scores: On held-out cases.
        manifest: Tells the time.
    """
    items: list[tuple[str, str, str]] = []
    if scores is not None:
        mean = scores.summary.get("mean", {}).get("dice")
        if mean is not None:
            items.append(("Dice, mean over classes", number(mean.mean), _interval(mean)))
        for name in scores.classes[:3] if len(scores.classes) > 1 else ():
            one = scores.summary[name]["dice"]
            items.append((f"Dice, {name}", number(one.mean), f"{one.n} cases, {one.missed} missed"))
        groups = len({case.group for case in scores.cases})
        what = _SPLITS.get(scores.split, f"split: {scores.split}")
        items.append(("Cases measured", str(len(scores.cases)), f"{groups} groups, {what}"))
        if any(count for _, _, count in scores.calibration_objects):
            sure, right, gap = _trust(scores.calibration_objects)
            note = f"over the pixels it calls an object; the gap (ECE) is {100 * gap:.1f} points"
            items.append(("Its confidence", f"{sure:.0%} sure, {right:.0%} right", note))
    steps = list(run.events("step"))
    if steps:
        spent = manifest.seconds.get("training") if manifest else None
        note = f"{spent / 60:.1f} min training on {manifest.device}" if spent and manifest else ""
        items.append(("Steps", f"{int(steps[-1].get('step', len(steps)))}", note))
    return page.cards(items)


def _interval(summary: Summary) -> str:
    if summary.low is None or summary.high is None:
        return ""
    return f"95 % interval {number(summary.low)} to {number(summary.high)}"


def class_table(scores: Scores | None) -> str:
    """Every class and metric with its interval.

    Args:
        scores: None where nothing was measured.
    """
    if scores is None:
        return "<p>The run has not been evaluated yet. Finish it with <code>unet train … --resume</code>.</p>"
    rows: list[list[object]] = []
    order = [*scores.classes, *(["mean"] if len(scores.classes) > 1 and "mean" in scores.summary else [])]
    for name in order:
        label = (
            page.swatch(name, scores.classes.index(name)) if name in scores.classes else Html("<b>mean</b>")
        )
        dice = scores.summary[name].get("dice") or next(iter(scores.summary[name].values()))
        row: list[object] = [label, dice.n, dice.missed, dice.undefined]
        for metric in scores.metrics:
            one = scores.summary[name].get(metric)
            row.append("–" if one is None else _with_interval(one, metric))
        rows.append(row)
    head = ["class", "n", "missed", "undefined"]
    head += [
        scores.heading(metric, _NAMES.get(metric, metric.replace("_", " "))) for metric in scores.metrics
    ]
    table = page.table(head, rows, numbers=range(1, len(head)))
    for why, metrics in scores.explained.items():
        named = ", ".join(metrics).replace("_", " ")
        table += f'<p class="soft">{escape(named)}: measured because of {escape(why)}</p>'
    return (
        f'{table}<p class="soft">Mean over cases; below it the 95 % bootstrap interval, groups resampled.</p>'
        f'<details><summary>How missed and empty cases count</summary><p class="soft">'
        f"{escape(scores.convention)}</p></details>{_object_tables(scores)}{_reader_table(scores)}"
    )


def _with_interval(one: Summary, metric: str) -> Html:
    if one.mean is None:
        return Html("–")
    ends = (
        f"<br><small>{number(one.low, metric)} – {number(one.high, metric)}</small>"
        if one.low is not None and one.high is not None
        else ""
    )
    return Html(f"{number(one.mean, metric)}{ends}")


def _object_tables(scores: Scores) -> str:
    """Objects by size, and found at so many false alarms, where they were measured."""
    unit = "mm³, of pictures mm²" if scores.unit == "mm" else "pixels"
    rows = [
        [page.swatch(name, place), one.sizes, f"{one.found} of {one.reference}",
         f"{one.right} of {one.prediction}", *map(number, (one.recall, one.precision, one.f1))]
        for place, name in enumerate(scores.classes) for one in scores.objects.get(name, ())
    ]  # fmt: skip
    if not rows:
        return ""
    head = ("class", f"size ({unit})", "found", "right", "recall", "precision", "F1")
    text = f"<h3>Objects, all cases together</h3>{page.table(head, rows, numbers=range(2, 7))}"
    curves = {name: curve for name, curve in scores.froc.items() if curve}
    if curves:
        rates = [f"{rate:g}" for rate, _ in next(iter(curves.values()))]
        cells = [[name, *(number(found) for _, found in curve)] for name, curve in curves.items()]
        text += "<h3>Objects found at so many false alarms per image (FROC)</h3>"
        text += page.table(["class", *rates], cells, numbers=range(1, len(rates) + 1))
    return text


def _reader_table(scores: Scores) -> str:
    """Readers among themselves and the model beside them, where several people marked the cases."""
    found = scores.readers
    if found is None:
        return ""
    rows = [
        ["readers, one against another", number(found.among)],
        ["model against each reader", number(found.model)],
        ["model against their consensus", number(found.consensus)],
    ]
    return (
        f"<h3>Readers</h3>{page.table(['Dice, mean over cases', ''], rows, numbers=(1,))}"
        f'<p class="soft">{found.cases} cases with several readers. A model that agrees with each reader as '
        "well as they agree with one another cannot be told from one of them by this number.</p>"
    )


def case_table(scores: Scores | None) -> str:
    """Every case, worst first.

    Args:
        scores: None where nothing was measured.
    """
    if scores is None or not scores.cases:
        return ""
    rows = []
    for case in worst_first(scores):
        remarks = [f"missed {name}" for name in case.missed] + [f"false {name}" for name in case.spurious]
        values = [number(case.values[name].get("dice")) for name in scores.classes]
        rows.append([case.id, case.group, *values, "no prediction" if case.absent else ", ".join(remarks)])
    head = ["case", "group", *(f"Dice {name}" for name in scores.classes), "remarks"]
    table = page.table(head, rows, numbers=range(2, 2 + len(scores.classes)))
    if len(rows) <= 12:
        return table
    return f"<details><summary>Show all {len(rows)} cases</summary>{table}</details>"


def calibration_curves(scores: Scores | None) -> str:
    """Reliability curves and calibration errors, of all pixels and of those of objects.

    Args:
        scores: None where nothing was measured.
    """
    kinds = (
        [("all pixels", scores.calibration), ("pixels it calls an object", scores.calibration_objects)]
        if scores
        else []
    )
    kept = [(name, [row for row in rows if row[2]]) for name, rows in kinds if any(row[2] for row in rows)]
    if not kept:
        return ""
    charts = "".join(page.calibration_chart(rows, title=f"Reliability, {name}") for name, rows in kept)
    head = ("", "how sure, mean", "how often right", "gap (ECE), points", "pixels")
    table = page.table(head, [_confidence(name, rows) for name, rows in kept], numbers=range(1, 5))
    words = (
        "A confidence of 90 % can be trusted where the model is right in nine of ten such pixels: on the "
        "dashed line. Below it the model is too sure of itself, above it too modest; the larger a dot, the "
        "more pixels. The gap (expected calibration error) is the mean distance from that line. Easy "
        "background makes it small over all pixels: look at the pixels that the model calls an object. A "
        "large gap says nothing against the masks; it says not to read probabilities and maps of uncertainty "
        "as chances."
    )
    return f'<p>{words}</p><div class="charts">{charts}</div>{table}'


def _confidence(name: str, rows: Sequence[Row]) -> tuple[str, ...]:
    sure, right, gap = _trust(rows)
    total = sum(count for _, _, count in rows)
    return name, f"{sure:.1%}", f"{right:.1%}", f"{100 * gap:.2f}", f"{total:,}"


def _trust(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Mean confidence, share right, and the calibration error; there is a pixel."""
    total = sum(count for _, _, count in rows)
    sure, right = (sum(row[part] * row[2] for row in rows) / total for part in (0, 1))
    return sure, right, calibration_error(rows) or 0.0
