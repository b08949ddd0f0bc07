"""Pieces of a self-contained html page: cards, tables, charts as inline SVG; all text is escaped."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from importlib.resources import files

from unetkit.records.figures import per_cent

PALETTE = ("#0072b2", "#e69f00", "#00a88c", "#c438fc", "#e0541c", "#a8a8fc", "#a81c00", "#8c5470")
"""Colours of classes and curves: far apart for every kind of colour vision, on light and on dark paper."""
_WIDTH, _HEIGHT = 340, 210
_LEFT, _RIGHT, _TOP, _BOTTOM = 46, 12, 10, 40
_BAR_WORDS = 90


@dataclass(frozen=True)
class Line:
    """One curve of a chart.

    Args:
        name: Shown in the legend.
        points: ``(x, y)`` in x order; points that are not finite are left out.
        dots: Whether each point is marked.
    """

    name: str
    points: Sequence[tuple[float, float]]
    dots: bool = False


def page(
    title: str,
    subtitle: str,
    sections: Sequence[tuple[str, str]],
    *,
    lead: str = "",
    scripts: Sequence[str] = (),
) -> str:
    """A whole page: one heading and one anchor per section, style and script inside.

    Args:
        title: Plain text.
        subtitle: Plain text.
        sections: Heading (plain text) and body (html).
        lead: Html between the title and the first section.
        scripts: Files of this folder that go in behind ``page.js``.
    """
    parts = [(f"s{number}", heading, body) for number, (heading, body) in enumerate(sections) if body]
    links = "".join(f'<a href="#{key}">{escape(heading)}</a>' for key, heading, _ in parts)
    bodies = "".join(f'<h2 id="{key}">{escape(heading)}</h2>\n{body}\n' for key, heading, body in parts)
    own = files("unetkit.workflows")
    inside = "".join(
        f"<script>\n{own.joinpath(name).read_text(encoding='utf-8')}</script>\n"
        for name in ("page.js", *scripts)
    )
    return (
        '<!doctype html>\n<html lang="en">\n<head>\n<meta charset="utf-8">\n'
        '<meta name="viewport" content="width=device-width, initial-scale=1">\n'
        '<meta http-equiv="Content-Security-Policy" content="default-src \'none\'; img-src data:; '
        "style-src 'unsafe-inline'; script-src 'unsafe-inline'\">\n"
        f"<title>{escape(title)}</title>\n<style>\n{own.joinpath('page.css').read_text(encoding='utf-8')}</style>\n"
        f'</head>\n<body>\n<main>\n<h1>{escape(title)}</h1>\n<p class="soft">{escape(subtitle)}</p>\n'
        f"<nav>{links}</nav>\n{lead}\n{bodies}</main>\n"
        f"{inside}</body>\n</html>\n"
    )


def cards(items: Sequence[tuple[str, str, str]]) -> str:
    """Headline numbers: label, value, note (plain text)."""
    return '<div class="cards">{}</div>'.format(
        "".join(
            f'<div class="card"><div class="label">{escape(label)}</div>'
            f'<div class="value">{escape(value)}</div><div class="note">{escape(note)}</div></div>'
            for label, value, note in items
        )
    )


def table(head: Sequence[str], rows: Sequence[Sequence[object]], *, numbers: Sequence[int] = ()) -> str:
    """A table of plain-text cells; a cell that is ``Html`` goes in as it is.

    Args:
        head: Column names.
        rows: Cells.
        numbers: Columns set in figures, to the right.
    """

    def cell(tag: str, index: int, value: object) -> str:
        kind = ' class="number"' if index in numbers else ""
        inner = value.text if isinstance(value, Html) else escape("" if value is None else str(value))
        return f"<{tag}{kind}>{inner}</{tag}>"

    top = "".join(cell("th", index, name) for index, name in enumerate(head))
    body = "".join(
        "<tr>{}</tr>".format("".join(cell("td", index, value) for index, value in enumerate(row)))
        for row in rows
    )
    return f'<div class="scroll"><table><thead><tr>{top}</tr></thead><tbody>{body}</tbody></table></div>'


@dataclass(frozen=True)
class Html:
    """A cell that is html already, made by this module's own functions."""

    text: str


def stacked(text: str) -> Html:
    """A figure with an interval in brackets behind it as a cell that is half as wide: the interval below.

    Example:
        >>> stacked("0.5 [0.4, 0.6]").text, stacked("none").text
        ('0.5<br><small>0.4 to 0.6</small>', 'none')
    """
    figure, sign, ends = text.partition(" [")
    below = f"<br><small>{escape(ends.removesuffix(']').replace(', ', ' to '))}</small>" if sign else ""
    return Html(f"{escape(figure)}{below}")


def swatch(name: str, index: int) -> Html:
    """A class name with its colour."""
    spot = f'<span class="swatch" style="background:{color(index)}"></span>'
    return Html(f'<span class="class">{spot}{escape(name)}</span>')


