"""Small whole files of every format that is read, and of the annotations that are converted.

They come from the writers of other people (Pillow, tifffile, nibabel, pydicom, numpy, zarr) wherever there is
one, and from our own where a user gets such files from us.
"""

from __future__ import annotations

import gzip
import json
import zlib
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import nibabel as nib
import numpy as np
import tifffile
from PIL import Image

from unetkit.data.formats import format_of
from unetkit.records.case import Grid

ROWS, COLUMNS, SLICES = 24, 30, 5
PIXELS = np.random.default_rng(7).integers(0, 250, (SLICES, ROWS, COLUMNS))
"""Noise, so that another pixel is another value."""

LARGE = PIXELS.repeat(2, axis=1).repeat(2, axis=2)
"""What the encoder of JPEG 2000 takes."""

LABELS = (PIXELS // 60).astype(np.uint8)
GRID = Grid((2.5, 0.7, 0.5), (3.0, -4.0, 5.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))


@dataclass(frozen=True)
class Specimen:
    """A valid file, or a folder that is read as one.

    Args:
        name: Its own, and that of its folder.
        kind: The format that it counts for.
        opened: What a person names, inside the folder; empty for the folder itself.
        damaged: Files inside the folder that are damaged, one at a time.
        road: ``image``, ``label``, ``outlines``, or the kind of data set that it is converted as.
    """

    name: str
    kind: str
    opened: str
    damaged: tuple[str, ...]
    road: str = "image"


Made = Iterator[Specimen]


def make_all(root: Path) -> list[Specimen]:
    """Write every specimen into a folder of its own.

    Args:
        root: An empty folder.
    """
    makers: tuple[Callable[[Path], Made], ...] = (
        pictures, tiffs, volumes, blocks, arrays, series, zarrs, annotations, readings,
    )  # fmt: skip
    return [specimen for maker in makers for specimen in maker(root)]


def one(root: Path, name: str, kind: str, suffix: str, road: str = "image") -> tuple[Path, Specimen]:
    """Where a specimen of one file is to be written."""
    folder = root / name
    folder.mkdir()
    return folder / f"a{suffix}", Specimen(name, kind, f"a{suffix}", (f"a{suffix}",), road)


def pictures(root: Path) -> Made:
    """PNG, JPEG and BMP."""
    grey, colour = PIXELS[0].astype(np.uint8), np.moveaxis(PIXELS[:3], 0, -1).astype(np.uint8)
    wide = (PIXELS[0] * 200).astype(np.uint16)
    for name, array in (("grey", grey), ("colour", colour), ("wide", wide)):
        path, made = one(root, f"png-{name}", "PNG", ".png")
        Image.fromarray(array).save(path)
        yield made
    path, made = one(root, "png-palette", "PNG", ".png", "label")
    palette = Image.frombytes("P", (COLUMNS, ROWS), LABELS[0].tobytes())
    palette.putpalette(list(range(30)))
    palette.save(path, bits=8)
    yield made
    exif = Image.Exif()
    exif[0x0112] = 6
    for name, words in (("plain", {}), ("progressive", {"progressive": True}), ("turned", {"exif": exif})):
        path, made = one(root, f"jpeg-{name}", "JPEG", ".jpg")
        Image.fromarray(colour).save(path, quality=90, **words)
        yield made
    for name, array in (("grey", grey), ("colour", colour)):
        path, made = one(root, f"bmp-{name}", "BMP", ".bmp")
        Image.fromarray(array).save(path)
        yield made


def tiffs(root: Path) -> Made:
    """TIFF: strips and tiles, each compression, pages, copies of lower resolution."""
    grey, volume = PIXELS[0].astype(np.uint8), PIXELS.astype(np.uint16)
    colour = np.ascontiguousarray(np.moveaxis(PIXELS[:3], 0, -1).astype(np.uint8))
    large = np.kron(PIXELS[0], np.ones((3, 3))).astype(np.uint8)
    rows: tuple[tuple[str, np.ndarray, dict[str, object]], ...] = (
        ("strips", grey, {"rowsperstrip": 5}),
        ("deflate", colour, {"rowsperstrip": 5, "compression": "zlib", "photometric": "rgb"}),
        ("predictor", grey, {"tile": (16, 16), "compression": "zlib", "predictor": True}),
        ("lzw", grey, {"rowsperstrip": 6, "compression": "lzw"}),
        ("packbits", grey, {"rowsperstrip": 6, "compression": "packbits"}),
        ("zstd", volume, {"tile": (16, 16), "compression": "zstd", "bigtiff": True}),
        ("jpeg", colour, {"tile": (16, 16), "compression": "jpeg", "photometric": "rgb"}),
        ("imagej", volume, {"imagej": True, "metadata": {"axes": "ZYX", "unit": "mm", "spacing": 2.0}}),
        ("motorola", volume, {"byteorder": ">"}),
    )
    for name, array, words in rows:
        path, made = one(root, f"tiff-{name}", "TIFF", ".tif")
        tifffile.imwrite(path, array, **{"photometric": "minisblack", **words})
        yield made
    path, made = one(root, "tiff-pyramid", "TIFF", ".ome.tif")
    with tifffile.TiffWriter(path, bigtiff=True) as file:
        words = {"tile": (16, 16), "compression": "zlib", "photometric": "minisblack"}
        file.write(large, subifds=1, metadata={"axes": "YX"}, **words)
        file.write(large[::2, ::2], subfiletype=1, **words)
    yield made
    path, made = one(root, "tiff-pages", "TIFF", ".tif")
    with tifffile.TiffWriter(path) as file:  # a second picture of another size, which is not read
        file.write(grey, photometric="minisblack", metadata=None)
        file.write(large, photometric="minisblack", metadata=None)
    yield made
    path, made = one(root, "tiff-label", "TIFF", ".tif", "label")
    format_of(path).write(path, LABELS, GRID)
    yield made


def volumes(root: Path) -> Made:
    """NIfTI-1 and NIfTI-2, plain and gzipped."""
    affine = np.diag([0.5, 0.7, 2.5, 1.0])
    for name, suffix, kind, stored in (
        ("plain", ".nii", nib.Nifti1Image, PIXELS.astype(np.int16)),
        ("gzip", ".nii.gz", nib.Nifti1Image, (PIXELS / 7).astype(np.float32)),
        ("two", ".nii", nib.Nifti2Image, PIXELS.astype(np.uint8)),
    ):
        path, made = one(root, f"nifti-{name}", "NIfTI", suffix)
        nib.save(kind(stored.T, affine), path)
        yield made
    path, made = one(root, "nifti-label", "NIfTI", ".nii.gz", "label")
    format_of(path).write(path, LABELS, GRID)
    yield made


def blocks(root: Path) -> Made:
    """NRRD and MetaImage, in one file and with their data beside them."""
    data = PIXELS.astype("<i2").tobytes()
    sizes = f"{COLUMNS} {ROWS} {SLICES}"
    nrrd = (
        "NRRD0004\ntype: short\ndimension: 3\nspace: left-posterior-superior\n"
        f"sizes: {sizes}\nspace directions: (0.5,0,0) (0,0.7,0) (0,0,2.5)\nkinds: domain domain domain\n"
        "endian: little\nspace origin: (1,2,3)\n"
    )
    meta = (
        "ObjectType = Image\nNDims = 3\nBinaryData = True\nBinaryDataByteOrderMSB = False\n"
        f"Offset = 1 2 3\nElementSpacing = 0.5 0.7 2.5\nDimSize = {sizes}\nElementType = MET_SHORT\n"
    )
    squeezed, packed = gzip.compress(data, 6, mtime=0), zlib.compress(data)
    marked = f"CompressedData = True\nCompressedDataSize = {len(packed)}\n"
    for name, kind, suffix, head, body in (
        ("nrrd-raw", "NRRD", ".nrrd", f"{nrrd}encoding: raw\n\n", data),
        ("nrrd-gzip", "NRRD", ".nrrd", f"{nrrd}encoding: gzip\n\n", squeezed),
        ("mha-raw", "MetaImage", ".mha", f"{meta}ElementDataFile = LOCAL\n", data),
        ("mha-zlib", "MetaImage", ".mha", f"{meta}{marked}ElementDataFile = LOCAL\n", packed),
    ):
        path, made = one(root, name, kind, suffix)
        path.write_bytes(head.encode() + body)
        yield made
    for name, kind, suffix, head, beside, body in (
        ("nrrd-beside", "NRRD", ".nhdr", f"{nrrd}encoding: gzip\ndata file: a.raw.gz\n", ".raw.gz", squeezed),
        ("mhd-beside", "MetaImage", ".mhd", f"{meta}ElementDataFile = a.raw\n", ".raw", data),
    ):
        path, _ = one(root, name, kind, suffix)
        path.write_bytes(head.encode())
        (path.parent / f"a{beside}").write_bytes(body)
        yield Specimen(name, kind, f"a{suffix}", (f"a{suffix}", f"a{beside}"))


def arrays(root: Path) -> Made:
    """NumPy's own format in both orders."""
    for name, array in (("rows", PIXELS.astype(np.float32)), ("columns", np.asfortranarray(PIXELS[0]))):
        path, made = one(root, f"npy-{name}", "npy", ".npy")
        np.save(path, array)
        yield made


def planes(folder: Path, stored: np.ndarray, syntax: str = "") -> list[Path]:
    """A CT series of one file for each plane; ``syntax`` compresses them."""
    from pydicom.dataset import FileDataset, FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian

    folder.mkdir(parents=True)
    paths: list[Path] = []
    for number, plane in enumerate(stored):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = CTImageStorage, f"1.2.3.{number + 1}"
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        ds = FileDataset("x", {}, file_meta=meta, preamble=bytes(128))
        ds.SOPClassUID, ds.SOPInstanceUID = CTImageStorage, f"1.2.3.{number + 1}"
        ds.StudyInstanceUID, ds.SeriesInstanceUID, ds.FrameOfReferenceUID = "1.2.4", "1.2.5", "1.2.6"
        ds.Modality, ds.SeriesNumber, ds.InstanceNumber, ds.StudyID = "CT", 1, number + 1, "1"
        ds.PatientName, ds.PatientID, ds.PatientBirthDate, ds.PatientSex = "A", "LIDC-IDRI-0001", "", ""
        ds.StudyDate, ds.StudyTime, ds.AccessionNumber = "20200101", "120000", ""
        ds.ReferringPhysicianName = ""
        ds.ImagePositionPatient, ds.ImageOrientationPatient = [1, 2, 3 * number], [1, 0, 0, 0, 1, 0]
        ds.PixelSpacing, ds.SliceThickness = [0.7, 0.7], 3
        ds.RescaleSlope, ds.RescaleIntercept = 1, -1024
        ds.Rows, ds.Columns, ds.SamplesPerPixel = *plane.shape, 1
        ds.PhotometricInterpretation = "MONOCHROME2"
        ds.BitsAllocated, ds.BitsStored, ds.HighBit, ds.PixelRepresentation = 16, 16, 15, 0
        ds.PixelData = plane.astype("<u2").tobytes()
        ds["PixelData"].VR = "OW"
        if syntax:
            ds.compress(syntax)
        paths.append(folder / f"{number}.dcm")
        ds.save_as(paths[-1], enforce_file_format=True)
    return paths


def series(root: Path) -> Made:
    """DICOM series, plain and compressed; a segmentation and outlines on such a series."""
    from pydicom.uid import JPEG2000Lossless, JPEGLSLossless, RLELossless

    from unetkit.data.formats.dicom import write_labels

    files = tuple(f"{number}.dcm" for number in range(SLICES))
    for name, syntax in (("plain", ""), ("rle", RLELossless), ("2000", JPEG2000Lossless)):
        planes(root / f"dicom-{name}", LARGE, syntax)
        yield Specimen(f"dicom-{name}", "DICOM series", "", files)
    try:
        planes(root / "dicom-ls", LARGE, JPEGLSLossless)
        yield Specimen("dicom-ls", "DICOM series", "", files)
    except RuntimeError:  # nothing here writes it
        pass
    for name, kind, road in (("seg", "DICOM SEG", "label"), ("regions", "RTSTRUCT", "outlines")):
        paths = planes(root / f"dicom-{name}" / "ct", PIXELS)
        target = root / f"dicom-{name}" / "a.dcm"
        if name == "seg":
            names = ["tumour", "kidney", "vessel", "bone"]
            write_labels(target, LABELS, source=paths[0].parent, names=names)
        else:
            outlines(target, paths[0])
        yield Specimen(f"dicom-{name}", kind, "a.dcm", ("a.dcm",), road)


def outlines(path: Path, source: Path) -> None:
    """An RTSTRUCT of two organs and the body, and a last element behind them as planning systems write it."""
    import pydicom
    from pydicom.dataset import Dataset
    from pydicom.uid import RTStructureSetStorage

    one = pydicom.dcmread(source, stop_before_pixels=True)
    ds = Dataset()
    ds.file_meta = one.file_meta
    ds.SOPClassUID = ds.file_meta.MediaStorageSOPClassUID = RTStructureSetStorage
    ds.SOPInstanceUID = ds.file_meta.MediaStorageSOPInstanceUID = "1.2.9"
    ds.PatientName, ds.PatientID, ds.SeriesInstanceUID = "A", "1", "1.2.10"
    ds.StructureSetROISequence, ds.ROIContourSequence, ds.RTROIObservationsSequence = [], [], []
    boxes = (
        ("Heart", "ORGAN", 2, 2, 8, 8),
        ("Lung", "ORGAN", 10, 10, 20, 25),
        ("Body", "EXTERNAL", 1, 1, 22, 28),
    )
    for number, (name, kind, top, left, bottom, right) in enumerate(boxes, start=1):
        named, drawn, observed, contour = Dataset(), Dataset(), Dataset(), Dataset()
        named.ROINumber, named.ROIName = number, name
        corners = [(top, left), (top, right), (bottom, right), (bottom, left)]
        ring = [(1 + (c - 0.5) * 0.7, 2 + (r - 0.5) * 0.7, 3) for r, c in corners]
        contour.ContourGeometricType, contour.NumberOfContourPoints = "CLOSED_PLANAR", len(ring)
        contour.ContourData = [f"{value:.6g}" for point in ring for value in point]
        drawn.ReferencedROINumber, drawn.ContourSequence = number, [contour]
        observed.ReferencedROINumber, observed.RTROIInterpretedType = number, kind
        ds.StructureSetROISequence.append(named)
        ds.ROIContourSequence.append(drawn)
        ds.RTROIObservationsSequence.append(observed)
    ds.ApprovalStatus = "UNAPPROVED"
    ds.save_as(path, enforce_file_format=True)


def zarrs(root: Path) -> Made:
    """OME-Zarr as we write it, and plain arrays of both versions with each compressor."""
    import zarr
    from zarr.codecs import BloscCodec, GzipCodec

    target = root / "zarr-ome" / "a.zarr"
    target.parent.mkdir()
    format_of(target).write(target, LABELS, GRID)
    places = [(target, "label")]
    words = {"shape": PIXELS.shape, "chunks": (SLICES, 16, 16), "dtype": "uint16"}
    for name, more in (
        ("blosc", {"zarr_format": 3, "compressors": BloscCodec()}),
        ("gzip", {"zarr_format": 3, "compressors": GzipCodec()}),
        ("bare", {"zarr_format": 3, "compressors": None}),
        ("shards", {"zarr_format": 3, "shards": (SLICES, 32, 32)}),
        ("two", {"zarr_format": 2}),
    ):
        target = root / f"zarr-{name}" / "a.zarr"
        target.parent.mkdir()
        array = zarr.create_array(store=str(target), **words, **more)
        array[...] = PIXELS.astype(np.uint16)
        places.append((target, "image"))
    for target, road in places:
        folder = target.parent
        inside = sorted(path for path in target.rglob("*") if path.is_file() and path.name != ".zattrs")
        files = tuple(path.relative_to(folder).as_posix() for path in inside)
        yield Specimen(folder.name, "OME-Zarr" if road == "label" else "Zarr", "a.zarr", files, road)


def annotations(root: Path) -> Made:
    """COCO, LabelMe and CVAT: two pictures with two objects each."""
    square = [[2, 1], [5, 1], [5, 3], [2, 3]]
    flat = [number for point in square for number in point]
    coco = {
        "images": [{"id": n, "file_name": f"{n}.png", "height": ROWS, "width": COLUMNS} for n in (1, 2)],
        "annotations": [
            {"id": 2 * n + k, "image_id": n, "category_id": k, "segmentation": [[v + 9 * k for v in flat]]}
            for n in (1, 2)
            for k in (0, 1)
        ],
        "categories": [{"id": k, "name": name} for k, name in enumerate(("cat", "dog"))],
    }
    drawn = "".join(
        f'<image id="{n}" name="{n}.png" width="{COLUMNS}" height="{ROWS}">'
        '<polygon label="cat" points="2,1;5,1;5,3" z_order="1"/>'
        f'<mask label="dog" rle="1, 2, 2, 1" left="{7 + n}" top="4" width="3" height="2"/></image>'
        for n in (1, 2)
    )
    names = "".join(f"<label><name>{name}</name></label>" for name in ("cat", "dog"))
    cvat = f"<?xml version='1.0'?>\n<annotations><meta><task><labels>{names}</labels></task></meta>{drawn}"
    labelme = [
        {
            "version": "5.0",
            "flags": {},
            "shapes": [
                {"label": name, "points": [[x + 9 * k, y + n] for x, y in square], "shape_type": "polygon"}
                for k, name in enumerate(("cat", "dog"))
            ],
            "imagePath": f"{n}.png",
            "imageData": None,
            "imageHeight": ROWS,
            "imageWidth": COLUMNS,
        }
        for n in (1, 2)
    ]
    for name, kind, files in (
        ("coco", "COCO", {"a.json": json.dumps(coco, indent=1)}),
        ("labelme", "LabelMe", {f"{n}.json": json.dumps(labelme[n - 1], indent=1) for n in (1, 2)}),
        ("cvat", "CVAT", {"annotations.xml": f"{cvat}</annotations>\n"}),
    ):
        folder = root / name
        folder.mkdir()
        for file, text in files.items():
            (folder / file).write_text(text)
        for number in (1, 2):
            Image.fromarray(PIXELS[number].astype(np.uint8)).save(folder / f"{number}.png")
        yield Specimen(name, kind, "", tuple(files), name)


def readings(root: Path) -> Made:
    """LIDC-IDRI: a series and what four readers drew on it."""
    folder = root / "lidc"
    planes(folder / "ct", PIXELS)
    sessions = ""
    for reader in range(4):
        top, left = 5 + reader % 2, 6
        ring = [(top, c) for c in range(left, left + 7)] + [
            (top + 6, c) for c in range(left + 6, left - 1, -1)
        ]
        points = "".join(f"<edgeMap><xCoord>{c}</xCoord><yCoord>{r}</yCoord></edgeMap>" for r, c in ring)
        rois = "".join(
            f"<roi><imageZposition>{3 * z}</imageZposition><imageSOP_UID>1.2.3.{z + 1}</imageSOP_UID>"
            f"<inclusion>TRUE</inclusion>{points}</roi>"
            for z in (1, 2)
        )
        sessions += (
            "<readingSession><unblindedReadNodule><noduleID>1</noduleID><characteristics>"
            f"<malignancy>{reader + 1}</malignancy></characteristics>{rois}</unblindedReadNodule>"
            "</readingSession>\n"
        )
    (folder / "a.xml").write_text(
        '<?xml version="1.0" encoding="UTF-8"?>\n<LidcReadMessage uid="1" xmlns="http://www.nih.gov">'
        "<ResponseHeader><SeriesInstanceUid>1.2.5</SeriesInstanceUid></ResponseHeader>\n"
        f"{sessions}</LidcReadMessage>\n"
    )
    yield Specimen("lidc", "LIDC XML", "", ("a.xml",), "lidc")
