from __future__ import annotations

import numpy as np
import pytest
from PIL import Image, ImageDraw

from unetkit.spatial import polygons
from unetkit.spatial.polygons import ellipse, fill_polygons, rotate, trace_polygon


def filled(rings, shape):
    """The whole picture."""
    result = np.zeros(shape, bool)
    window, mask = fill_polygons([np.array(ring, float) for ring in rings], shape)
    result[window] = mask
    return result


def naive(rings, shape):
    """Every pixel on its own: how many edges lie to its left (or at it) in its row."""
    result = np.zeros(shape, bool)
    for row in range(shape[0]):
        for column in range(shape[1]):
            count = 0
            for ring in rings:
                for one, other in zip(ring, [*ring[1:], ring[0]], strict=True):
                    (r0, c0), (r1, c1) = sorted((tuple(one), tuple(other)))
                    if r0 <= row < r1:
                        count += c0 + (row - r0) * (c1 - c0) / (r1 - r0) <= column
            result[row, column] = count % 2
    return result


def test_a_triangle_with_a_hole_worked_out_by_hand():
    triangle = [(0, 0), (0, 6), (6, 0)]  # row + column < 6, and the edges above and to the left
    hole = [(1, 1), (1, 3), (3, 3), (3, 1)]
    expected = [
        [1, 1, 1, 1, 1, 1, 0],
        [1, 0, 0, 1, 1, 0, 0],
        [1, 0, 0, 1, 0, 0, 0],
        [1, 1, 1, 0, 0, 0, 0],
        [1, 1, 0, 0, 0, 0, 0],
        [1, 0, 0, 0, 0, 0, 0],
        [0, 0, 0, 0, 0, 0, 0],
    ]
    assert filled([triangle, hole], (7, 7)).astype(int).tolist() == expected


def test_a_keyhole_is_a_hole():
    outer, inner = [(0, 0), (0, 8), (8, 8), (8, 0)], [(2, 2), (5, 2), (5, 5), (2, 5)]
    keyhole = [*outer, outer[0], *inner, inner[0]]
    np.testing.assert_array_equal(filled([keyhole], (9, 9)), filled([outer, inner], (9, 9)))


@pytest.mark.parametrize("whole", [True, False])
def test_any_polygon_is_that_of_the_naive_loop(whole):
    random = np.random.default_rng(0)
    for _ in range(20):
        rings = [random.uniform(-3, 15, (random.integers(3, 9), 2)) for _ in range(2)]
        if whole:
            rings = [ring.round() for ring in rings]
        np.testing.assert_array_equal(filled(rings, (12, 11)), naive(rings, (12, 11)))


def test_polygons_with_common_edges_split_the_picture():
    random = np.random.default_rng(1)
    for _ in range(10):
        middle = random.integers(1, 8, 2) + random.choice([0, 0.5, 0.3])
        corners = [(0, 0), (0, 9), (9, 9), (9, 0)]
        fan = [[corners[i], corners[(i + 1) % 4], middle] for i in range(4)]
        total = sum(filled([part], (9, 9)).astype(int) for part in fan)
        np.testing.assert_array_equal(total, np.ones((9, 9)))


def test_a_large_polygon_is_nearly_pillows():
    ring = ellipse((50.2, 60.7), (37.4, 41.9))
    picture = Image.new("1", (128, 128))
    ImageDraw.Draw(picture).polygon([(x, y) for y, x in ring], fill=1)
    ours, theirs = filled([ring], (128, 128)), np.asarray(picture)
    assert (ours ^ theirs).sum() < 0.03 * ours.sum()  # it also draws the outline
    assert ours.sum() == pytest.approx(np.pi * 37.4 * 41.9, rel=5e-3)


def test_what_lies_outside_or_has_no_area_is_nothing(monkeypatch):
    beyond = [(-5, -5), (-5, 20), (20, 20), (20, -5)]
    assert filled([beyond], (4, 6)).all()
    for ring in ([(1, 1), (1, 5)], [], [(1, 1), (1, 5), (1, 3)], [(9, 9), (9, 12), (12, 9)]):
        assert not filled([ring], (6, 6)).any()
    monkeypatch.setattr(polygons, "_MOST_CROSSINGS", 3)  # in many parts
    assert filled([beyond], (4, 6)).all()


def test_an_outline_is_traced_without_a_gap():
    ring = np.array([(0, 0), (4, 10), (9, 3)])
    pixels = trace_polygon(ring)
    steps = np.abs(np.diff(np.vstack([pixels, pixels[:1]]), axis=0))
    assert steps.max() == 1
    assert {(0, 0), (4, 10), (9, 3)} <= set(map(tuple, pixels.tolist()))
    assert trace_polygon(np.array([(3, 4)])).tolist() == [[3, 4]]


def test_turning_four_times_is_nothing():
    ring = np.array([(1.0, 2.0), (3.0, 8.0), (5.0, 5.0)])
    turned = ring
    for _ in range(4):
        turned = rotate(turned, 90, about=(2, 3))
    np.testing.assert_allclose(turned, ring)
    np.testing.assert_allclose(rotate(ring, 90, about=(2, 3))[0], (1, 4))  # left above goes right above
