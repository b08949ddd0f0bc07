from __future__ import annotations

from pathlib import Path

import pytest

from unetkit.data.formats.dicom_planes import planes_of

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")


def dataset(**elements):
    found = pydicom.Dataset()
    for name, value in elements.items():
        setattr(found, name, value)
    return found


def planes(header):
    return list(planes_of(Path("a.dcm"), header))


def test_a_plane_of_one_frame_states_everything_itself():
    turn, size = [0, 1, 0, 0, 0, -1], {"Rows": 4, "Columns": 5, "SOPInstanceUID": "1.2.3"}
    place = {"ImagePositionPatient": [1, 2, 3], "ImageOrientationPatient": turn, "PixelSpacing": [0.5, 0.7]}
    (plane,) = planes(dataset(**size, **place, RescaleSlope=2))
    assert (plane.rows, plane.columns, plane.instance, plane.index) == (4, 5, "1.2.3", 0)
    assert (plane.position, plane.across, plane.down) == ((1, 2, 3), (0, 1, 0), (0, 0, -1))
    assert (plane.spacing_mm, plane.slope, plane.intercept, plane.segment) == ((0.5, 0.7), 2, 0, None)
    (plane,) = planes(dataset(**size))
    assert (plane.position, plane.across, plane.spacing_mm, plane.slope) == (None, None, None, 1)


def test_a_frame_goes_before_what_all_share():
    shared = dataset(
        PixelMeasuresSequence=[dataset(PixelSpacing=[1, 2])],
        PixelValueTransformationSequence=[dataset(RescaleSlope=3, RescaleIntercept=-5)],
    )
    frames = [
        dataset(PlanePositionSequence=[dataset(ImagePositionPatient=[0, 0, z])], **own)
        for z, own in ((1, {}), (2, {"PixelMeasuresSequence": [dataset(PixelSpacing=[4, 4])]}))
    ]
    header = dataset(
        Rows=1,
        Columns=1,
        NumberOfFrames=2,
        SharedFunctionalGroupsSequence=[shared],
        PerFrameFunctionalGroupsSequence=frames,
        ImagePositionPatient=[9, 9, 9],  # of several frames no single one is meant
    )
    one, two = planes(header)
    assert (one.position, two.position) == ((0, 0, 1), (0, 0, 2))
    assert (one.spacing_mm, two.spacing_mm) == ((1, 2), (4, 4))
    assert (one.slope, one.intercept) == (3, -5)
    header.NumberOfFrames = 3
    with pytest.raises(ValueError, match="a group for each frame"):
        planes(header)


@pytest.mark.parametrize(
    ("elements", "words"),
    [
        ({"PixelSpacing": [1]}, "2 numbers"),
        ({"PixelSpacing": [1, float("inf")]}, "2 numbers"),
        ({"ImagePositionPatient": [1, 2]}, "3 numbers"),
        ({"RescaleSlope": float("nan")}, "a number"),
        ({"NumberOfFrames": -1}, "a group for each frame"),
    ],
)
def test_what_is_no_place_is_refused(elements, words):
    header = {"Rows": 1, "Columns": 1} | elements

    class Plain(dict):  # pydicom itself would refuse some of these
        Rows = Columns = 1

    with pytest.raises((ValueError, TypeError), match=words):
        planes(Plain(header))
