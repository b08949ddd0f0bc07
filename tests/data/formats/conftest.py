"""What the rooms of formats share: a multi-frame file."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def write_frames() -> Callable[..., None]:
    """A function that writes an enhanced CT; made with pydicom alone."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    from pydicom.dataset import Dataset
    from pydicom.uid import EnhancedCTImageStorage

    def write(path, source, stored, order):
        """One multi-frame file with the places of ``order`` in the functional groups."""
        ds = pydicom.dcmread(source)
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = EnhancedCTImageStorage
        ds.NumberOfFrames = len(stored)
        shared, measures, turn = Dataset(), Dataset(), Dataset()
        measures.PixelSpacing, measures.SliceThickness = [0.5, 0.7], 9
        turn.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        shared.PixelMeasuresSequence, shared.PlaneOrientationSequence = [measures], [turn]
        ds.SharedFunctionalGroupsSequence = [shared]
        groups = []
        for place in order:
            group, position, value = Dataset(), Dataset(), Dataset()
            position.ImagePositionPatient = [1, 2, 3 * int(place)]
            value.RescaleSlope, value.RescaleIntercept, value.RescaleType = int(place) + 1, 0, "US"
            group.PlanePositionSequence, group.PixelValueTransformationSequence = [position], [value]
            groups.append(group)
        ds.PerFrameFunctionalGroupsSequence = groups
        for name in ("ImagePositionPatient", "ImageOrientationPatient", "PixelSpacing"):
            delattr(ds, name)
        ds.PixelData = stored.tobytes()
        ds.save_as(path, enforce_file_format=True)

    return write
