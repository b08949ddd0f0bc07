"""The pictures of a report at a glance: one plane of every case, worst first, as layers to switch."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from unetkit.records.figures import score
from unetkit.records.run import Run
from unetkit.records.scores import CaseScores, Scores
from unetkit.workflows import page
from unetkit.workflows.case_pictures import CasePictures, plane_of, read_planes
from unetkit.workflows.pictures import at_least, data_uri, fill_layer, grey, outline_layer, png, reduced

_EDGE = 400


def worst_first(scores: Scores) -> list[CaseScores]:
    """The cases by mean Dice, rising; those in which nothing is there and nothing was found come last."""
    return sorted(
        scores.cases, key=lambda case: (case_dice(case) if case_dice(case) is not None else 2.0, case.id)
    )


def case_dice(case: CaseScores) -> float | None:
    """Mean Dice of a case over the classes in which it is defined, None when it is in none."""
    values = [row["dice"] for row in case.values.values() if row.get("dice") is not None]
    return float(np.mean([value for value in values if value is not None])) if values else None


def case_words(case: CaseScores | None) -> str:
    """Dice, and what was missed or made up, in a few words.

    Args:
        case: Its scores, None where it was not measured.
    """
    if case is None:
        return "not measured"
    dice = case_dice(case)
    words = f"Dice {score(dice)}" if dice is not None else "nothing there, nothing found"
    if case.missed:
        words += f", missed {', '.join(case.missed)}"
    if case.spurious:
        words += f", false {', '.join(case.spurious)}"
    return words


def in_order(pictures: Sequence[CasePictures], scores: Scores | None) -> list[tuple[CasePictures, str]]:
    """Pictures with a few words about each, worst first.

    Args:
        pictures: What there is to show.
        scores: Which cases are worst.
    """
    by_id = {case.id: case for case in scores.cases} if scores else {}
    order = {case.id: place for place, case in enumerate(worst_first(scores))} if scores else {}
    ordered = sorted(pictures, key=lambda each: order.get(each.id, len(order)))
    return [(case, case_words(by_id.get(case.id))) for case in ordered]


def gallery(run: Run, classes: Sequence[str], ordered: Sequence[tuple[CasePictures, str]]) -> str:
    """Cases as layers: the image, the prediction as colour and outline, the reference as outline.

    Args:
        run: Whose pictures.
        classes: Class names, background first.
        ordered: What there is to show, see ``in_order``.

    Returns:
        Html; empty when there are no pictures.
    """
    if not ordered:
        return ""
    figures = "".join(_figure(run, case, words, place) for place, (case, words) in enumerate(ordered))
    bar = (
        '<div class="toolbar"><label>fill '
        '<input type="range" id="opacity" min="0" max="1" step="0.05" value="0.35"></label>'
        '<label><input type="checkbox" data-layer="predicted" checked> prediction, coloured outline</label>'
        '<label><input type="checkbox" data-layer="reference" checked> reference, dashed outline</label>'
        f"{legend(classes)}</div>"
    )
    return f'{bar}<div class="gallery">{figures}</div>'


def legend(classes: Sequence[str]) -> str:
    """Every foreground class with its colour.

    Args:
        classes: Class names, background first.
    """
    return " ".join(f"<span>{page.swatch(name, index).text}</span>" for index, name in enumerate(classes[1:]))


def _figure(run: Run, case: CasePictures, words: str, place: int) -> str:
    first, step, total = case.numbers[case.plane]
    where = f", slice {first + step * case.best} of {total}" if case.planes else ""
    return (
        f'<figure><div class="name">{escape(case.id)}</div><figcaption>{escape(words + where)}</figcaption>'
        f'<div class="view" style="aspect-ratio:{aspect(case):.4f}">{_layers(run, case)}</div>'
        f'<button type="button" data-open="{place}" hidden>Look closer</button></figure>'
    )


def aspect(case: CasePictures) -> float:
    """Width over height of the case's own planes, as they lie in the world.

    Args:
        case: The pictures.
    """
    down, across = (axis for axis in range(3) if axis != case.plane)
    return (case.shape[across] * case.spacing[across]) / (case.shape[down] * case.spacing[down])


def _layers(run: Run, case: CasePictures) -> str:
    oriented = case.planes[:1] == ("axial",)

    def plane(name: str | None, *, labels: bool) -> np.ndarray | None:
        volume = read_planes(run, case, name)
        if volume is None:
            return None
        flat = plane_of(volume, case.plane, case.best, oriented=oriented)
        return reduced(flat, (-(-max(flat.shape[:2]) // _EDGE),) * 2, labels=labels)

    def image(kind: str, picture: np.ndarray) -> str:
        return f'<img class="{kind}" alt="" src="{data_uri(png(picture))}">'

    pixels = plane(case.image, labels=False)
    assert pixels is not None  # every case has an image
    if case.windows:
        pixels = grey(pixels, case.windows[0].low, case.windows[0].high)
    parts = [image("base", pixels)]
    prediction, reference = plane(case.prediction, labels=True), plane(case.reference, labels=True)
    if prediction is not None:
        parts.append(image("predicted fill", fill_layer(prediction)))
    if reference is not None:
        parts.append(image("reference", outline_layer(at_least(reference, _EDGE // 2), dashed=True)))
    if prediction is not None:
        parts.append(image("predicted", outline_layer(at_least(prediction, _EDGE // 2))))
    return "".join(parts)
