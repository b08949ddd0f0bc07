"""Sections of a report about where a model comes from: learning curves, data, plan, versions, use."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape

import numpy as np

from unetkit.records.figures import counted
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.manifest import Manifest
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.workflows import page
from unetkit.workflows.model_folder import engine_folder
from unetkit.workflows.page import Html, Line
from unetkit.workflows.starting import Start


def learning_curves(run: Run) -> str:
    """Loss, Dice and learning rate over the steps.

    Args:
        run: Its journal.
    """
    steps, checks = list(run.events("step")), list(run.events("validation"))
    loss = _along(steps, "loss")
    lines = [Line("as logged", loss), Line("running mean", _running(loss))]
    charts = (
        page.chart("Training loss", lines if len(loss) > 20 else lines[:1], x_name="steps"),
        page.chart("Dice on held-out cases", [Line("dice", _along(checks, "dice", "score"), dots=True)],
                   x_name="steps", unit_y=True),
        page.chart("Learning rate", [Line("rate", _along(steps, "learning_rate", "lr"))], x_name="steps"),
    )  # fmt: skip
    return f'<div class="charts">{"".join(charts)}</div>' if any(charts) else ""


def _along(events: Sequence[dict[str, object]], *keys: str) -> list[tuple[float, float]]:
    """Step and value of the events that have the first of the keys that is there."""
    rows = []
    for event in events:
        value = next((event[key] for key in keys if isinstance(event.get(key), int | float)), None)
        if isinstance(value, int | float) and isinstance(event.get("step"), int | float):
            rows.append((float(str(event["step"])), float(value)))
    return rows


def _running(points: Sequence[tuple[float, float]]) -> list[tuple[float, float]]:
    """A running mean over a twentieth of the run: the trend behind the noise of single batches."""
    if not points:
        return []
    width = max(1, len(points) // 20)
    total = np.concatenate([[0.0], np.cumsum([y for _, y in points])])
    rows = []
    for place, (x, _) in enumerate(points, start=1):
        first = max(0, place - width)
        rows.append((x, float((total[place] - total[first]) / (place - first))))
    return rows


def weights_start(start: Start | None) -> str:
    """What the weights started from, tensor by tensor; nothing where they started from chance.

    Args:
        start: The run's record of it.
    """
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


def data_facts(facts: Fingerprint | None) -> str:
    """What the training data is.

    Args:
        facts: Its fingerprint.
    """
    if facts is None:
        return ""
    total = sum(facts.voxels) or 1
    rows = [
        [
            page.swatch(name, index - 1) if index else name,
            page.share_bar(facts.voxels[index] / total, index - 1 if index else None),
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
        f"{counted(len(facts.cases), 'labelled training case')} in {counted(facts.groups, 'group')}, {sizes} "
        f"pixels, {counted(len(facts.channels), 'channel')} of {facts.dtype}"
    )
    words += f", spacing {' × '.join(f'{value:g}' for value in spacing)} mm" if facts.calibrated else ""
    head = ("class", "share of pixels", "cases with it", "small objects (10th percentile)")
    table = page.table(head, rows, numbers=(2, 3))
    return f"<p>{escape(words)}.</p>{table}"


def plan_reasons(plan: Plan) -> str:
    """Every decision with its reason.

    Args:
        plan: The model's plan.
    """
    rows = []
    rest = []
    for key, value in plan.flat().items():
        shown = Html(f"<code>{escape(json.dumps(value, default=lambda item: item.model_dump()))}</code>")
        row = [Html(f"<code>{escape(key)}</code>"), shown, plan.reasons.get(key, "")]
        (rows if key in plan.reasons else rest).append(row)
    for key, reason in plan.reasons.items():
        if key not in plan.flat():
            rows.append([Html(f"<code>{escape(key)}</code>"), "", reason])
    text = page.table(["choice", "value", "reason"], rows) if rows else ""
    if rest:
        text += f"<details><summary>{len(rest)} values left at their defaults</summary>"
        text += page.table(["choice", "value", "reason"], rest) + "</details>"
    return text


def usage(run: Run, plan: Plan) -> str:
    """Commands and a program that use the model.

    Args:
        run: Where it lies.
        plan: What it takes.
    """
    name, place = (
        "scan.nii.gz" if plan.data.rank == 3 else "image.png",
        engine_folder(run.folder) or run.model,
    )
    commands = (
        f"unet predict {place} {name} --out predictions\n"
        f"unet evaluate {place} another_data_set\n"
        f"unet info {place}"
    )
    ids = ", ".join(f"{index} {label}" for index, label in enumerate(plan.data.classes))
    program = (
        f'import numpy as np\nimport unetkit as uk\n\nmodel = uk.load("{place}")\n'
        f'mask = model.predict("{name}")\nprint(np.unique(np.asarray(mask)))  # class ids: {ids}'
    )
    return f"{page.code(commands)}{page.code(program)}"


def versions(manifest: Manifest | None) -> str:
    """What it was made with, and the hashes of everything.

    Args:
        manifest: The run's manifest.
    """
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
    hashes = [[name, Html(f"<code>{escape(digest)}</code>")] for name, digest in manifest.files.items()]
    data = [[name, Html(f"<code>{escape(digest)}</code>")] for name, digest in manifest.data.items()]
    return (
        page.table(["what", ""], rows)
        + f"<details><summary>SHA-256 of {len(hashes)} files and {len(data)} cases</summary>"
        + page.table(["file", "SHA-256"], hashes)
        + page.table(["case", "SHA-256 of its content"], data)
        + "</details>"
    )
