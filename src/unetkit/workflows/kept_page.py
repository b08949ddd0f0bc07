"""The part of a report that says what an update kept and gained: the matrix R as a picture and in numbers."""

from __future__ import annotations

from html import escape

from unetkit.metrics.score import MEAN
from unetkit.records.kept import Interval, Kept, UpdateFile
from unetkit.workflows import page

_CELL, _ROW, _LEFT, _TOP = 104, 40, 64, 26


def kept_section(file: UpdateFile) -> str:
    """The matrix of the mean over classes, what follows from it, and the same for every class.

    Args:
        file: What the update wrote.
    """
    notes = "".join(f"<p>{escape(note)}.</p>" for note in file.notes)
    words = f"<p>Method: {escape(file.method)}, from {escape(file.model)}.</p>"
    if not file.classes:
        return words + notes
    first = MEAN if MEAN in file.classes else next(iter(file.classes))
    charts = "".join(
        matrix_chart(name, file) for name in sorted(file.classes, key=lambda name: name != first)
    )
    return f'{words}{notes}<div class="charts">{charts}</div>{_sums(file)}{_tables(file, first)}'


def matrix_chart(name: str, file: UpdateFile) -> str:
    """``R[stage][domain]`` of one class as a figure: the fuller a cell, the higher its Dice.

    Args:
        name: A class, or ``mean``.
        file: What the update wrote.
    """
    cells = []
    for row, (stage, values) in enumerate(zip(file.stages, file.classes[name].matrix, strict=True)):
        y = _TOP + row * _ROW
        cells.append(f'<text x="{_LEFT - 8}" y="{y + 25}" text-anchor="end">{escape(stage)}</text>')
        for column, cell in enumerate(values):
            x = _LEFT + column * _CELL
            share = 0.0 if cell.value is None else max(0.0, min(1.0, cell.value))
            place = f'x="{x}" y="{y}" width="{_CELL - 4}" height="{_ROW - 4}" rx="5"'
            cells.append(
                f'<g><rect {place} fill="{page.color(0)}" fill-opacity="{0.06 + 0.5 * share:.3f}"/>'
                f'<text x="{x + (_CELL - 4) / 2}" y="{y + 24}" text-anchor="middle" fill="currentColor">'
                f"{_number(cell.value)}</text><title>{escape(_cell(cell))}</title></g>"
            )
    for column, domain in enumerate(file.domains):
        x = _LEFT + column * _CELL + (_CELL - 4) / 2
        shown = domain if len(domain) <= 14 else f"{domain[:13]}…"
        text = f"{escape(shown)}<title>{escape(domain)}</title>"
        cells.append(f'<text x="{x}" y="{_TOP - 9}" text-anchor="middle">{text}</text>')
    size = f"0 0 {_LEFT + _CELL * max(1, len(file.domains))} {_TOP + _ROW * len(file.stages)}"
    svg = f'<svg viewBox="{size}" role="img">{"".join(cells)}</svg>'
    return f"<figure><strong>Dice, {escape(name)}</strong>{svg}</figure>"


def _sums(file: UpdateFile) -> str:
    head = ("class", "ACC", "BWT", "FWT", "forgetting")
    rows = [
        (name, *map(_cell, (one.accuracy, one.backward, one.forward, one.forgetting)))
        for name, one in file.classes.items()
    ]
    words = (
        '<p class="soft">With 95 % intervals, groups resampled. ACC: mean over domains after the update. '
        "BWT: what old domains gained (negative: lost). FWT: what the old model scored on the new data, "
        "above an untrained network. Forgetting: what old domains lost.</p>"
    )
    return page.table(head, rows, numbers=range(1, 5)) + words


def _tables(file: UpdateFile, first: str) -> str:
    names = [first, *(name for name in file.classes if name != first)]
    return "".join(
        f"<details><summary>Matrix of {escape(name)} with intervals</summary>"
        f"{_table(file, file.classes[name])}</details>"
        for name in names
    )


def _table(file: UpdateFile, one: Kept) -> str:
    rows = [(stage, *map(_cell, row)) for stage, row in zip(file.stages, one.matrix, strict=True)]
    return page.table(("model", *file.domains), rows, numbers=range(1, 1 + len(file.domains)))


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:.3f}"


def _cell(one: Interval) -> str:
    return _number(one.value) + ("" if one.low is None else f" ({_number(one.low)} to {_number(one.high)})")
