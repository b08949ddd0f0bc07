"""Grids agree within a tolerance and only with their own rank."""

from __future__ import annotations

from dataclasses import replace

from unetkit.records.case import Grid


def test_plain_grid():
    grid = Grid.plain(3)
    assert (grid.rank, grid.calibrated) == (3, False)
    assert grid.direction == ((1.0, 0.0, 0.0), (0.0, 1.0, 0.0), (0.0, 0.0, 1.0))


def test_matches_within_a_tolerance():
    grid = Grid.plain(2)
    assert grid.matches(replace(grid, origin_mm=(0.0005, 0.0)))
    assert not grid.matches(replace(grid, origin_mm=(0.1, 0.0)))
    assert not grid.matches(replace(grid, spacing_mm=(1.0, 1.2)))
    assert not grid.matches(Grid.plain(3))
