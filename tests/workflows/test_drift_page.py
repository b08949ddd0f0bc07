"""The page of a watch: verdict, curves, images, and nothing that a name could smuggle in."""

from __future__ import annotations

import base64
import io
import re
from pathlib import Path

import numpy as np
from PIL import Image

from unetkit.records.drift import DriftTest, MonitorResult, ReferenceFile, UnusualImage
from unetkit.workflows.drift_page import drift_page
from unetkit.workflows.observing import Observation


def test_a_page_shows_the_verdict_the_curves_and_the_images(tmp_path):
    Image.fromarray(np.arange(64, dtype=np.uint8).reshape(8, 8)).save(tmp_path / "a.png")
    reference = ReferenceFile(
        model_sha256="",
        source="good ones",
        ids=("r1", "r2"),
        names=("texture.noise.x",),
        values=((1.0,), (2.0,)),
    )
    test = DriftTest(
        name="texture.noise.x", kind="input", images=2, reference=1.5, low=1.0, high=2.0, batch=7.0,
        p_value=1e-6, adjusted=1e-5, drifted=True,
    )  # fmt: skip
    result = MonitorResult(
        model=Path("model"),
        source=tmp_path,
        images=2,
        reference="good ones",
        reference_images=2,
        alarm=0.01,
        tests=(test,),
        drifted=("input",),
        unusual=(
            UnusualImage(
                id="<b>a</b>", path=tmp_path / "a.png", reasons=("texture.noise.x 7",), distance=3.0
            ),
            UnusualImage(id="gone", path=tmp_path / "gone.png", reasons=("texture.noise.x 6",), distance=2.0),
        ),
        notes=("a note",),
    )
    seen = [Observation(id, {"texture.noise.x": value}, None) for id, value in (("a", 7.0), ("b", 6.0))]
    text = drift_page(result, reference, seen)
    assert "&lt;b&gt;a&lt;/b&gt;" in text
    assert "<b>a</b>" not in text
    assert text.count("data:image/png;base64,") == 1  # the file that is gone is named all the same
    assert "gone" in text
    assert text.count("<polyline") == 2  # reference and new
    assert "declared where one is 0.01 or less" in text
    assert "A note." in text
    still = drift_page(result.model_copy(update={"tests": (), "unusual": (), "drifted": ()}), reference, seen)
    assert "no drift found" in still
    assert "No image lies outside" in still
    few = result.model_copy(update={"drifted": (), "needed": 10})
    text = drift_page(few, reference, seen)
    assert "too few images to tell: 10 are needed" in text
    assert "What differs most, without being declared drift" in text
    assert "What has drifted" not in text


def test_an_unusual_image_is_shown_whole_and_of_a_volume_the_middle(tmp_path):
    """Pictures grey and in colour, one larger than shown, and a volume of which one slice is bright."""
    random = np.random.default_rng(0)
    grey = random.integers(0, 255, (200, 300), dtype=np.uint8)
    Image.fromarray(grey).save(tmp_path / "grey.png")
    Image.fromarray(random.integers(0, 255, (700, 400, 3), dtype=np.uint8)).save(tmp_path / "colour.png")
    volume = np.zeros((5, 170, 160), np.uint8)
    volume[2, 40:60, 50:70] = 200
    np.save(tmp_path / "volume.npy", volume)
    names = ("grey.png", "colour.png", "volume.npy")
    odd = tuple(UnusualImage(id=n, path=tmp_path / n, reasons=("x 1",), distance=1.0) for n in names)
    result = MonitorResult(
        model=Path("m"),
        source=tmp_path,
        images=3,
        reference="r",
        reference_images=2,
        alarm=0.1,
        unusual=odd,
    )
    reference = ReferenceFile(model_sha256="", source="r", ids=("a",), names=(), values=((),))
    page = drift_page(result, reference, [])
    packed = re.findall(r"data:image/png;base64,([A-Za-z0-9+/=]+)", page)
    shown = [np.asarray(Image.open(io.BytesIO(base64.b64decode(each)))) for each in packed]
    assert [each.shape for each in shown] == [(200, 300), (234, 134, 3), (170, 160)]
    assert np.corrcoef(shown[0].ravel(), grey.ravel())[0, 1] > 0.99
    np.testing.assert_array_equal(shown[2] > 100, volume[2] > 100)
