from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.formats.world import SHEARED, grid_from_steps, steps_of, swap_lps
from unetkit.errors import DataError

HERE = Path("a.nrrd")


def test_left_and_back_change_their_sign_and_up_does_not():
    points = np.array([[1.0, 2.0, 3.0], [0.0, -1.0, -2.0]])
    assert swap_lps(points).tolist() == [[-1, -2, 3], [0, 1, -2]]
    assert not np.signbit(swap_lps(np.zeros(3))).any()
    np.testing.assert_array_equal(swap_lps(swap_lps(points)), points)


def test_steps_and_grid_are_the_same_thing():
    steps = np.array([[0.0, 0.0, 3.0], [0.0, -2.0, 0.0], [1.0, 0.0, 0.0]])
    grid, notes = grid_from_steps(HERE, steps, np.array([5.0, 6.0, 7.0]))
    assert (grid.spacing_mm, grid.origin_mm, notes) == ((3.0, 2.0, 1.0), (5.0, 6.0, 7.0), ())
    assert grid.direction[1] == (0.0, -1.0, 0.0)
    np.testing.assert_array_equal(steps_of(grid), steps)


def test_a_shear_is_said_and_nonsense_refused():
    assert grid_from_steps(HERE, np.array([[1.0, 0.0], [0.5, 1.0]]), np.zeros(2))[1] == (SHEARED,)
    with pytest.raises(DataError, match=r"a\.nrrd: the steps between its voxels are \[1\.0, 0\.0\] mm"):
        grid_from_steps(HERE, np.array([[1.0, 0.0], [0.0, 0.0]]), np.zeros(2))
    with pytest.raises(DataError, match="the steps between its voxels are"):
        grid_from_steps(HERE, np.eye(2), np.array([np.nan, 0.0]))
    with pytest.raises(DataError, match="its axes lie in one plane"):
        grid_from_steps(HERE, np.array([[1.0, 0.0], [2.0, 0.0]]), np.zeros(2))
