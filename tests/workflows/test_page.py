import math
import re
from itertools import combinations

import numpy as np
import pytest

from unetkit.workflows import page
from unetkit.workflows.page import Html, Line

EVIL = '<script>alert("x")</script>&'


def test_everything_from_outside_is_escaped():
    text = page.page(
        EVIL,
        EVIL,
        [(EVIL, page.table([EVIL], [[EVIL]]) + page.code(EVIL) + page.thumbnails([(EVIL, 'a" onload="b')]))],
        lead=page.cards([(EVIL, EVIL, EVIL)]) + page.swatch(EVIL, 0).text,
    )
    text += page.chart(EVIL, [Line(EVIL, [(0, 1)]), Line(EVIL, [(0, 2)])], x_name=EVIL)
    assert "alert(&quot;x&quot;)" in text
    assert 'alert("x")' not in text
    assert 'onload="b"' not in text


def test_a_page_needs_nothing_from_outside():
    text = page.page("Title", "Sub", [("One", "<p>1</p>"), ("Empty", "")])
    assert "default-src 'none'" in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "http" not in text.replace("http-equiv", "")
    assert "Empty" not in text
    assert text.count("<h2") == 1


def test_cells_that_are_html_already_go_in_as_they_are():
    text = page.table(["a", "b"], [[Html("<b>x</b>"), None]], numbers=(1,))
    assert "<td><b>x</b></td>" in text
    assert '<td class="number"></td>' in text


def points(svg):
    return [tuple(map(float, pair.split(","))) for pair in re.search(r'points="([^"]*)"', svg)[1].split()]


def test_a_curve_fills_its_axes_and_y_points_up():
    svg = page.chart("t", [Line("a", [(0, 0.0), (5, 0.5), (10, 1.0)])], x_name="x", unit_y=True)
    (x0, y0), (x1, y1), (x2, y2) = points(svg)
    assert (x0, x2) == (46, 328)
    assert math.isclose(x1, (x0 + x2) / 2)
    assert (y0, y2) == (170, 10)
    assert math.isclose(y1, (y0 + y2) / 2)


def test_what_cannot_be_drawn_is_left_out():
    assert page.chart("t", [Line("a", [(0, math.nan)])], x_name="x") == ""
    assert page.chart("t", [Line("a", [(0, 0.0)])], x_name="x", log=True) == ""
    assert "<circle" in page.chart("t", [Line("a", [(3, 0.1)])], x_name="x", log=True)
    one = page.chart("t", [Line("a", [(0, 1.0), (1, math.inf), (2, 1.0)], dots=True)], x_name="x")
    assert one.count("<circle") == 2
    long = page.chart("t", [Line("a", [(i, i) for i in range(5000)])], x_name="x")
    assert len(points(long)) <= 1000


def test_logarithmic_axes_tell_the_values_themselves():
    svg = page.chart("t", [Line("a", [(1, 0.001), (10, 0.1)])], x_name="x", log=True)
    assert ">0.01<" in svg


def test_both_axes_are_logarithmic_with_round_numbers():
    curve = Line("a", [(0, 1.0), (2.0, 40.0), (20.0, 150.0), (200.0, 150.0)])
    svg = page.chart("t", [curve], x_name="x", log=True)
    assert re.findall(r'text-anchor="end">([^<]*)<', svg) == ["50", "100"]
    assert re.findall(r'text-anchor="middle">([^<]*)<', svg) == ["10", "100", "x"]
    xs = [x for x, _ in points(svg)]
    assert xs[2] - xs[1] == pytest.approx(xs[1] - xs[0], abs=0.2)  # a factor of ten is a step


def test_calibration_has_a_diagonal_and_a_dot_per_bin():
    svg = page.calibration_chart([(0.5, 0.4, 10), (0.9, 0.9, 1000)])
    assert svg.count("<circle") == 2
    assert "stroke-dasharray" in svg
    assert page.calibration_chart([]) == ""