def share_bar(share: float, index: int | None = None) -> Html:
    """A share as a bar with its figure, in the colour of a foreground class (0 = the first) or of none."""
    width = max(0.0, min(1.0, share)) * 160
    painted = "" if index is None else f";background:{color(index)}"
    return Html(
        f'<span class="bar" style="width:{width:.1f}px{painted}"></span> '
        f"<small>{escape(per_cent(share, digits=2))}</small>"
    )


def color(index: int) -> str:
    """The colour of foreground class ``index`` (0 = the first)."""
    return PALETTE[index % len(PALETTE)]


def code(text: str) -> str:
    """A block to copy."""
    return f"<pre data-copy><code>{escape(text)}</code></pre>"


def chart(title: str, lines: Sequence[Line], *, x_name: str, log: bool = False, unit_y: bool = False) -> str:
    """Curves on one pair of axes, as a figure; empty text when there is nothing to draw.

    Args:
        title: Heading.
        lines: The curves.
        x_name: What x is.
        log: Whether both axes are logarithmic (values of 0 and below are left out).
        unit_y: Whether y runs from 0 to 1.
    """
    kept = [
        (
            line,
            [
                (x, y)
                for x, y in line.points
                if math.isfinite(x) and math.isfinite(y) and not (log and min(x, y) <= 0)
            ],
        )
        for line in lines
    ]
    kept = [(line, points) for line, points in kept if points]
    if not kept:
        return ""
    placed = [[(math.log10(x), math.log10(y)) for x, y in points] if log else points for _, points in kept]
    axes = _Axes.around([point for points in placed for point in points], unit_y=unit_y)
    drawn = "".join(
        _curve(points, axes, color(index), dots=line.dots)
        for index, ((line, _), points) in enumerate(zip(kept, placed, strict=True))
    )
    legend = ""
    if len(kept) > 1:
        legend = " ".join(
            f"<small>{swatch(line.name, index).text}</small>" for index, (line, _) in enumerate(kept)
        )
    return _chart(title, f"{axes.frame(x_name, log=log)}{drawn}", legend)


def calibration_chart(
    rows: Sequence[tuple[float, float, int]], *, title: str = "Share of pixels that are right"
) -> str:
    """Confidence against the share that is right; the diagonal is perfect.

    Args:
        rows: Mean confidence, share right, pixels, per confidence bin.
        title: Heading.
    """
    if not rows:
        return ""
    axes = _Axes(0.0, 1.0, 0.0, 1.0)
    most = max(count for _, _, count in rows) or 1
    dots = "".join(
        f'<circle cx="{axes.x(confidence):.1f}" cy="{axes.y(right):.1f}" '
        f'r="{2.5 + 5 * math.sqrt(count / most):.1f}" fill="{color(0)}" fill-opacity="0.75">'
        f"<title>confidence {confidence:.3f}, right {right:.3f}, {count} pixels</title></circle>"
        for confidence, right, count in rows
    )
    ends = f'x1="{axes.x(0)}" y1="{axes.y(0)}" x2="{axes.x(1)}" y2="{axes.y(1)}"'
    diagonal = f'<line stroke="currentColor" stroke-opacity="0.4" stroke-dasharray="4 4" {ends}/>'
    curve = _curve([(confidence, right) for confidence, right, _ in rows], axes, color(0), dots=False)
    frame = axes.frame("confidence of the predicted class", log=False)
    return _chart(title, f"{frame}{diagonal}{curve}{dots}")


def bars(title: str, rows: Sequence[tuple[str, float, str]]) -> str:
    """Values as bars from 0, one below the other, as a figure; empty text when there is none.

    Args:
        title: Heading.
        rows: Name, value of 0 or more, the value in words; one that is not finite is left out.
    """
    kept = [row for row in rows if math.isfinite(row[1])]
    if not kept:
        return ""
    most, step = max(value for _, value, _ in kept) or 1.0, 40
    drawn = "".join(
        f'<text x="0" y="{index * step + 13}">{escape(name)}</text>'
        f'<rect x="0" y="{index * step + 19}" width="{max(1.0, value / most * (_WIDTH - _BAR_WORDS)):.1f}" '
        f'height="12" rx="3" fill="{color(index)}"/>'
        f'<text x="{max(1.0, value / most * (_WIDTH - _BAR_WORDS)) + 6:.1f}" y="{index * step + 29}">'
        f"{escape(words)}</text>"
        for index, (name, value, words) in enumerate(kept)
    )
    return _chart(title, drawn, height=step * len(kept))


def _chart(title: str, inside: str, legend: str = "", *, height: int = _HEIGHT) -> str:
    """A titled figure with a drawing."""
    name = escape(title, quote=True)
    svg = f'<svg viewBox="0 0 {_WIDTH} {height}" role="img" aria-label="{name}">{inside}</svg>'
    return f"<figure><strong>{name}</strong>{svg}{legend}</figure>"


