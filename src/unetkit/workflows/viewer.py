"""The viewer of a report: every plane of the shown cases in one offline page, and what is wrong in them."""

from __future__ import annotations

import json
from collections.abc import Sequence
from html import escape
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from unetkit.records.figures import per_cent
from unetkit.records.run import Run
from unetkit.workflows import page
from unetkit.workflows.case_pictures import CasePictures
from unetkit.workflows.gallery import legend
from unetkit.workflows.object_places import ObjectPlace, worst_object
from unetkit.workflows.pictures import data_uri, png

MOST_OBJECTS = 60
_SLICE_KEYS = "Wheel or ↑ ↓: next slice; Page Up, Page Down: ten slices; Home, End: first, last; "
_KEYS = "← →: case; + −: zoom; P, R: prediction, reference; N: next object."
_HEAD = ("object", "class", "size", "covered", "case", "")


def viewer(run: Run, classes: Sequence[str], ordered: Sequence[tuple[CasePictures, str]]) -> str:
    """Cases to scroll through, with windows, outlines and a list of objects, worst first.

    Args:
        run: Whose pictures.
        classes: Class names, background first.
        ordered: What there is to show with a few words about each, worst first.

    Returns:
        Html; empty when there are no pictures. How large it may be says ``case_pictures.SHOWN_BYTES``.
    """
    if not ordered:
        return ""
    cases = [_case(run, case, words) for case, words in ordered]
    data = json.dumps({"cases": cases, "palette": page.PALETTE}, separators=(",", ":")).replace(
        "<", "\\u003c"
    )
    options = "".join(
        f'<option value="{place}">{escape(f"{case.id} – {words}")}</option>'
        for place, (case, words) in enumerate(ordered)
    )
    keys = escape((_SLICE_KEYS if any(case.planes for case, _ in ordered) else "") + _KEYS)
    return (
        '<div id="viewer" class="viewer" hidden><div class="stage">'
        f'<div class="screen" data-part="screen" tabindex="0" role="group" aria-label="{keys}">'
        '<canvas data-part="canvas" role="img" aria-label=""></canvas></div>'
        + "".join(
            f'<span class="side {side}" data-part="{side}"></span>'
            for side in ("top", "right", "bottom", "left")
        )
        + '</div><div class="controls">'
        f'<label>case <select data-part="case">{options}</select></label>'
        '<label data-part="planes">view <select data-part="plane"></select></label>'
        '<label data-part="slices">slice <input type="range" data-part="at" min="0" value="0"></label>'
        '<output data-part="where" aria-live="polite"></output>'
        '<label data-part="windows">window <select data-part="window"></select></label>'
        '<label data-part="levels">level <input type="range" data-part="level" step="any"></label>'
        '<label data-part="widths">width <input type="range" data-part="width" step="any"></label>'
        '<small data-part="values"></small>'
        '<label>fill <input type="range" data-part="fill" min="0" max="1" step="0.05" value="0.25"></label>'
        '<label><input type="checkbox" data-part="prediction" checked> prediction, coloured outline</label>'
        '<label><input type="checkbox" data-part="reference" checked> reference, dashed outline</label>'
        '<div><button type="button" data-part="out" aria-label="zoom out">−</button> '
        '<button type="button" data-part="in" aria-label="zoom in">+</button> '
        f'<small data-part="size"></small></div><div class="legend">{legend(classes)}</div>'
        f'<small data-part="words"></small><small>{keys}</small></div></div>'
        '<noscript><p class="soft">The viewer needs JavaScript; the pictures do not.</p></noscript>'
        f'{_objects(ordered)}<script type="application/json" id="viewer-data">{data}</script>'
    )


def _case(run: Run, case: CasePictures, words: str) -> dict[str, Any]:
    """What the page's script has to know of a case."""
    files = {"image": case.image, "reference": case.reference, "prediction": case.prediction}
    sprites = {name: _sprite(run, case, file) for name, file in files.items()}
    kept = case.model_dump(mode="json", exclude={*files, "objects", "kind"})
    return {**kept, **sprites, "kind": case.kind, "title": f"{case.id} – {words}"}


def _sprite(run: Run, case: CasePictures, name: str | None) -> str | None:
    """A PNG that a browser reads without loss: 16 bits as two channels."""
    if name is None:
        return None
    with_bits = case.kind == "wide" and name == case.image
    file = run.folder / "pictures" / Path(name).name
    if not with_bits:
        return data_uri(file.read_bytes())
    with Image.open(file, formats=["PNG"]) as picture:
        flat = np.asarray(picture)
    return data_uri(png(np.stack([flat >> 8, flat & 255, 0 * flat], axis=-1).astype(np.uint8)))


def _button(place: int, at: Sequence[int]) -> page.Html:
    where = ",".join(map(str, at))
    return page.Html(f'<button type="button" data-open="{place}" data-at="{where}" hidden>Show</button>')


def _objects(ordered: Sequence[tuple[CasePictures, str]]) -> str:
    """A table of objects, worst first, each with a button that shows it."""
    rows: list[tuple[ObjectPlace, int, str]] = [
        (one, place, case.id) for place, (case, _) in enumerate(ordered) for one in case.objects
    ]
    if not rows:
        return ""
    rows.sort(key=lambda row: worst_object(row[0]))
    wrong = sum(one.kind != "found" for one, _, _ in rows)
    shown = rows[:MOST_OBJECTS]
    cells = [
        (
            page.Html(f'<b class="{"good" if one.kind == "found" else "bad"}">{one.kind}</b>'),
            one.name,
            f"{one.size:.4g} {one.unit}",
            per_cent(one.covered, digits=0),
            id,
            _button(place, one.at),
        )
        for one, place, id in shown
    ]
    more = f"; the first {len(shown)} are listed" if len(rows) > len(shown) else ""
    words = f"Objects of the cases shown, worst first ({wrong} missed or false{more})"
    table = page.table(_HEAD, cells, numbers=(2, 3))
    return f'<details open><summary>{escape(words)}</summary><div class="objects">{table}</div></details>'