def test_every_drawing_says_what_it_is():
    svg = page.chart("Loss", [Line("a", [(0, 1)])], x_name="x") + page.calibration_chart(
        [(0.5, 0.4, 1)], title="<b>"
    )
    assert 'aria-label="Loss"' in svg
    assert 'aria-label="&lt;b&gt;"' in svg
    assert "<b>" not in svg


def test_scripts_go_in_only_where_they_are_asked_for():
    plain, more = (page.page("T", "", [], scripts=each) for each in ((), ("viewer.js",)))
    assert plain.count("<script>") == 1
    assert more.count("<script>") == 2
    assert "viewer-data" in more


def test_shares_and_colours_are_bounded():
    assert "width:160.0px" in page.share_bar(7.0).text
    assert "width:0.0px" in page.share_bar(-1.0).text
    assert f"background:{page.color(1)}" in page.share_bar(0.5, 1).text
    assert "background" not in page.share_bar(0.5).text  # the background of an image is no class
    assert page.color(0) == page.color(len(page.PALETTE))
    assert page.thumbnails([]) == ""


def test_bars_are_as_long_as_their_values_and_say_them():
    svg = page.bars(EVIL, [(EVIL, 4.0, "four"), ("b", 1.0, "one"), ("none", math.nan, "–")])
    assert 'alert("x")' not in svg
    assert [float(width) for width in re.findall(r'<rect [^>]*width="([^"]*)"', svg)] == [250.0, 62.5]
    assert "four" in svg
    assert "none" not in svg
    assert 'viewBox="0 0 340 80"' in svg
    assert page.bars("t", [("none", math.inf, "")]) == ""
    assert 'width="1.0"' in page.bars("t", [("zero", 0.0, "0")])


SIMULATED = {
    "usual": np.eye(3),
    "no long cones": [
        [0.152286, 1.052583, -0.204868],
        [0.114503, 0.786281, 0.099216],
        [-0.003882, -0.048116, 1.051998],
    ],
    "no middle cones": [
        [0.367322, 0.860646, -0.227968],
        [0.280085, 0.672501, 0.047413],
        [-0.011820, 0.042940, 0.968881],
    ],
    "no short cones": [
        [1.255528, -0.076749, -0.178779],
        [-0.078411, 0.930809, 0.147602],
        [0.004733, 0.691367, 0.303900],
    ],
}
"""Linear RGB as it is seen (Machado et al., A Physiologically-based Model for Simulation of CVD, 2009)."""
TO_CONES = [
    [0.4122214708, 0.5363325363, 0.0514459929],
    [0.2119034982, 0.6806995451, 0.1073969566],
    [0.0883024619, 0.2817188376, 0.6299787005],
]
TO_OKLAB = [
    [0.2104542553, 0.7936177850, -0.0040720468],
    [1.9779984951, -2.4285922050, 0.4505937099],
    [0.0259040371, 0.7827717662, -0.8086757660],
]


def linear(color):
    share = np.array([int(color[start : start + 2], 16) / 255 for start in (1, 3, 5)])
    return np.where(share <= 0.04045, share / 12.92, ((share + 0.055) / 1.055) ** 2.4)


@pytest.mark.parametrize("vision", SIMULATED)
def test_classes_can_be_told_apart_by_everybody(vision):
    def seen(color):
        rgb = np.clip(SIMULATED[vision] @ linear(color), 0, 1)
        return 100 * (TO_OKLAB @ np.cbrt(TO_CONES @ rgb))

    apart = [np.linalg.norm(seen(one) - seen(other)) for one, other in combinations(page.PALETTE, 2)]
    assert min(apart) > 10  # 2 is a difference that is just seen


@pytest.mark.parametrize("paper", ["#ffffff", "#1c2024"])
def test_every_colour_stands_out_from_the_paper(paper):
    def luminance(color):
        return np.array([0.2126, 0.7152, 0.0722]) @ linear(color)

    for color in page.PALETTE:
        dark, light = sorted((luminance(color), luminance(paper)))
        assert (light + 0.05) / (dark + 0.05) > 2
