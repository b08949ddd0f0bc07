"""The page of ``monitor``: the verdict, what has drifted and how far, and which images say so."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

import numpy as np

from unetkit.data.formats import format_of
from unetkit.errors import DataError
from unetkit.records.drift import DriftTest, MonitorResult, ReferenceFile, UnusualImage
from unetkit.workflows import page
from unetkit.workflows.observing import Observation
from unetkit.workflows.page import Line
from unetkit.workflows.pictures import at_least, data_uri, png, reduced, to_picture

MOST_CHARTS = 9
MOST_PICTURES = 9
_EDGE = 320


def drift_page(result: MonitorResult, reference: ReferenceFile, seen: Sequence[Observation]) -> str:
    """A self-contained page.

    Args:
        result: What was found.
        reference: What the images were held against.
        seen: The new images.
    """
    notes = "".join(f"<p>{escape(note[:1].upper() + note[1:])}.</p>" for note in result.notes)
    heading = "What has drifted" if result.drifted else "What differs most, without being declared drift"
    return page.page(
        f"Drift of {result.source.name or result.source}",
        f"model {result.model}, reference: {result.reference}",
        (
            (heading, notes + _charts(result, reference, seen)),
            ("Unusual images", _images(result)),
            ("Every statistic", _tests(result.tests)),
            ("How drift is declared", _rule(result)),
            ("Images that could not be read", _refused(result)),
        ),
        lead=_cards(result),
    )


def _cards(result: MonitorResult) -> str:
    drifted = [test for test in result.tests if test.drifted]
    first = f"most likely {drifted[0].name}, adjusted p {drifted[0].adjusted:.2g}" if drifted else ""
    return page.cards(
        [
            ("Verdict", result.verdict, first),
            ("Statistics that drifted", f"{len(drifted)} of {len(result.tests)}", ""),
            ("New images", str(result.images), f"{len(result.refused)} could not be read"),
            ("Reference images", str(result.reference_images), ""),
        ]
    )


def _charts(result: MonitorResult, reference: ReferenceFile, seen: Sequence[Observation]) -> str:
    """Shares of images below each value, reference and new, of what drifted; of the least likely else."""
    shown = [test for test in result.tests if test.name in reference.names]
    chosen = [test for test in shown if test.drifted] or shown[:3]
    charts = []
    for test in chosen[:MOST_CHARTS]:
        place = reference.names.index(test.name)
        before = [row[place] for row in reference.values if row[place] is not None]
        now = [each.values[test.name] for each in seen if test.name in each.values]
        lines = [Line("reference", _steps(before)), Line("new images", _steps(now))]
        charts.append(page.chart(test.name, lines, x_name="value", unit_y=True))
    words = '<p class="soft">Upwards: the share of the images that have this value or less.</p>'
    return f'{words}<div class="charts">{"".join(charts)}</div>' if charts else ""


def _steps(values: Sequence[float | None]) -> list[tuple[float, float]]:
    rows = np.sort(np.array([value for value in values if value is not None], np.float64))
    shares = np.arange(1, len(rows) + 1) / len(rows)
    return list(zip(rows.tolist(), shares.tolist(), strict=True))


def _images(result: MonitorResult) -> str:
    if not result.unusual:
        return "<p>No image lies outside what the reference holds.</p>"
    rows = [(each.id, f"{each.distance:.2f}", "; ".join(each.reasons)) for each in result.unusual]
    table = page.table(
        ("image", "how far outside", "statistic, value (range in the reference)"), rows, numbers=(1,)
    )
    words = "<p>How far outside: in half-widths of the reference's middle nine tenths.</p>"
    pictures = [(each.id, uri) for each in result.unusual[:MOST_PICTURES] if (uri := _picture(each))]
    return table + words + page.thumbnails(pictures)


def _picture(each: UnusualImage) -> str:
    """The image, or the middle slice of a volume, as a data URI; empty where its file is gone."""
    try:
        pixels, _ = format_of(each.path).read(each.path)
    except DataError:
        return ""  # it was there a moment ago; the table names it all the same
    shown = to_picture(pixels)
    shown = shown[len(shown) // 2] if shown.ndim == 4 else shown
    small = reduced(shown, (-(-max(shown.shape[:2]) // _EDGE),) * 2)
    return data_uri(png(at_least(small, _EDGE // 2)))


def _tests(tests: Sequence[DriftTest]) -> str:
    def shown(value: float | None) -> str:
        return "–" if value is None else f"{value:.4g}"

    rows = [
        (
            "drift" if test.drifted else "",
            test.name,
            test.kind,
            test.images,
            shown(test.reference)
            + ("" if test.low is None else f" ({shown(test.low)} to {shown(test.high)})"),
            shown(test.batch),
            f"{test.p_value:.2g}",
            f"{test.adjusted:.2g}",
        )
        for test in tests
    ]
    head = (
        "",
        "statistic",
        "kind",
        "images",
        "reference: median (5 % to 95 %)",
        "new: median",
        "p",
        "p, adjusted",
    )
    return page.table(head, rows, numbers=(3, 4, 5, 6, 7))


def _rule(result: MonitorResult) -> str:
    return (
        "<p>Every statistic is compared by the exact two-sample Kolmogorov-Smirnov test (scores by the "
        "one-sided one), the embedding by the energy test with permutations. The p values are adjusted for "
        f"their number (Holm), and drift is declared where one is {result.alarm:g} or less: where there is "
        "none, that happens with this chance at most, as long as images are drawn independently. "
        "Slices of one volume, frames of one film or crops of one picture are not.</p>"
    )


def _refused(result: MonitorResult) -> str:
    rows = [(each.where, each.problem, each.cure) for each in result.refused]
    return page.table(("image", "what", "do this"), rows) if rows else ""
