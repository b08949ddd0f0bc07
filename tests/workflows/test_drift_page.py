"""The page of a watch: verdict, curves, images, and nothing that a name could smuggle in."""

from __future__ import annotations

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
    assert "a note." in text
    still = drift_page(result.model_copy(update={"tests": (), "unusual": (), "drifted": ()}), reference, seen)
    assert "no drift found" in still
    assert "No image lies outside" in still
