"""Grids agree within a tolerance and only with their own rank."""

from __future__ import annotations

from dataclasses import replace

from unetkit.records.case import Grid


def test_plain_grid():
    grid = Grid.plain(3)
    assert (grid.rank, grid.calibrated) == (3, False)
    assert grid.direction == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_matches_within_a_tolerance():
    grid = replace(Grid.plain(2), calibrated=True, placed=True)
    assert grid.matches(replace(grid, origin_mm=(0.0005, 0.0)))
    assert not grid.matches(replace(grid, origin_mm=(0.1, 0.0)))
    assert not grid.matches(replace(grid, spacing_mm=(1.0, 1.2)))
    assert not grid.matches(Grid.plain(3))


def test_a_microscopes_pixels_are_compared_more_finely():
    grid = replace(Grid.plain(2), spacing_mm=(5e-4, 5e-4), calibrated=True, placed=True)
    assert grid.matches(replace(grid, origin_mm=(1e-6, 0.0)))
    assert not grid.matches(replace(grid, spacing_mm=(1e-3, 1e-3)))
    assert not grid.matches(replace(grid, origin_mm=(5e-4, 0.0)))


def test_a_grid_without_a_place_is_compared_by_its_spacing():
    placed = replace(Grid.plain(2), calibrated=True, placed=True, origin_mm=(5.0, 7.0))
    assert placed.matches(Grid.plain(2))
    assert Grid.plain(2).matches(placed)
    assert not placed.matches(replace(Grid.plain(2), spacing_mm=(1.0, 1.2)))


def test_the_difference_is_said_with_both_values():
    grid = replace(Grid.plain(2), calibrated=True, placed=True)
    turned = replace(grid, direction=((0.0, 1.0), (1.0, 0.0)))
    assert grid.difference(grid) is None
    assert grid.difference(turned) == ("direction", "(1, 0, 0, 1)", "(0, 1, 1, 0)")
    assert grid.difference(replace(turned, placed=False)) is None
    assert grid.difference(replace(turned, origin_mm=(0.5, 0.0)))[0] == "origin (mm)"
    assert grid.difference(Grid.plain(3)) == ("number of axes", "2", "3")
