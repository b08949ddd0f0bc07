"""Small files that claim, or unpack to, far more than a machine has."""

from __future__ import annotations

import json
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path

from specimens import COLUMNS, ROWS, Specimen

UNPACKED = 2**29
"""Bytes that the true bombs unpack to."""


@cache
def zeros(wbits: int = 15) -> bytes:
    """So many zero bytes, packed: as zlib does (15), or as gzip (31)."""
    packer, piece = zlib.compressobj(6, wbits=wbits), bytes(2**20)
    return b"".join([*(packer.compress(piece) for _ in range(UNPACKED // len(piece))), packer.flush()])


def make_bombs(root: Path) -> list[Specimen]:
    """Write every bomb into a folder of its own, most of them beside the whole specimen they are made of.

    Args:
        root: The folder of the specimens.
    """
    makers: tuple[Callable[[Path], Iterator[Specimen]], ...] = (
        pictures,
        tiffs,
        volumes,
        scans,
        chunks,
        words,
    )
    return [bomb for maker in makers for bomb in maker(root)]


def changed(root: Path, source: str, name: str, change: Callable[[bytes], bytes], file: str) -> None:
    """A copy of a specimen of which one file is changed."""
    shutil.copytree(root / source, root / name)
    path = root / name / file
    path.write_bytes(change(path.read_bytes()))


def patched(at: int, data: bytes) -> Callable[[bytes], bytes]:
    """What writes over some bytes."""
    return lambda whole: whole[:at] + data + whole[at + len(data) :]


def swapped(old: str, new: str) -> Callable[[bytes], bytes]:
    """What replaces a word, which must be there."""

    def change(whole: bytes) -> bytes:
        assert old.encode() in whole, old
        return whole.replace(old.encode(), new.encode(), 1)

    return change


def alone(root: Path, name: str, kind: str, suffix: str, data: bytes, road: str = "image") -> Specimen:
    """A bomb of one file."""
    (root / name).mkdir()
    (root / name / f"a{suffix}").write_bytes(data)
    return Specimen(name, kind, f"a{suffix}", (f"a{suffix}",), road)


def png(width: int, height: int, data: bytes, *more: tuple[bytes, bytes]) -> bytes:
    """A grey PNG."""

    def chunk(name: bytes, body: bytes) -> bytes:
        return struct.pack(">I", len(body)) + name + body + struct.pack(">I", zlib.crc32(name + body))

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 0, 0, 0, 0))
    rest = b"".join(chunk(*each) for each in more)
    return b"\x89PNG\r\n\x1a\n" + head + rest + chunk(b"IDAT", data) + chunk(b"IEND", b"")


def pictures(root: Path) -> Iterator[Specimen]:
    """PNG, JPEG and BMP."""
    yield alone(root, "bomb-png-claim", "PNG", ".png", png(60000, 60000, zlib.compress(bytes(1000))))
    yield alone(root, "bomb-png-long", "PNG", ".png", png(100_000, 100_000, bytes(10_000_000)))
    yield alone(root, "bomb-png-more", "PNG", ".png", png(9, 9, zeros()))
    text = (b"zTXt", b"a\0\0" + zeros())
    yield alone(root, "bomb-png-text", "PNG", ".png", png(9, 9, zlib.compress(bytes(90)), text))
    jpeg = (root / "jpeg-plain" / "a.jpg").read_bytes()
    at = jpeg.index(b"\xff\xc0") + 5
    yield alone(root, "bomb-jpeg", "JPEG", ".jpg", patched(at, struct.pack(">HH", 65500, 65500))(jpeg))
    bmp = (root / "bmp-colour" / "a.bmp").read_bytes()
    size = struct.pack("<ii", 50_000, 50_000)
    yield alone(root, "bomb-bmp", "BMP", ".bmp", patched(18, size)(bmp))
    grey = (root / "bmp-grey" / "a.bmp").read_bytes()[:1078] + b"\xff\x01" * 100 + b"\0\1"
    packed = patched(18, size + struct.pack("<HHI", 1, 8, 1))(grey)
    packed = patched(2, struct.pack("<I", len(packed)))(packed)
    yield alone(root, "bomb-bmp-runs", "BMP", ".bmp", packed)


def tiffs(root: Path) -> Iterator[Specimen]:
    """TIFF: claims of each compression, and a strip that holds more than its share."""
    import tifffile

    for name in ("strips", "deflate", "lzw", "packbits", "jpeg", "zstd"):
        path = root / f"tiff-{name}" / "a.tif"
        with tifffile.TiffFile(path) as file:
            places = [
                (file.pages.first.tags[code].valueoffset, file.pages.first.tags[code].dtype)
                for code in (256, 257)
            ]
        data = path.read_bytes()
        for at, kind in places:
            layout, value = {3: ("<H", 65000), 4: ("<I", 90_000)}[int(kind)]
            data = patched(at, struct.pack(layout, value))(data)
        yield alone(root, f"bomb-tiff-{name}", "TIFF", ".tif", data)
    path = root / "tiff-deflate" / "a.tif"
    with tifffile.TiffFile(path) as file:
        offsets, counts = (file.pages.first.tags[code] for code in (273, 279))
        kinds = [{3: "<H", 4: "<I"}[int(tag.dtype)] for tag in (offsets, counts)]
        places = [offsets.valueoffset, counts.valueoffset]
    data, strip = path.read_bytes(), zeros()
    if kinds[1] == "<H":
        strip = strip[:65000]
    for at, kind, value in zip(places, kinds, (len(data), len(strip)), strict=True):
        data = patched(at, struct.pack(kind, value))(data)
    yield alone(root, "bomb-tiff-strip", "TIFF", ".tif", data + strip)
    tile = (root / "tiff-jpeg" / "a.tif").read_bytes()
    at = tile.index(b"\xff\xc0") + 5
    claim = patched(at, struct.pack(">HH", 65_000, 65_000))(tile)
    yield alone(root, "bomb-tiff-stream", "TIFF", ".tif", claim)


def volumes(root: Path) -> Iterator[Specimen]:
    """NIfTI, NRRD, MetaImage and npy."""
    import gzip

    dims = struct.pack("<8h", 3, 32000, 32000, 32000, 1, 1, 1, 1)
    plain = (root / "nifti-plain" / "a.nii").read_bytes()
    yield alone(root, "bomb-nifti", "NIfTI", ".nii", patched(40, dims)(plain))
    yield alone(root, "bomb-nifti-gzip", "NIfTI", ".nii.gz", gzip.compress(patched(40, dims)(plain)))
    more = gzip.compress(plain) + zeros(31)
    yield alone(root, "bomb-nifti-more", "NIfTI", ".nii.gz", more)
    for name, kind, suffix in (
        ("nrrd-raw", "NRRD", ".nrrd"), ("nrrd-gzip", "NRRD", ".nrrd"),
        ("mha-raw", "MetaImage", ".mha"), ("mha-zlib", "MetaImage", ".mha"),
    ):  # fmt: skip
        old = f"{COLUMNS} {ROWS} 5"
        data = swapped(old, "60000 60000 60000")((root / name / f"a{suffix}").read_bytes())
        yield alone(root, f"bomb-{name}", kind, suffix, data)
    head = (root / "nrrd-gzip" / "a.nrrd").read_bytes().partition(b"\n\n")[0] + b"\n\n"
    yield alone(root, "bomb-nrrd-more", "NRRD", ".nrrd", head + zeros(31))
    head = (root / "mha-zlib" / "a.mha").read_bytes().partition(b"LOCAL\n")[0] + b"LOCAL\n"
    yield alone(root, "bomb-mha-more", "MetaImage", ".mha", head + zeros())
    rows = (root / "npy-rows" / "a.npy").read_bytes()
    claim = swapped(f"(5, {ROWS}, {COLUMNS}), }}  ", "(50000, 90000, 9)}")
    yield alone(root, "bomb-npy", "npy", ".npy", claim(rows))
    for name, text in (("signs", "-" * 9000), ("brackets", "(" * 9000), ("length", "")):
        length = len(text) or 2**32 - 1
        data = b"\x93NUMPY\x02\x00" + struct.pack("<I", length) + text.encode()
        yield alone(root, f"bomb-npy-{name}", "npy", ".npy", data)


def scans(root: Path) -> Iterator[Specimen]:
    """DICOM: claims of size and frames, in the header and inside a compressed frame."""
    files = ("0.dcm",)
    for name, tag, value in (
        ("rows", b"\x28\x00\x10\x00US\x02\x00", 65535),
        ("columns", b"\x28\x00\x11\x00US\x02\x00", 65535),
    ):

        def change(whole: bytes, tag: bytes = tag, value: int = value) -> bytes:
            return patched(whole.index(tag) + len(tag), struct.pack("<H", value))(whole)

        for source in ("plain", "rle", "2000"):
            bomb = f"bomb-dicom-{source}-{name}"
            changed(root, f"dicom-{source}", bomb, change, files[0])
            yield Specimen(bomb, "DICOM series", files[0], files)

    def frames(whole: bytes) -> bytes:
        at = whole.index(b"\x28\x00\x10\x00US")
        return whole[:at] + b"\x28\x00\x08\x00IS\x08\x0099999999" + whole[at:]

    for source in ("plain", "rle", "2000"):
        changed(root, f"dicom-{source}", f"bomb-dicom-{source}-frames", frames, files[0])
        yield Specimen(f"bomb-dicom-{source}-frames", "DICOM series", files[0], files)

    def inside(whole: bytes) -> bytes:
        at = whole.index(b"\xff\x4f\xff\x51") + 8
        size = struct.pack(">IIIIIIII", 60000, 60000, 0, 0, 60000, 60000, 0, 0)
        return patched(at, size)(whole)

    changed(root, "dicom-2000", "bomb-dicom-stream", inside, files[0])
    yield Specimen("bomb-dicom-stream", "DICOM series", files[0], files)
    deep = (root / "dicom-plain" / "0.dcm").read_bytes()
    at = deep.index(b"\x28\x00\x02\x00US")
    sequence = b"\x09\x00\x10\x10SQ\0\0\xff\xff\xff\xff\xfe\xff\x00\xe0\xff\xff\xff\xff"
    yield alone(root, "bomb-dicom-deep", "DICOM series", ".dcm", deep[:at] + sequence * 20_000 + deep[at:])


def chunks(root: Path) -> Iterator[Specimen]:
    """Zarr: claims of its metadata, and of what is packed into a chunk."""

    def shape(whole: bytes) -> bytes:
        facts = json.loads(whole)
        facts["shape"] = [90_000, 90_000, 90_000]
        return json.dumps(facts).encode()

    def chunk(whole: bytes) -> bytes:
        facts = json.loads(whole)
        facts["chunk_grid"]["configuration"]["chunk_shape"] = [90_000, 90_000, 90_000]
        return json.dumps(facts).encode()

    deep = lambda whole: b"[" * 100_000  # noqa: E731
    frame = b"\x28\xb5\x2f\xfd\xe0" + struct.pack("<Q", 2**36) + b"\x01\0\0"
    blosc = lambda whole: patched(4, struct.pack("<i", 2**31 - 17))(whole)  # noqa: E731
    packed = zeros(31)
    for name, source, file, change in (
        ("shape", "blosc", "zarr.json", shape),
        ("chunk", "blosc", "zarr.json", chunk),
        ("json", "blosc", "zarr.json", deep),
        ("frame", "ome", "0/c/0/0/0", lambda whole: frame),
        ("blosc", "blosc", "c/0/0/0", blosc),
        ("gzip", "gzip", "c/0/0/0", lambda whole: packed),
        ("zstd", "two", "0.0.0", lambda whole: frame),
    ):
        changed(root, f"zarr-{source}", f"bomb-zarr-{name}", change, f"a.zarr/{file}")
        kind, road = ("OME-Zarr", "label") if source == "ome" else ("Zarr", "image")
        yield Specimen(f"bomb-zarr-{name}", kind, "a.zarr", (f"a.zarr/{file}",), road)


def words(root: Path) -> Iterator[Specimen]:
    """Annotations: nested without end, entities that unfold, masks larger than any image."""
    entities = "".join(f'<!ENTITY e{n + 1} "{f"&e{n};" * 10}">' for n in range(9))
    document = f'<?xml version="1.0"?><!DOCTYPE a [<!ENTITY e0 "aaaaaaaaaa">{entities}]>'
    for source, file, kind in (("cvat", "annotations.xml", "CVAT"), ("lidc", "a.xml", "LIDC XML")):
        root_tag = "annotations" if source == "cvat" else "LidcReadMessage"
        for name, change in (
            ("entities", lambda whole, tag=root_tag: f"{document}<{tag}>&e9;</{tag}>".encode()),
            ("deep", lambda whole, tag=root_tag: f"<{tag}>".encode() + b"<a>" * 100_000),
        ):
            changed(root, source, f"bomb-{source}-{name}", change, file)
            yield Specimen(f"bomb-{source}-{name}", kind, "", (file,), source)
    large = swapped(f'width="{COLUMNS}" height="{ROWS}"', 'width="90000" height="90000"')
    changed(root, "cvat", "bomb-cvat-size", large, "annotations.xml")
    yield Specimen("bomb-cvat-size", "CVAT", "", ("annotations.xml",), "cvat")
    for source, file, kind in (("coco", "a.json", "COCO"), ("labelme", "1.json", "LabelMe")):
        nested = lambda whole: whole[:-1].rstrip(b"}") + b',"x":' + b"[" * 100_000  # noqa: E731
        changed(root, source, f"bomb-{source}-deep", nested, file)
        yield Specimen(f"bomb-{source}-deep", kind, "", (file,), source)

    def runs(whole: bytes) -> bytes:
        facts = json.loads(whole)
        facts["images"][0] |= {"height": 90_000, "width": 90_000}
        mask = {"size": [90_000, 90_000], "counts": [0, 90_000 * 90_000]}
        facts["annotations"][0]["segmentation"] = mask
        return json.dumps(facts).encode()

    changed(root, "coco", "bomb-coco-runs", runs, "a.json")
    yield Specimen("bomb-coco-runs", "COCO", "", ("a.json",), "coco")
