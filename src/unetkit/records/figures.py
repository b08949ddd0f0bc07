"""Numbers as people read them: the digits of scores, differences, p values, shares and counts, everywhere."""

from __future__ import annotations

NONE = "–"
"""What stands where there is no number."""

DISTANCES = ("hd95", "assd")
"""Metrics that are lengths."""

_NAMES = {
    "dice": "Dice",
    "iou": "IoU",
    "hd95": "HD95",
    "assd": "ASSD",
    "nsd": "NSD",
    "cldice": "clDice",
    "object_f1": "object F1",
}


def score(value: float | None, metric: str = "dice") -> str:
    """A score: a share with three digits, a length with two.

    Args:
        value: None where it is undefined.
        metric: Which metric.

    Example:
        >>> score(0.81234), score(12.3456, "hd95"), score(None)
        ('0.812', '12.35', '–')
    """
    return NONE if value is None else f"{value:.{_digits(metric)}f}"


def difference(value: float | None, metric: str = "dice") -> str:
    """A difference of scores: its sign, and of shares one digit more than the scores themselves.

    Args:
        value: None where it is undefined.
        metric: Which metric.

    Example:
        >>> difference(0.0125), difference(-1.5, "assd"), difference(None)
        ('+0.0125', '-1.50', '–')
    """
    return NONE if value is None else f"{value:+.{_digits(metric, more=1)}f}"


def with_interval(
    value: float | None, low: float | None, high: float | None, *, metric: str = "dice", apart: bool = False
) -> str:
    """A score, or a difference of scores, with its interval in brackets where it has one.

    Args:
        value: None where it is undefined.
        low: Lower end, or None.
        high: Upper end, or None.
        metric: Which metric.
        apart: Whether these are differences.

    Example:
        >>> with_interval(0.9, 0.85, 0.95), with_interval(0.9, None, None)
        ('0.900 [0.850, 0.950]', '0.900')
        >>> with_interval(-0.02, -0.03, 0.01, apart=True)
        '-0.0200 [-0.0300, +0.0100]'
    """
    shown = difference if apart else score
    if value is None or low is None or high is None:
        return shown(value, metric)
    return f"{shown(value, metric)} [{shown(low, metric)}, {shown(high, metric)}]"


def p_value(value: float | None) -> str:
    """A p value.

    Example:
        >>> p_value(0.0312), p_value(1e-9), p_value(None)
        ('0.031', '<0.001', '–')
    """
    return NONE if value is None else "<0.001" if value < 0.001 else f"{value:.3f}"


def figure(value: float | None) -> str:
    """Any other number: three digits that count.

    Example:
        >>> figure(1234.5), figure(12.345), figure(0.01234), figure(None)
        ('1234', '12.3', '0.0123', '–')
    """
    if value is None:
        return NONE
    return f"{value:.0f}" if abs(value) >= 999.5 else f"{value:.3g}"


def amount(value: float, unit: str = "") -> str:
    """Many of something: three digits that count, and thousands, millions or billions.

    Args:
        value: 0 or more.
        unit: What it is counted in, behind the prefix.

    Example:
        >>> amount(14_500), amount(4_000_000), amount(60_100, "B"), amount(12, "B")
        ('14.5 k', '4 M', '60.1 kB', '12 B')
    """
    power = next((power for power in (9, 6, 3) if value >= 999.5 * 10 ** (power - 3)), 0)
    prefix = {9: "G", 6: "M", 3: "k", 0: ""}[power]
    return f"{figure(value / 10**power)} {prefix}{unit}".rstrip()


def per_cent(share: float | None, *, digits: int = 1) -> str:
    """A share of 1 in per cent; what is little is not said to be nothing, nor what is nearly all to be all.

    Args:
        share: None where it is undefined.
        digits: Behind the point.

    Example:
        >>> per_cent(0.1234), per_cent(0.5, digits=0), per_cent(0.00002), per_cent(0.9999), per_cent(None)
        ('12.3 %', '50 %', '<0.1 %', '>99.9 %', '–')
    """
    if share is None:
        return NONE
    least = 10.0**-digits
    if 0 < 100 * share < least / 2:
        return f"<{least:.{digits}f} %"
    if 100 - least / 2 < 100 * share < 100:
        return f">{100 - least:.{digits}f} %"
    return f"{100 * share:.{digits}f} %"


def counted(number: int, noun: str) -> str:
    """A number of things.

    Example:
        >>> counted(1, "case"), counted(2, "case"), counted(12345, "pixel")
        ('1 case', '2 cases', '12,345 pixels')
    """
    return f"{number:,} {noun}" if number == 1 else f"{number:,} {noun}s"


def metric_name(metric: str) -> str:
    """A metric as a heading calls it.

    Example:
        >>> metric_name("hd95"), metric_name("volume_error")
        ('HD95', 'volume error')
    """
    return _NAMES.get(metric, metric.replace("_", " "))


def _digits(metric: str, more: int = 0) -> int:
    return 2 if metric in DISTANCES else 3 + more
