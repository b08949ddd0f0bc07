from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from unetkit.data.formats.dicom_files import Plane
from unetkit.data.formats.dicom_stack import stack_planes
from unetkit.errors import DataError

HERE = Path("series")
X, Y = (1.0, 0.0, 0.0), (0.0, 1.0, 0.0)


def planes(heights, **changes):
    made = [
        Plane(Path(f"{number}.dcm"), 0, 4, 5, (0.0, 0.0, float(z)), X, Y, (0.5, 0.7))
        for number, z in enumerate(heights)
    ]
    return [replace(plane, **changes) for plane in made] if changes else made


def test_positions_decide_order_and_step():
    stack = stack_planes(planes([4, 0, 2]), HERE)
    assert [plane.path.name for plane in stack.planes] == ["1.dcm", "2.dcm", "0.dcm"]
    assert stack.grid.spacing_mm == (2.0, 0.5, 0.7)
    assert stack.notes == ()


def test_a_sagittal_series_counts_along_its_own_normal():
    turned = [
        replace(plane, position=(float(n * 3), 0.0, 0.0), across=(0.0, 1.0, 0.0), down=(0.0, 0.0, -1.0))
        for n, plane in enumerate(planes([0, 0, 0]))
    ]
    stack = stack_planes(turned, HERE)
    assert [plane.path.name for plane in stack.planes] == [
        "2.dcm",
        "1.dcm",
        "0.dcm",
    ]  # across × down points left
    assert stack.grid.direction == ((1.0, 0.0, 0.0), (0.0, 0.0, -1.0), (0.0, -1.0, 0.0))
    assert stack.grid.origin_mm == (-6.0, 0.0, 0.0)


@pytest.mark.parametrize(
    ("heights", "words"),
    [
        ([0, 2, 4, 8, 10], r"1 slice\(s\) are missing between 2\.dcm and 3\.dcm: expected 2 mm, got 4 mm"),
        ([0, 2, 4, 10, 12], r"2 slice\(s\) are missing between 2\.dcm and 3\.dcm"),
        (
            [0, 2, 4, 5.1, 7.1],
            r"slices are unevenly spaced between 2\.dcm and 3\.dcm: expected 2 mm, got 1\.1 mm",
        ),
        ([0, 2, 2, 4], r"two slices lie at one place: 1\.dcm and 2\.dcm \(1 such pairs\)"),
        ([0, 0, 2, 2], r"two slices lie at one place: 0\.dcm and 1\.dcm \(2 such pairs\)"),
        ([3], "expected at least 2 slices, got 1"),
    ],
)
def test_gaps_and_copies_are_refused(heights, words):
    with pytest.raises(DataError, match=words) as wrong:
        stack_planes(planes(heights), HERE)
    assert wrong.value.where == "series"


def test_rounded_positions_are_taken_and_said():
    stack = stack_planes(planes([0, 0.7, 1.405, 2.1]), HERE)
    assert stack.grid.spacing_mm[0] == pytest.approx(0.7)
    assert stack.notes == ("slice positions are uneven by up to 0.005 mm: the mean step was taken",)


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"rows": 6}, "this one has 6 × 5 pixels, 0.dcm 4 × 5"),
        ({"spacing_mm": (0.5, 0.8)}, r"a pixel spacing of \(0\.5, 0\.8\) mm, 0\.dcm \(0\.5, 0\.7\)"),
        ({"across": Y, "down": X}, "another orientation"),
        ({"position": None}, "does not say where it lies"),
        ({"across": None}, "does not say where it lies"),
        ({"spacing_mm": None}, "does not say where it lies"),
    ],
)
def test_slices_of_another_kind_are_named(changes, words):
    series = planes([0, 2, 4])
    series[1] = replace(series[1], **changes)
    with pytest.raises(DataError, match=words):
        stack_planes(series, HERE)


def test_a_gantry_tilt_is_measured_and_refused():
    angle = np.radians(15)
    tilted = planes([0, 2, 4, 6], down=(0.0, float(np.cos(angle)), float(np.sin(angle))))
    with pytest.raises(
        DataError, match=r"shifted sideways, 15\.0 degrees over the series \(gantry tilt.*dcm2niix"
    ):
        stack_planes(tilted, HERE)
    shifted = [replace(plane, position=(0.0, 0.0, 2.0 * n)) for n, plane in enumerate(planes([0] * 4))]
    shifted[2] = replace(shifted[2], position=(3.0, 0.0, 4.0))
    with pytest.raises(DataError, match="shifted sideways"):
        stack_planes(shifted, HERE)


def test_an_orientation_must_be_two_unit_vectors():
    with pytest.raises(DataError, match="no pair of unit vectors at right angles"):
        stack_planes(planes([0, 2], down=(0.0, 2.0, 0.0)), HERE)
    with pytest.raises(DataError, match="no pair of unit vectors at right angles"):
        stack_planes(planes([0, 2], down=(1.0, 0.0, 0.0)), HERE)
