"""The pictures of a report: every case a stack of layers that a reader can fade and switch off."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from pathlib import Path

import numpy as np
from PIL import Image

from unetkit.records.run import Run
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows import page
from unetkit.workflows.pictures import CasePictures, Slice, data_uri, fill_layer, outline_layer, png

SHARES = ("dice", "iou", "precision", "recall")


def number(value: float | None, metric: str = "dice") -> str:
    """A score as a reader wants it: shares with three digits, millimetres with two."""
    if value is None:
        return "–"
    return f"{value:.3f}" if metric in SHARES or metric.startswith("nsd") else f"{value:.2f}"


def worst_first(scores: Scores) -> list[CaseScores]:
    """The cases by mean Dice, rising; those in which nothing is there and nothing was found come last."""
    return sorted(
        scores.cases, key=lambda case: (case_dice(case) if case_dice(case) is not None else 2.0, case.id)
    )


def case_dice(case: CaseScores) -> float | None:
    """Mean Dice of a case over the classes in which it is defined, None when it is in none."""
    values = [row["dice"] for row in case.values.values() if row.get("dice") is not None]
    return float(np.mean([value for value in values if value is not None])) if values else None


def gallery(run: Run, classes: Sequence[str], scores: Scores | None, pictures: Sequence[CasePictures]) -> str:
    """Cases as layers: the image, the prediction as colour and outline, the reference as outline.

    Args:
        run: Whose pictures.
        classes: Class names, background first.
        scores: Which cases are worst.
        pictures: What there is to show.

    Returns:
        Html, worst case first; empty when there are no pictures.
    """
    if not pictures:
        return ""
    by_id = {case.id: case for case in scores.cases} if scores else {}
    order = {case.id: place for place, case in enumerate(worst_first(scores))} if scores else {}
    figures = []
    for case in sorted(pictures, key=lambda each: order.get(each.id, len(order))):
        one = by_id.get(case.id)
        dice = case_dice(one) if one else None
        words = f"Dice {number(dice)}" if dice is not None else "nothing there, nothing found"
        if one and one.missed:
            words += f", missed {', '.join(one.missed)}"
        if one and one.spurious:
            words += f", false {', '.join(one.spurious)}"
        figures.append(_figure(run, case, words))
    classes = " ".join(
        f"<span>{page.swatch(name, index).text}</span>" for index, name in enumerate(classes[1:])
    )
    bar = (
        '<div class="toolbar"><label>fill '
        '<input type="range" id="opacity" min="0" max="1" step="0.05" value="0.35"></label>'
        '<label><input type="checkbox" data-layer="predicted" checked> prediction, coloured outline</label>'
        '<label><input type="checkbox" data-layer="reference" checked> reference, white outline</label>'
        f"{classes}</div>"
    )
    return f'{bar}<div class="gallery">{"".join(figures)}</div>'


def _figure(run: Run, case: CasePictures, words: str) -> str:
    slices = "".join(_layers(run, one) for one in case.slices)
    slider = ""
    if len(case.slices) > 1:
        at = next((index for index, one in enumerate(case.slices) if one.shown), 0)
        slider = (
            '<label class="soft">'
            f'<input type="range" data-slices min="0" max="{len(case.slices) - 1}" value="{at}"> '
            f"<span>{escape(case.slices[at].name)}</span></label>"
        )
    return (
        f'<figure><div class="name">{escape(case.id)}</div><figcaption>{escape(words)}</figcaption>'
        f'<div class="view">{slices}</div>{slider}</figure>'
    )


def _layers(run: Run, one: Slice) -> str:
    folder = run.folder / "pictures"

    def labels(name: str | None) -> np.ndarray | None:
        if name is None:
            return None
        with Image.open(folder / Path(name).name, formats=["PNG"]) as picture:
            return np.asarray(picture)

    def image(kind: str, picture: bytes) -> str:
        return f'<img class="{kind}" alt="" src="{data_uri(picture)}">'

    parts = [image("base", (folder / Path(one.image).name).read_bytes())]
    prediction, reference = labels(one.prediction), labels(one.reference)
    if prediction is not None:
        parts.append(image("predicted fill", png(fill_layer(prediction))))
    if reference is not None:
        parts.append(image("reference", png(outline_layer(reference, dashed=True))))
    if prediction is not None:
        parts.append(image("predicted", png(outline_layer(prediction))))
    shown = " shown" if one.shown else ""
    return f'<div class="slice{shown}" data-name="{escape(one.name, quote=True)}">{"".join(parts)}</div>'
