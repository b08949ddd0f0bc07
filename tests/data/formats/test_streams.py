from __future__ import annotations

import io
import struct
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from unetkit.data.formats.streams import check_stream, stream_size
from unetkit.errors import DataError

SHAPE = (24, 37)


def stream(**words):
    out = io.BytesIO()
    Image.fromarray(np.zeros(SHAPE, np.uint8)).save(out, **words)
    return out.getvalue()


@pytest.mark.parametrize(
    "words",
    [
        {"format": "JPEG"},
        {"format": "JPEG", "progressive": True},
        {"format": "JPEG", "exif": b"Exif\0\0" + bytes(500)},
        {"format": "JPEG2000", "no_jp2": True},
        {"format": "JPEG2000"},
    ],
)
def test_the_size_is_what_was_written(words):
    data = stream(**words)
    assert stream_size(data) == SHAPE
    for length in range(len(data)):
        assert stream_size(data[:length]) in (None, SHAPE)


def test_a_lossless_stream_states_its_size_too():
    codecs = pytest.importorskip("imagecodecs", reason="imagecodecs is not installed")
    assert stream_size(codecs.jpegls_encode(np.zeros(SHAPE, np.uint8))) == SHAPE


def test_other_bytes_state_nothing():
    for data in (b"", b"\xff\xd8", b"\xff\xd8\xff\xff\xff\xff", b"\x89PNG", b"\xff\xd8\xff\xd9" + bytes(20)):
        assert stream_size(data) is None


def test_a_stream_that_claims_far_more_is_refused():
    data = stream(format="JPEG")
    at = data.index(b"\xff\xc0") + 5
    check_stream(Path("a.tif"), data, pixels=1)  # padded a little: no matter
    bomb = data[:at] + struct.pack(">HH", 65000, 64000) + data[at + 4 :]
    with pytest.raises(
        DataError, match=r"a stream in it claims 65,000 × 64,000 pixels, its header 888"
    ) as no:
        check_stream(Path("a.tif"), bomb, pixels=888)
    assert no.value.where == "a.tif"
    check_stream(Path("a.tif"), bomb, pixels=65000 * 64000)
