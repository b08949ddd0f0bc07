"""The table and the page: every figure with its column, dashes where there is none, nothing smuggled in."""

from __future__ import annotations

import re

from unetkit.records.benched import BenchResult, BenchRow, Machine, Timing
from unetkit.workflows.bench_page import HEAD, bench_page, machine_lines, table_rows

TIME = Timing(median=0.5, fastest=0.25, slowest=0.75, units=3)
ROW = BenchRow(
    model="<b>mine</b>", folder="m", runtime="onnx", precision="float32", device="cpu", parameters=5,
    network_mb=1.5, tile_size=(32, 48), batch_size=2, multiply_adds=10**9, tile_bytes=4 * 10**8, tiles=TIME,
    array=TIME, file=TIME, tiles_per_second=4.0, array_mpixels_per_second=5.5, file_mpixels_per_second=2.25,
    start_mb=30.0, loaded_mb=50.0, peak_mb=1234.5, device_mb=None, gflops=8.0, peak_share=0.4,
    roofline_gflops=10.0, roofline_share=0.8,
)  # fmt: skip
BYTES = ROW.model_copy(
    update={
        "model": "other", "runtime": "openvino", "precision": "int8", "array": None, "tile_bytes": None,
        "array_mpixels_per_second": None, "file_mpixels_per_second": 9.5, "peak_mb": 99.0,
        "peak_share": 1.25, "roofline_gflops": None, "roofline_share": None, "notes": ("why & how",),
    }
)  # fmt: skip
RESULT = BenchResult(
    image=(128, 256),
    channels=1,
    pixels="uint8",
    suffix=".png",
    seconds=5.0,
    processor="A processor",
    machines=(Machine(device="cpu", threads=2, gflops=20.0, gbytes_per_second=2.0),),
    rows=(ROW, BYTES),
)


def test_every_figure_has_its_column():
    first, second = (dict(zip(HEAD, row, strict=True)) for row in table_rows(RESULT))
    assert first == {
        "model": "<b>mine</b>",
        "runtime": "onnx",
        "precision": "float32",
        "tiles/s": "4",
        "array → mask, Mpixel/s": "5.5",
        "file → file, Mpixel/s": "2.25",
        "peak memory, MB": "1234",
        "GFLOP/s": "8",
        "of float32 peak": "40.0 %",
        "of roofline": "80.0 %",
    }
    assert second["array → mask, Mpixel/s"] == second["of roofline"] == "–"
    assert second["of float32 peak"] == "125.0 %"


def test_a_device_is_said_in_words():
    (line,) = machine_lines(RESULT)
    assert line == "cpu: float32 matrix product 20 GFLOP/s, copy 2 GB/s, 2 threads"
    other = RESULT.machines[0].model_copy(update={"device": "cuda:0", "threads": None})
    assert machine_lines(RESULT.model_copy(update={"machines": (other,)}))[0].endswith("copy 2 GB/s")


def test_a_page_has_table_bars_roofline_times_reasons_and_words():
    text = bench_page(RESULT)
    assert "&lt;b&gt;mine&lt;/b&gt;" in text
    assert "<b>mine</b>" not in text
    assert text.count("<rect") == 2 + 1 + 2 + 2  # of array to mask one is missing
    assert text.count('<polyline class="line"') == 1  # the roof
    assert text.count(">Roofline</h2>") == 1
    assert text.count("<circle") == 1  # the one that computes in float32
    assert "why &amp; how" in text
    assert "500.00" in text
    assert "2 tiles of 32 × 48" in text
    assert "128 × 256 pixels (1 × uint8, .png), A processor" in text
    assert "Fastest, file → file" in text
    assert re.search(r"9\.5 Mpixel/s.*?other \(openvino, int8\)", text, re.DOTALL)
    for word in ("Measured: ", "Derived: ", "seeded noise"):
        assert word in text


def test_without_a_float32_model_there_is_no_roofline():
    text = bench_page(RESULT.model_copy(update={"rows": (BYTES,)}))
    assert "operations per byte" not in text
    assert ">Roofline<" not in text
    assert text.count("<rect") == 3
