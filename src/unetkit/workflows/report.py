"""``report``: one offline page about a run: what it scored, where it fails, how it learnt, how to use it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from pathlib import Path
from typing import TypeVar

import numpy as np

from unetkit.errors import UsageError
from unetkit.metrics.calibration import calibration_error
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.kept import UpdateFile
from unetkit.records.manifest import Manifest
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores, Summary
from unetkit.workflows import page
from unetkit.workflows.gallery import gallery, number, worst_first
from unetkit.workflows.kept_page import kept_section
from unetkit.workflows.page import Html, Line
from unetkit.workflows.pictures import CasePictures
from unetkit.workflows.starting import Start, read_start

_NAMES = {"dice": "Dice", "iou": "IoU", "hd95": "HD95", "assd": "ASSD", "nsd": "NSD"}
_Kind = TypeVar("_Kind", bound=Saved)


class ReportResult(Saved):
    """Where the page lies.

    Args:
        path: The html file.
        bytes: Its size.
        cases: Cases shown with pictures.
    """

    path: Path
    bytes: int
    cases: int


@dataclass(frozen=True)
class _Material:
    """Everything the page is made from, read once."""

    run: Run
    plan: Plan
    fingerprint: Fingerprint | None
    scores: Scores | None
    manifest: Manifest | None
    start: Start | None
    kept: UpdateFile | None
    pictures: tuple[CasePictures, ...]


def report(folder: Path | str, *, out: Path | str | None = None) -> ReportResult:
    """Write the report of a run as one self-contained html file.

    Args:
        folder: The run's folder.
        out: Where to write; ``report.html`` in the run when None.

    Returns:
        Where it lies.

    Raises:
        UsageError: The folder is not a run.
    """
    run = Run(Path(folder))
    if not run.plan.is_file():
        raise UsageError(
            "not the folder of a run (there is no plan.json)",
            cure="name the folder given to 'unet train --out'",
            where=run.folder,
        )
    material = _read(run)
    target = Path(out) if out is not None else run.report
    text = _page(material)
    write_text(target, text)
    return ReportResult(path=target, bytes=len(text.encode()), cases=len(material.pictures))


def _read(run: Run) -> _Material:
    index = run.folder / "pictures" / "index.json"
    rows = json.loads(index.read_text(encoding="utf-8")) if index.is_file() else []
    fitted = run.model / "plan.json"
    plan = fitted if fitted.is_file() else run.plan
    return _Material(
        run,
        Plan.from_json(plan.read_bytes(), where=plan),
        _record(run.fingerprint, Fingerprint),
        _record(run.model / "scores.json", Scores),
        _record(run.manifest, Manifest),
        read_start(run),
        _record(run.update, UpdateFile),
        tuple(CasePictures.model_validate(row) for row in rows),
    )


def _record(path: Path, kind: type[_Kind]) -> _Kind | None:
    return kind.from_json(path.read_bytes(), where=path) if path.is_file() else None


def _page(material: _Material) -> str:
    manifest = material.manifest
    when = (
        manifest.created.replace("T", " ").replace("+00:00", " UTC") if manifest else "training not finished"
    )
    data = Path(manifest.source).resolve().name if manifest else "unknown"
    classes = material.plan.data.classes[1:]
    listed = " and ".join(filter(None, (", ".join(classes[:-1]), classes[-1])))
    return page.page(
        f"Segmentation of {listed}",
        f"data set {data}, run {material.run.folder}, {when}",
        (
            ("Scores", _class_table(material)),
            (
                "Pictures, worst first",
                gallery(material.run, material.plan.data.classes, material.scores, material.pictures),
            ),
            ("Kept and gained", kept_section(material.kept) if material.kept else ""),
            ("Learning", _curves(material)),
            ("Start", _start(material)),
            ("Every case, worst first", _case_table(material)),
            ("Can the confidence be trusted?", _calibration(material)),
            ("Data", _data(material)),
            ("Plan and reasons", _plan(material)),
            ("Use the model", _usage(material)),
            ("Versions and hashes", _versions(material)),
        ),
        lead=_headline(material),
    )


def _interval(summary: Summary, metric: str) -> str:
    if summary.low is None or summary.high is None:
        return ""
    return f"95 % interval {number(summary.low, metric)} to {number(summary.high, metric)}"


def _headline(material: _Material) -> str:
    items: list[tuple[str, str, str]] = []
    scores = material.scores
    if scores is not None:
        mean = scores.summary.get("mean", {}).get("dice")
        if mean is not None:
            items.append(("Dice, mean over classes", number(mean.mean), _interval(mean, "dice")))
        for name in scores.classes[:3] if len(scores.classes) > 1 else ():
            one = scores.summary[name]["dice"]
            items.append((f"Dice, {name}", number(one.mean), f"{one.n} cases, {one.missed} missed"))
        groups = len({case.group for case in scores.cases})
        what = "never seen in training" if scores.split == "held-out" else f"split: {scores.split}"
        items.append(("Cases measured", str(len(scores.cases)), f"{groups} groups, {what}"))
    steps = list(material.run.events("step"))
    if steps:
        spent = material.manifest.seconds.get("training") if material.manifest else None
        note = (
            f"{spent / 60:.1f} min training on {material.manifest.device}"
            if spent and material.manifest
            else ""
        )
        items.append(("Steps", f"{int(steps[-1].get('step', len(steps)))}", note))
    return page.cards(items)


def _class_table(material: _Material) -> str:
    scores = material.scores
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
    return (
        f'{table}<p class="soft">Mean over cases; below it the 95 % bootstrap interval, groups resampled.</p>'
        f'<details><summary>How missed and empty cases count</summary><p class="soft">'
        f"{escape(scores.convention)}</p></details>"
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


def _case_table(material: _Material) -> str:
    scores = material.scores
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


def _curves(material: _Material) -> str:
    steps = list(material.run.events("step"))
    checks = list(material.run.events("validation"))

    def along(events: Sequence[dict[str, object]], *keys: str) -> list[tuple[float, float]]:
        rows = []
        for event in events:
            value = next((event[key] for key in keys if isinstance(event.get(key), int | float)), None)
            if isinstance(value, int | float) and isinstance(event.get("step"), int | float):
                rows.append((float(str(event["step"])), float(value)))
        return rows

    loss = along(steps, "loss")
    lines = [Line("as logged", loss), Line("running mean", _running(loss))]
    charts = (
        page.chart("Training loss", lines if len(loss) > 20 else lines[:1], x_name="steps"),
        page.chart("Dice on held-out cases", [Line("dice", along(checks, "dice", "score"), dots=True)],
                   x_name="steps", unit_y=True),
        page.chart("Learning rate", [Line("rate", along(steps, "learning_rate", "lr"))], x_name="steps"),
    )  # fmt: skip
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def _start(material: _Material) -> str:
    """What the weights started from, tensor by tensor; nothing where they started from chance."""
    start = material.start
    if start is None or start.matched is None:
        return ""
    matched = start.matched
    kinds = (
        ("taken over", matched.matched),
        ("of these folded to other channels", matched.folded),
        ("of these inflated to another axis", matched.inflated),
        ("left as they were", matched.left),
        ("of the source, unused", matched.unmatched),
    )
    rows = [(kind, len(names), ", ".join(names)) for kind, names in kinds if names]
    table = page.table(("tensors", "n", "names"), rows, numbers=(1,))
    words = f"<p>{escape(matched.sentence())}.</p>"
    return f"{words}<details><summary>Every tensor</summary>{table}</details>"


def _running(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A running mean over a twentieth of the run: the trend behind the noise of single batches."""
    if not points:
        return []
    width = max(1, len(points) // 20)
    total = np.concatenate([[0.0], np.cumsum([y for _, y in points])])
    return [
        (points[i][0], float((total[i + 1] - total[max(0, i + 1 - width)]) / (i + 1 - max(0, i + 1 - width))))
        for i in range(len(points))
    ]


def _calibration(material: _Material) -> str:
    scores = material.scores
    rows = [row for row in scores.calibration if row[2]] if scores else []
    if not rows:
        return ""
    total = sum(count for _, _, count in rows)
    text = (
        "<p>On the dashed line the model is as often right as it claims. "
        f"Mean gap {calibration_error(rows) or 0:.1%} over {total:,} pixels; "
        "below the line it is too sure of itself. The larger a dot, the more pixels.</p>"
    )
    return f'{text}<div class="charts">{page.calibration_chart(rows)}</div>'


def _data(material: _Material) -> str:
    facts = material.fingerprint
    if facts is None:
        return ""
    total = sum(facts.voxels) or 1
    rows = [
        [
            page.swatch(name, index - 1) if index else name,
            page.share_bar(facts.voxels[index] / total, max(index - 1, 0)),
            facts.cases_with[index],
            f"{facts.smallest_object[index - 1]:.0f} pixels"
            if index and index <= len(facts.smallest_object)
            else "",
        ]
        for index, name in enumerate(facts.classes)
    ]
    shapes = sorted({tuple(shape) for shape in facts.original_shapes})
    sizes = " × ".join(map(str, shapes[0]))
    if len(shapes) > 1:
        sizes += f" to {' × '.join(map(str, shapes[-1]))}"
    spacing = facts.spacings_mm[0] if facts.spacings_mm else ()
    words = (
        f"{len(facts.cases)} labelled training cases in {facts.groups} groups, {sizes} pixels, "
        f"{len(facts.channels)} channel{'s' if len(facts.channels) > 1 else ''} of {facts.dtype}"
    )
    words += f", spacing {' × '.join(f'{value:g}' for value in spacing)} mm" if facts.calibrated else ""
    table = page.table(["class", "share of pixels", "cases with it", "small objects (10th percentile)"], rows)
    return f"<p>{escape(words)}.</p>{table}"


def _plan(material: _Material) -> str:
    plan = material.plan
    rows = []
    rest = []
    for key, value in plan.flat().items():
        shown = Html(f"<code>{escape(json.dumps(value, default=lambda item: item.model_dump()))}</code>")
        row = [Html(f"<code>{escape(key)}</code>"), shown, plan.reasons.get(key, "")]
        (rows if key in plan.reasons else rest).append(row)
    for key, reason in plan.reasons.items():
        if key not in plan.flat():
            rows.append([Html(f"<code>{escape(key)}</code>"), "", reason])
    text = page.table(["choice", "value", "reason"], rows)
    if rest:
        text += f"<details><summary>{len(rest)} values left at their defaults</summary>"
        text += page.table(["choice", "value", "reason"], rest) + "</details>"
    return text


def _usage(material: _Material) -> str:
    model = material.run.model
    volume = material.plan.data.rank == 3
    name = "scan.nii.gz" if volume else "image.png"
    commands = (
        f"unet predict {model} {name} --out predictions\n"
        f"unet evaluate {model} another_data_set\n"
        f"unet info {model}"
    )
    program = (
        "import numpy as np\nimport unetkit as uk\n\n"
        f'model = uk.load("{model}")\nmask = model.predict("{name}")\n'
        "print(np.unique(np.asarray(mask)))  # class ids: "
        + ", ".join(f"{index} {label}" for index, label in enumerate(material.plan.data.classes))
    )
    return f"{page.code(commands)}{page.code(program)}"


def _versions(material: _Material) -> str:
    manifest = material.manifest
    if manifest is None:
        return ""
    rows: list[list[object]] = [
        ["command", Html(f"<code>{escape(' '.join(manifest.command))}</code>")],
        ["data", manifest.source],
        ["seed", manifest.seed],
        ["device", f"{manifest.device}, {manifest.threads} threads, {manifest.layout}"],
        ["Python", f"{manifest.python} on {manifest.platform}"],
        *([name, number] for name, number in manifest.packages.items()),
        *([f"time for {name}", f"{seconds:.0f} s"] for name, seconds in manifest.seconds.items()),
        *([["peak memory", f"{manifest.peak_memory_mb:.0f} MB"]] if manifest.peak_memory_mb else []),
    ]
    hashes = [[name, Html(f"<code>{digest}</code>")] for name, digest in manifest.files.items()]
    data = [[name, Html(f"<code>{digest}</code>")] for name, digest in manifest.data.items()]
    return (
        page.table(["what", ""], rows)
        + f"<details><summary>SHA-256 of {len(hashes)} files and {len(data)} cases</summary>"
        + page.table(["file", "SHA-256"], hashes)
        + page.table(["case", "SHA-256 of its content"], data)
        + "</details>"
    )
