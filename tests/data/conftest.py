"""What formats and foreign data sets share: an RTSTRUCT."""

from __future__ import annotations

from collections.abc import Callable

import pytest


@pytest.fixture(scope="session")
def write_regions() -> Callable[..., None]:
    """A function that writes an RTSTRUCT; made with pydicom alone."""
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    from pydicom.dataset import Dataset
    from pydicom.uid import RTStructureSetStorage, generate_uid

    def write(path, source, regions, *, kinds=(), geometry="CLOSED_PLANAR"):
        """Regions as lists of rings, each ``(n, 3)`` in DICOM's own mm (LPS), numbered 1, 2, …."""
        one = pydicom.dcmread(source, stop_before_pixels=True)
        series = one.SeriesInstanceUID
        ds = pydicom.Dataset()
        ds.file_meta = one.file_meta
        ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
        ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = generate_uid()
        ds.PatientName, ds.PatientID, ds.SeriesInstanceUID = "Canary^Yellow", "CANARY-4711", generate_uid()
        referred, study, frame = Dataset(), Dataset(), Dataset()
        referred.SeriesInstanceUID = series
        study.RTReferencedSeriesSequence, frame.RTReferencedStudySequence = [referred], [study]
        ds.ReferencedFrameOfReferenceSequence = [frame]
        ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
        for number, rings in enumerate(regions, start=1):
            named, drawn, observed = Dataset(), Dataset(), Dataset()
            named.ROINumber, named.ROIName = number, f"region {number}"
            drawn.ReferencedROINumber, drawn.ContourSequence = number, []
            for ring in rings:
                contour = Dataset()
                contour.ContourGeometricType, contour.NumberOfContourPoints = geometry, len(ring)
                contour.ContourData = [f"{value:.10g}" for point in ring for value in point]
                drawn.ContourSequence.append(contour)
            observed.ReferencedROINumber = number
            observed.RTROIInterpretedType = dict(enumerate(kinds, start=1)).get(number, "ORGAN")
            ds.StructureSetROISequence.append(named)
            ds.ROIContourSequence.append(drawn)
            ds.RTROIObservationsSequence.append(observed)
        ds.save_as(path, enforce_file_format=True)

    return write
