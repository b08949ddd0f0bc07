"""One DICOM file through pydicom: what its header says of each plane, and the numbers of its pixels.

Only the tags that an image needs are read; names, dates and numbers of a patient never reach an array, a
message or a record. What pydicom says of a bad value quotes it, so its words are not passed on.
"""

from __future__ import annotations

import re
import struct
import warnings
import zlib
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import numpy as np

from unetkit.data.formats.checks import TRUNCATED, refuse_claim
from unetkit.data.formats.dicom_elements import Elements, walk_elements
from unetkit.data.formats.dicom_planes import Plane, planes_of
from unetkit.data.formats.streams import LOOKED_AT, check_stream
from unetkit.errors import DataError, MissingPackageError

if TYPE_CHECKING:
    from pydicom.dataset import Dataset

SEGMENTATION = "1.2.840.10008.5.1.4.1.1.66.4"
LABELMAP = "1.2.840.10008.5.1.4.1.1.66.7"
INSTALL = "pip install 'unetkit[dicom]'"

_TAGS = (
    "SOPClassUID", "SOPInstanceUID", "SeriesInstanceUID", "Modality", "NumberOfFrames", "Rows", "Columns",
    "SamplesPerPixel", "PhotometricInterpretation", "PlanarConfiguration", "BitsAllocated", "BitsStored",
    "HighBit", "PixelRepresentation", "PixelSpacing", "ImagePositionPatient", "ImageOrientationPatient",
    "RescaleSlope", "RescaleIntercept", "ModalityLUTSequence", "SharedFunctionalGroupsSequence",
    "PerFrameFunctionalGroupsSequence", "SegmentationType", "SegmentSequence", "LossyImageCompression",
)  # fmt: skip
_PATIENT = ("PatientName", "PatientID", "OtherPatientIDs", "AccessionNumber")
_NATIVE = ("1.2.840.10008.1.2", "1.2.840.10008.1.2.1", "1.2.840.10008.1.2.2")
_COLOURS = {"MONOCHROME1": 1, "MONOCHROME2": 1, "RGB": 3, "YBR_FULL": 3, "YBR_FULL_422": 3, "YBR_ICT": 3}
_COLOURS["YBR_RCT"] = 3
CONTOURS = "1.2.840.10008.5.1.4.1.1.481.3"
_NO_IMAGES = tuple(
    f"1.2.840.10008.5.1.4.1.1.{kind}"
    for kind in (
        "481.",
        "88.",
        "11.",
        "9.",
        "104.",
        "66.1",
        "66.2",
        "66.3",
        "66.5",
        "66.6",
        "67",
    )
)
"""Radiotherapy, reports, presentations, waveforms, documents, registrations, fiducials, maps of values."""

_DOSE = "1.2.840.10008.5.1.4.1.1.481.2"
_BROKEN = (
    AttributeError, EOFError, LookupError, NotImplementedError, OSError, OverflowError, RuntimeError,
    TypeError, ValueError, struct.error, zlib.error,
)  # fmt: skip
_DECODERS = ("pydicom", "pylibjpeg", "pyjpegls")
_DAMAGED = "this DICOM file is truncated or damaged: {} cannot be read"
_T = TypeVar("_T")


@dataclass(frozen=True)
class DicomFile:
    """The header of one file, as far as pixels need it.

    Args:
        path: The file.
        sop_class: What kind of object it is.
        series: The series it belongs to.
        channels: Samples per pixel.
        bits: Bits that a stored value uses.
        signed: Whether it has a sign.
        inverted: Whether the smallest value is white (MONOCHROME1).
        lossy: Whether its values were compressed with loss.
        planes: Its planes in the order of the file.
        segmentation: ``BINARY``, ``LABELMAP`` …; empty for an image.
    """

    path: Path
    sop_class: str
    series: str
    channels: int
    bits: int
    signed: bool
    inverted: bool
    lossy: bool
    planes: tuple[Plane, ...]
    segmentation: str = ""

    @property
    def dose(self) -> bool:
        """Whether it is the dose of a radiotherapy plan."""
        return self.sop_class.startswith(_DOSE)

    @property
    def dtype(self) -> np.dtype:
        """Type of the stored values."""
        return np.dtype(
            f"{'i' if self.signed else 'u'}{1 if self.bits <= 8 else 2 if self.bits <= 16 else 4}"
        )


