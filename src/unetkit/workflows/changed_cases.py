"""Cases that lost most in a compression, as pictures: what is there, what was found before and after."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from typing import TYPE_CHECKING

from unetkit.compression.parity import CaseChange
from unetkit.data.labels import read_label, read_pixels
from unetkit.records.case import Case
from unetkit.workflows import page
from unetkit.workflows.gallery import legend
from unetkit.workflows.pictures import LARGEST_EDGE, fullest, previews

if TYPE_CHECKING:
    from unetkit.workflows.model import Model

HEAD = ("case", "reference", "before", "after")


def changed_cases(before: Model, after: Model, cases: Sequence[Case], worst: Sequence[CaseChange]) -> str:
    """A table with a row of pictures per case; of a volume the slice in which the two differ most.

    Args:
        before: The model that was there.
        after: The one made from it.
        cases: Labelled cases.
        worst: Which of them to show, in this order.

    Returns:
        Html; empty where there is none to show.
    """
    by_id = {case.id: case for case in cases}
    rows = [_row(before, after, by_id[one.id], one) for one in worst]
    return f'<p class="legend">{legend(before.plan.data.classes)}</p>{page.table(HEAD, rows)}' if rows else ""


def _row(before: Model, after: Model, case: Case, change: CaseChange) -> tuple[page.Html, ...]:
    pixels, _ = read_pixels(case)
    reference, _, _ = read_label(case, before.plan.data)
    old, new = (model.predictor.case(case).labels for model in (before, after))
    at = fullest(old != new) if reference.ndim > 2 else 0
    shown = previews(pixels, (reference, old, new), edge=LARGEST_EDGE, at=at)
    words = f"{escape(case.id)}<br>Dice {change.before:.3f} → {change.after:.3f}"
    return (page.Html(words), *(page.Html(f'<img alt="" src="{each}">') for each in shown))
