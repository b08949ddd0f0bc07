"""Sections of a report about how good a model is: headline, classes, objects, cases, calibration."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from unetkit.metrics.calibration import Row, calibration_error
from unetkit.records.figures import NONE, counted, metric_name, per_cent, score, with_interval
from unetkit.records.manifest import Manifest
from unetkit.records.run import Run
from unetkit.records.scores import Scores, Summary
from unetkit.workflows import page
from unetkit.workflows.cross_validation import SPLIT
from unetkit.workflows.gallery import worst_first
from unetkit.workflows.page import Html

_SPLITS = {"held-out": "never seen in training", SPLIT: "each by networks that had never seen it"}
_PARTS = {
    "Overlap": {
        "dice": "twice the shared pixels over the pixels of both",
        "iou": "shared pixels over the pixels of either",
        "precision": "share of the predicted pixels that are right",
        "recall": "share of the pixels of the reference that were found",
        "cldice": "overlap of the centre lines of thin objects",
    },
    "Borders and volume": {
        "hd95": "19 of 20 border pixels are no farther than this from the other border; 0 is best",
        "assd": "mean distance between the two borders; 0 is best",
        "nsd": "share of both borders that lies within the tolerance of the other",
        "volume_error": "how far the volumes (areas) are apart, over the larger one; 0 is best",
    },
    "Objects": {
        "object_recall": "share of the objects of the reference that were found",
        "object_precision": "share of the predicted objects that are right",
        "object_f1": "harmonic mean of the two",
    },
}
"""Which metrics stand in one table, and what each of them is; 1 is best where nothing else is said."""


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
            items.append(("Dice, mean over classes", score(mean.mean), _interval(mean)))
        for name in scores.classes[:3] if len(scores.classes) > 1 else ():
            one = scores.summary[name]["dice"]
            items.append((f"Dice, {name}", score(one.mean), f"{counted(one.n, 'case')}, {one.missed} missed"))
        groups = len({case.group for case in scores.cases})
        what = _SPLITS.get(scores.split, f"split: {scores.split}")
        items.append(("Cases measured", str(len(scores.cases)), f"{counted(groups, 'group')}, {what}"))
        if any(count for _, _, count in scores.calibration_objects):
            sure, right, gap = _trust(scores.calibration_objects)
            note = f"{per_cent(right, digits=0)} right, over the pixels it calls an object; "
            note += f"the gap (ECE) is {100 * gap:.1f} points"
            items.append(("Its confidence", f"{per_cent(sure, digits=0)} sure", note))
    steps = list(run.events("step"))
    if steps:
        spent = manifest.seconds.get("training") if manifest else None
        time = "" if not spent else f"{spent:.0f} s" if spent < 60 else f"{spent / 60:.1f} min"
        note = f"{time} training on {manifest.device}" if time and manifest else ""
        items.append(("Steps", f"{int(steps[-1].get('step', len(steps)))}", note))
    return page.cards(items)


def _interval(summary: Summary) -> str:
    if summary.low is None or summary.high is None:
        return ""
    return f"95 % interval {score(summary.low)} to {score(summary.high)}"


def class_table(scores: Scores | None) -> str:
    """Every class and metric with its interval, in tables that a page is wide enough for.

    Args:
        scores: None where nothing was measured.
    """
    if scores is None:
        return "<p>The run has not been evaluated yet. Finish it with <code>unet train … --resume</code>.</p>"
    text = ""
    for part, known in _PARTS.items():
        if metrics := [metric for metric in known if metric in scores.metrics]:
            text += f"<h3>{part}</h3>{_metric_table(scores, metrics)}"
    for why, metrics in scores.explained.items():
        named = ", ".join(map(metric_name, metrics))
        text += f'<p class="soft">{escape(named)}: measured because of {escape(why)}</p>'
    meanings = "; ".join(
        f"<b>{escape(metric_name(metric))}</b> {escape(words)}"
        for known in _PARTS.values()
        for metric, words in known.items()
        if metric in scores.metrics
    )
    return (
        f'{text}<p class="soft">Mean over n cases; below it the 95 % bootstrap interval, groups resampled. A '
        "case in which a class is in neither mask does not count for this class; one in which it was missed "
        "counts with the worst value.</p>"
        f'<details><summary>What the columns are</summary><p class="soft">{meanings}.</p></details>'
        f'<details><summary>How missed and empty cases count</summary><p class="soft">'
        f"{escape(scores.convention)}</p></details>{_object_tables(scores)}{_reader_table(scores)}"
    )


def _metric_table(scores: Scores, metrics: Sequence[str]) -> str:
    rows: list[list[object]] = []
    order = [*scores.classes, *(["mean"] if len(scores.classes) > 1 and "mean" in scores.summary else [])]
    for name in order:
        of_class = scores.summary[name]
        label = (
            page.swatch(name, scores.classes.index(name)) if name in scores.classes else Html("<b>mean</b>")
        )
        first = of_class.get("dice") or next(iter(of_class.values()))
        row: list[object] = [label, _counts(first)]
        for metric in metrics:
            one = of_class.get(metric)
            words = NONE if one is None else with_interval(one.mean, one.low, one.high, metric=metric)
            row.append(page.stacked(words))
        rows.append(row)
    head = ["class", "n", *(scores.heading(metric, metric_name(metric)) for metric in metrics)]
    return page.table(head, rows, numbers=range(1, len(head)))


def _counts(one: Summary) -> Html:
    """How many cases count, and of these how many were missed; how many do not."""
    beside = ((one.missed, "missed"), (one.undefined, "left out"))
    below = ", ".join(f"{count} {word}" for count, word in beside if count)
    return Html(f"{one.n}<br><small>{below}</small>" if below else str(one.n))


def _object_tables(scores: Scores) -> str:
    """Objects by size, and found at so many false alarms, where they were measured."""
    unit = "mm³, of pictures mm²" if scores.unit == "mm" else "pixels"
    rows = [
        [page.swatch(name, place), one.sizes, f"{one.found} of {one.reference}",
         f"{one.right} of {one.prediction}", *map(score, (one.recall, one.precision, one.f1))]
        for place, name in enumerate(scores.classes) for one in scores.objects.get(name, ())
    ]  # fmt: skip
    if not rows:
        return ""
    head = ("class", f"size ({unit})", "found", "right", "recall", "precision", "F1")
    text = f"<h3>Objects, all cases together</h3>{page.table(head, rows, numbers=range(2, 7))}"
    curves = {name: curve for name, curve in scores.froc.items() if curve}
    if curves:
        rates = [f"{rate:g}" for rate, _ in next(iter(curves.values()))]
        cells = [[name, *(score(found) for _, found in curve)] for name, curve in curves.items()]
        text += "<h3>Objects found at so many false alarms per image (FROC)</h3>"
        text += page.table(["class", *rates], cells, numbers=range(1, len(rates) + 1))
    return text


def _reader_table(scores: Scores) -> str:
    """Readers among themselves and the model beside them, where several people marked the cases."""
    found = scores.readers
    if found is None:
        return ""
    rows = [
        ["readers, one against another", score(found.among)],
        ["model against each reader", score(found.model)],
        ["model against their consensus", score(found.consensus)],
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
        values = [score(case.values[name].get("dice")) for name in scores.classes]
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
    return name, per_cent(sure), per_cent(right), f"{100 * gap:.1f}", f"{total:,}"


def _trust(rows: Sequence[Row]) -> tuple[float, float, float]:
    """Mean confidence, share right, and the calibration error; there is a pixel."""
    total = sum(count for _, _, count in rows)
    sure, right = (sum(row[part] * row[2] for row in rows) / total for part in (0, 1))
    return sure, right, calibration_error(rows) or 0.0