def read_headers(paths: Iterable[Path]) -> tuple[DicomFile, ...]:
    """The headers of those files that are images: reports, plans and presentation states are left out.

    Args:
        paths: DICOM files.

    Raises:
        DataError: A file is no DICOM file, is damaged or has pixels that cannot be used.
    """
    found: list[DicomFile] = []
    for path in paths:
        header, elements = _header(path)
        kind = read_value(path, "SOPClassUID", lambda header=header: str(header.SOPClassUID))
        if kind.startswith(_DOSE) or not kind.startswith(_NO_IMAGES):
            found.append(_described(path, header, elements))
    return tuple(found)


def names_patient(path: Path, text: str) -> bool:
    """Whether a text holds the patient's name or number as a file states them; both are forgotten at once.

    Args:
        path: A DICOM file.
        text: Such as the name of its folder.
    """
    with _quiet():
        try:
            header = _pydicom().dcmread(path, stop_before_pixels=True, specific_tags=list(_PATIENT))
            stated = " ".join(str(header.get(tag, "")) for tag in _PATIENT)
        except _BROKEN:
            return False
    words = re.split(r"[\s^=,\\]+", stated.lower())
    return any(len(word) > 2 and word in text.lower() for word in words)


def read_header(path: Path) -> DicomFile:
    """What a file says of its planes.

    Args:
        path: A DICOM file.

    Raises:
        DataError: The file is damaged, has no pixels, or pixels that cannot be used.
        MissingPackageError: pydicom is not installed.
    """
    return _described(path, *_header(path))


def _described(path: Path, header: Dataset, elements: Elements) -> DicomFile:
    kind = read_value(path, "SOPClassUID", lambda: str(header.SOPClassUID))
    if elements.pixel_bytes is None:
        raise DataError(
            "this DICOM file is truncated, or no image: it has no pixel data", cure=TRUNCATED, where=path
        )
    colour = read_value(path, "PhotometricInterpretation", lambda: str(header.PhotometricInterpretation))
    bits = read_value(path, "BitsAllocated", lambda: (int(header.BitsAllocated), int(header.BitsStored)))
    channels = read_value(path, "SamplesPerPixel", lambda: int(header.SamplesPerPixel))
    signed = read_value(path, "PixelRepresentation", lambda: int(header.PixelRepresentation)) == 1
    if _COLOURS.get(colour) != channels and kind != LABELMAP:
        raise DataError(
            f"pixels of the kind '{colour[:20]}' with {channels} samples cannot be used",
            cure="convert the file to MONOCHROME2 or RGB",
            where=path,
        )
    if (
        bits[0] not in (1, 8, 16, 32)
        or not 1 <= bits[1] <= bits[0]
        or (bits[0] == 1 and kind != SEGMENTATION)
    ):
        raise DataError(f"{bits[1]} bits in {bits[0]} cannot be used", cure="convert the file", where=path)
    if "ModalityLUTSequence" in header:
        raise DataError(
            "its values run through a table (Modality LUT) and are no numbers on one scale",
            cure="export the image with a rescale slope and intercept",
            where=path,
        )
    _check_frames(path, header, elements.syntax, elements.pixel_bytes)
    planes = read_value(path, "its planes", lambda: tuple(planes_of(path, header)))
    file = DicomFile(
        path=path,
        sop_class=kind,
        series=read_value(path, "SeriesInstanceUID", lambda: str(header.SeriesInstanceUID)),
        channels=channels,
        bits=bits[1],
        signed=signed,
        inverted=colour == "MONOCHROME1",
        lossy=str(header.get("LossyImageCompression", "")) == "01",
        planes=planes,
        segmentation=str(header.get("SegmentationType", "")) if kind in (SEGMENTATION, LABELMAP) else "",
    )
    _check_claim(file, bits[0], colour, elements)
    return file


def read_stored(file: DicomFile) -> np.ndarray:
    """The stored values of every plane.

    Args:
        file: Its header.

    Returns:
        ``(planes, C, rows, columns)``.

    Raises:
        DataError: The pixels cannot be decoded.
        MissingPackageError: Nothing that is installed decodes this compression.
    """
    pydicom = _pydicom()
    with _quiet():
        try:
            dataset = pydicom.dcmread(file.path, specific_tags=[*_TAGS, "PixelData"])
            _check_streams(file, dataset)
            stored = np.asarray(pydicom.pixels.pixel_array(dataset, **_decoding(file.path, dataset)))
            plane = file.planes[0]
            channels = (file.channels,) if file.channels > 1 else ()
            stored = stored.reshape(len(file.planes), plane.rows, plane.columns, *channels)
        except _BROKEN:
            raise DataError(
                "this DICOM file is truncated or damaged: its pixels cannot be decoded",
                cure=TRUNCATED,
                where=file.path,
            ) from None
    return np.moveaxis(stored, -1, 1) if channels else stored[:, None]


