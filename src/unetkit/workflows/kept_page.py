"""The part of a report that says what an update kept and gained: the matrix R as a picture and in numbers."""

from __future__ import annotations

from html import escape

from unetkit.metrics.score import MEAN
from unetkit.records.figures import score, with_interval
from unetkit.records.kept import Interval, Kept, UpdateFile
from unetkit.workflows import page

SUMS_HEAD = ("class", "ACC", "BWT", "FWT", "forgetting")
SUMS_WORDS = (
    "Dice with 95 % intervals, groups resampled. ACC (accuracy): mean over all domains after the update. BWT "
    "(backward transfer): what old domains gained; negative: lost. FWT (forward transfer): what the old "
    "model scored on the new data, above an untrained network. Forgetting: what old domains lost."
)
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
                f"{score(cell.value)}</text><title>{escape(kept_cell(cell))}</title></g>"
            )
    for column, domain in enumerate(file.domains):
        x = _LEFT + column * _CELL + (_CELL - 4) / 2
        shown = domain if len(domain) <= 14 else f"{domain[:13]}…"
        text = f"{escape(shown)}<title>{escape(domain)}</title>"
        cells.append(f'<text x="{x}" y="{_TOP - 9}" text-anchor="middle">{text}</text>')
    size = f"0 0 {_LEFT + _CELL * max(1, len(file.domains))} {_TOP + _ROW * len(file.stages)}"
    svg = f'<svg viewBox="{size}" role="img">{"".join(cells)}</svg>'
    return f"<figure><strong>Dice, {escape(name)}</strong>{svg}</figure>"


def sums_rows(file: UpdateFile) -> list[tuple[str, ...]]:
    """What follows from the matrices: the cells below ``SUMS_HEAD``, one row per class.

    Args:
        file: What the update wrote.
    """
    return [
        (name, *map(kept_cell, (one.accuracy, one.backward, one.forward, one.forgetting)))
        for name, one in file.classes.items()
    ]


def _sums(file: UpdateFile) -> str:
    rows = [tuple(map(page.stacked, row)) for row in sums_rows(file)]
    return f'{page.table(SUMS_HEAD, rows, numbers=range(1, 5))}<p class="soft">{escape(SUMS_WORDS)}</p>'


def _tables(file: UpdateFile, first: str) -> str:
    names = [first, *(name for name in file.classes if name != first)]
    return "".join(
        f"<details><summary>Matrix of {escape(name)} with intervals</summary>"
        f"{_table(file, file.classes[name])}</details>"
        for name in names
    )


def _table(file: UpdateFile, one: Kept) -> str:
    rows = [(stage, *map(kept_cell, row)) for stage, row in zip(file.stages, one.matrix, strict=True)]
    return page.table(("model", *file.domains), rows, numbers=range(1, 1 + len(file.domains)))


def kept_cell(one: Interval) -> str:
    """A number with its interval, as every table of an update shows it."""
    return with_interval(one.value, one.low, one.high)