@dataclass(frozen=True)
class _Axes:
    """Data coordinates to the picture's."""

    left: float
    right: float
    bottom: float
    top: float

    @staticmethod
    def around(points: Sequence[tuple[float, float]], *, unit_y: bool) -> _Axes:
        """Axes that hold every point, with a little air."""
        xs, ys = [x for x, _ in points], [y for _, y in points]
        low, high = (0.0, 1.0) if unit_y else (min(ys), max(ys))
        if high - low < 1e-12:
            low, high = low - 0.5, high + 0.5
        air = 0.0 if unit_y else 0.05 * (high - low)
        right = max(xs) if max(xs) > min(xs) else min(xs) + 1.0
        return _Axes(min(xs), right, low - air, high + air)

    def x(self, value: float) -> float:
        """Where ``value`` lies from the left."""
        return _LEFT + (value - self.left) / (self.right - self.left) * (_WIDTH - _LEFT - _RIGHT)

    def y(self, value: float) -> float:
        """Where ``value`` lies from the top."""
        return _TOP + (self.top - value) / (self.top - self.bottom) * (_HEIGHT - _TOP - _BOTTOM)

    def frame(self, x_name: str, *, log: bool) -> str:
        """Grid lines and numbers."""
        rows = []
        marks = log_ticks if log else ticks
        for value in marks(self.bottom, self.top):
            y = self.y(value)
            rows.append(
                f'<line class="grid" x1="{_LEFT}" x2="{_WIDTH - _RIGHT}" y1="{y:.1f}" y2="{y:.1f}"/>'
                f'<text x="{_LEFT - 6}" y="{y + 4:.1f}" text-anchor="end">'
                f"{_figure(10**value if log else value)}</text>"
            )
        for value in marks(self.left, self.right):
            place = f'x="{self.x(value):.1f}" y="{_HEIGHT - 22}" text-anchor="middle"'
            rows.append(f"<text {place}>{_figure(10**value if log else value)}</text>")
        middle = (_LEFT + _WIDTH - _RIGHT) / 2
        rows.append(f'<text x="{middle}" y="{_HEIGHT - 5}" text-anchor="middle">{escape(x_name)}</text>')
        return "".join(rows)


def ticks(low: float, high: float, *, most: int = 5) -> tuple[float, ...]:
    """Round numbers between two values, at most ``most`` + 1 of them.

    Example:
        >>> ticks(0.0, 1.0), ticks(3, 97)
        ((0.0, 0.2, 0.4, 0.6, 0.8, 1.0), (20.0, 40.0, 60.0, 80.0))
    """
    rough = (high - low) / most
    power = 10.0 ** math.floor(math.log10(rough))
    step = next(factor * power for factor in (1, 2, 5, 10) if factor * power >= rough * 0.999)
    first, last = math.ceil(low / step - 1e-9), math.floor(high / step + 1e-9)
    return tuple(round(number * step, 12) for number in range(first, last + 1))


def log_ticks(low: float, high: float, *, most: int = 6) -> tuple[float, ...]:
    """Places of round numbers between two powers of ten: 1, 2 and 5 of each, or less or more of them.

    Args:
        low: Logarithm of the least number, to the base of 10.
        high: Of the largest.
        most: Ticks wanted at most.

    Example:
        >>> [round(10**place) for place in log_ticks(1.5, 2.3)], [10**place for place in log_ticks(0, 3)]
        ([50, 100], [1.0, 10.0, 100.0, 1000.0])
    """
    powers = range(math.floor(low), math.ceil(high) + 1)
    for digits in ((1, 2, 5), (1,)):
        places = [power + math.log10(digit) for power in powers for digit in digits]
        inside = tuple(place for place in places if low - 1e-9 <= place <= high + 1e-9)
        if 1 < len(inside) <= most:
            return inside
    return tuple(math.log10(number) for number in ticks(10**low, 10**high) if number > 0)


def _curve(points: Sequence[tuple[float, float]], axes: _Axes, stroke: str, *, dots: bool) -> str:
    thin = points[:: max(1, len(points) // 800)]
    path = " ".join(f"{axes.x(x):.1f},{axes.y(y):.1f}" for x, y in thin)
    drawn = f'<polyline class="line" stroke="{stroke}" points="{path}"/>' if len(thin) > 1 else ""
    if dots or len(thin) == 1:
        drawn += "".join(
            f'<circle cx="{axes.x(x):.1f}" cy="{axes.y(y):.1f}" r="3" fill="{stroke}">'
            f"<title>{y:.4g}</title></circle>"
            for x, y in thin
        )
    return drawn


def _figure(value: float) -> str:
    """A number as short as an axis needs it."""
    if value == 0:
        return "0"
    if abs(value) >= 10_000 or abs(value) < 0.001:
        digits, _, power = f"{value:.1e}".partition("e")
        return f"{digits.removesuffix('.0')}e{int(power)}"
    return f"{value:.4g}"


def thumbnails(pictures: Sequence[tuple[str, str]]) -> str:
    """Named pictures side by side.

    Args:
        pictures: Name (plain text) and data URI.
    """
    figures = "".join(
        f'<figure><div class="name">{escape(name)}</div>'
        f'<div class="view"><img alt="" src="{escape(uri, quote=True)}"></div></figure>'
        for name, uri in pictures
    )
    return f'<div class="gallery">{figures}</div>' if pictures else ""