def _check_streams(file: DicomFile, dataset: Dataset) -> None:
    """Compare what each compressed frame says of its own size with the header."""
    if not dataset.file_meta.TransferSyntaxUID.is_encapsulated:
        return
    plane = file.planes[0]
    frames = _pydicom().encaps.generate_frames(dataset.PixelData, number_of_frames=len(file.planes))
    for frame in frames:
        check_stream(file.path, frame[:LOOKED_AT], pixels=plane.rows * plane.columns)


def _decoding(path: Path, dataset: Dataset) -> dict[str, str]:
    """The decoder for a compressed file.

    pydicom would try GDCM first, which ends the whole process on a damaged JPEG 2000 stream; it is left the
    kinds of JPEG that no other one decodes.
    """
    syntax = dataset.file_meta.TransferSyntaxUID
    if not syntax.is_encapsulated:
        return {}
    available = _pydicom().pixels.get_decoder(syntax).available_plugins
    if not available:
        raise MissingPackageError(
            f"{syntax.name} needs a decoder that is not installed", cure=INSTALL, where=path
        )
    first = next((name for name in _DECODERS if name in available), None)
    return {} if first is None else {"decoding_plugin": first}


def read_dataset(path: Path) -> Dataset:
    """The whole header with the patient's data, for an object that must refer to it; no pixels.

    Args:
        path: A DICOM file.

    Raises:
        DataError: The file is damaged.
    """
    walk_elements(path)
    with _quiet():
        try:
            return _pydicom().dcmread(path, stop_before_pixels=True)
        except _BROKEN:
            raise DataError(_DAMAGED.format("its header"), cure=TRUNCATED, where=path) from None


def read_tags(path: Path, names: Sequence[str]) -> Dataset:
    """Some elements of a file, whatever it holds.

    Args:
        path: A DICOM file.
        names: Their keywords.

    Raises:
        DataError: The file is damaged.
        MissingPackageError: pydicom is not installed.
    """
    return _header(path, names)[0]


def _pydicom() -> Any:  # noqa: ANN401 - a module
    try:
        import pydicom
        import pydicom.encaps
        import pydicom.pixels
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"reading DICOM needs the package '{missing.name}', which is not installed", cure=INSTALL
        ) from missing
    return pydicom


@contextmanager
def _quiet() -> Iterator[None]:
    """Without pydicom's warnings: they quote values, and a value may be a name."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _header(path: Path, names: Sequence[str] = _TAGS) -> tuple[Dataset, Elements]:
    elements = walk_elements(path)
    with _quiet():
        try:
            return _pydicom().dcmread(path, stop_before_pixels=True, specific_tags=list(names)), elements
        except _BROKEN:
            raise DataError(_DAMAGED.format("its header"), cure=TRUNCATED, where=path) from None


def read_value(path: Path, name: str, read: Callable[[], _T]) -> _T:
    """One value of a header; pydicom converts it when it is asked for.

    Args:
        path: The file, for the error.
        name: What is read, for the error.
        read: What takes it out of the header.

    Raises:
        DataError: It is missing or cannot be converted; the error does not quote it.
    """
    with _quiet():
        try:
            return read()
        except _BROKEN:
            raise DataError(_DAMAGED.format(name), cure=TRUNCATED, where=path) from None


def _check_frames(path: Path, header: Dataset, syntax: str, held: int) -> None:
    """Compare the number of frames with the bytes that are there, before anything is made for each of them.

    A stored frame has one bit at least; a compressed one is an item, whose head alone has eight bytes.
    """
    frames = read_value(path, "NumberOfFrames", lambda: int(header.get("NumberOfFrames") or 1))
    most = held * 8 if syntax in _NATIVE else held // 8
    if frames > most:
        raise DataError(
            f"this DICOM file is truncated: it claims {frames:,} frames and holds {most:,} at most",
            cure=TRUNCATED,
            where=path,
        )


def _check_claim(file: DicomFile, allocated: int, colour: str, elements: Elements) -> None:
    """Compare the size that the header claims with the bytes that are there, and with our limit."""
    plane = file.planes[0]
    pixels = plane.rows * plane.columns * len(file.planes)
    if pixels < 1:
        raise DataError(_DAMAGED.format("its size"), cure=TRUNCATED, where=file.path)
    refuse_claim(file.path, pixels * file.channels * max(1, allocated // 8))
    if elements.syntax in _NATIVE:
        samples = 2 if colour == "YBR_FULL_422" else file.channels
        refuse_claim(file.path, (pixels * samples * allocated + 7) // 8, held=elements.pixel_bytes)
