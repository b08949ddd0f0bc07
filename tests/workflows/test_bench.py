"""Models timed in turn: who is asked what when, what follows from the times, and a real run end to end."""

from __future__ import annotations

import math
from pathlib import Path

import pytest

from unetkit.errors import UsageError
from unetkit.records.benched import BenchResult
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows import bench as benching
from unetkit.workflows import bench_worker
from unetkit.workflows.bench import bench

PLAN = Plan.model_validate(EXAMPLE)
FACTS = {
    "folder": "m",
    "runtime": "onnx",
    "precision": "float32",
    "device": "cpu",
    "parameters": 10**7,
    "network_mb": 40.0,
    "tile_size": (32, 32),
    "batch_size": 2,
    "multiply_adds": 10**9,
    "elements": 45 * 10**6,
    "start_mb": 30.0,
    "loaded_mb": 50.0,
    "peak_mb": 90.0,
    "device_mb": None,
    "in_memory": True,
    "notes": [],
}
SPENT = {"tiles": 0.5, "array": 0.02, "file": 0.05, "multiply": 0.1, "copy": 0.5}


class Asked:
    """A process that takes as long as it is told."""

    log: list[tuple[str, str]]
    facts: dict[str, object]

    def __init__(self, name, *, alike=False):
        self.name, self.alike = name, alike

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.log.append((self.name, "closed"))

    def ask(self, do, **words):
        self.log.append((self.name, do))
        if "roofline" in words:
            assert self.alike
            return {"threads": 2, "operations": 2 * 10**9, "moved_bytes": 10**9}
        return dict(self.facts)

    def turn(self, do, seconds):
        self.log.append((self.name, do))
        return [SPENT[do]]


@pytest.fixture
def asked(monkeypatch):
    Asked.log, Asked.facts = [], dict(FACTS)
    monkeypatch.setattr(benching, "Worker", Asked)
    return Asked


def test_all_load_alone_and_are_then_asked_in_turn_with_the_machines_best(finished, exported, asked):
    bench([finished, exported], shape=(40, 40), seconds=0)
    one, other, best = str(finished), str(exported), "the best of cpu"
    assert asked.log == [
        (one, "start"), (one, "first"), (other, "start"), (other, "first"), (best, "start"),
        *[(one, "tiles"), (other, "tiles"), (best, "multiply"), (best, "copy")] * 3,
        *[(one, "array"), (other, "array")] * 3,
        *[(one, "file"), (other, "file")] * 3,
        (best, "closed"), (other, "closed"), (one, "closed"),
    ]  # fmt: skip


def test_what_follows_from_the_times_is_worked_by_hand(finished, asked):
    result = bench(finished, shape=(200, 500), seconds=0)
    (machine,), (row,) = result.machines, result.rows
    assert (machine.device, machine.threads) == ("cpu", 2)
    assert machine.gflops == pytest.approx(20)  # 2e9 operations in 0.1 s
    assert machine.gbytes_per_second == pytest.approx(2)  # 1e9 bytes in 0.5 s
    assert row.tiles_per_second == pytest.approx(4)  # two tiles in 0.5 s
    assert row.array_mpixels_per_second == pytest.approx(5)  # 0.1 Mpixel in 0.02 s
    assert row.file_mpixels_per_second == pytest.approx(2)
    assert row.gflops == pytest.approx(8)  # 2 · 1e9 · 4
    assert row.peak_share == pytest.approx(0.4)
    assert row.tile_bytes == 4 * 10**8  # 4 · (2 · 45e6 + 1e7)
    assert row.roofline_gflops == pytest.approx(10)  # 2e9 / 4e8 operations per byte, times 2 GB/s
    assert row.roofline_share == pytest.approx(0.8)
    assert (row.tiles.median, row.tiles.fastest, row.tiles.slowest, row.tiles.units) == (0.5, 0.5, 0.5, 3)
    assert (row.start_mb, row.loaded_mb, row.peak_mb, row.notes) == (30, 50, 90, ())


def test_the_roof_is_no_higher_than_arithmetic_allows(finished, asked):
    asked.facts["elements"] = 10**6
    (row,) = bench(finished, shape=(40, 40), seconds=0).rows
    assert row.roofline_gflops == pytest.approx(20)
    assert row.roofline_share == row.peak_share


@pytest.mark.parametrize("precision", ["int8", "bfloat16"])
def test_other_precisions_have_the_float32_peak_and_no_roofline(precision, finished, asked):
    asked.facts["precision"] = precision
    (row,) = bench(finished, shape=(40, 40), seconds=0).rows
    assert row.peak_share == pytest.approx(0.4)
    assert (row.tile_bytes, row.roofline_gflops, row.roofline_share) == (None, None, None)


def test_what_is_missing_is_a_dash_with_its_reason(finished, asked):
    asked.facts |= {"multiply_adds": None, "elements": None, "in_memory": False, "notes": ["smaller batches"]}
    (row,) = bench(finished, shape=(40, 40), seconds=0).rows
    assert (row.array, row.array_mpixels_per_second, row.gflops, row.peak_share) == (None,) * 4
    assert row.notes == (
        "smaller batches",
        "array to mask: not measured, 'predict' leaves so large an image in its file",
        "multiply-adds: not counted when this was exported; export it anew to know its share",
    )
    assert not [did for _, did in asked.log if did == "array"]


def test_every_device_has_a_best_of_its_own(finished, exported, asked, monkeypatch):
    first = asked.ask

    def ask(self, do, **words):
        return first(self, do, **words) | ({"device": "cuda:0"} if self.name == str(exported) else {})

    monkeypatch.setattr(asked, "ask", ask)
    result = bench([finished, exported], shape=(40, 40), seconds=0)
    assert [machine.device for machine in result.machines] == ["cpu", "cuda:0"]
    assert [row.device for row in result.rows] == ["cpu", "cuda:0"]


SMALL = "from unetkit.runtimes import roofline; roofline._EDGE, roofline._COPIED = 512, 2**22; "
"""What shows the machine's best takes seconds at its own size."""


def test_a_real_run_measures_both_and_writes_a_page(finished, exported, tmp_path, monkeypatch):
    monkeypatch.setattr(bench_worker, "_CODE", SMALL + bench_worker._CODE)
    out = tmp_path / "out"
    result = bench([finished, exported], shape=(40, 56), seconds=0, out=out)
    assert [row.runtime for row in result.rows] == ["pytorch", "onnx"]
    assert [Path(row.model) for row in result.rows] == [finished, exported]
    trained, portable = result.rows
    assert trained.multiply_adds == portable.multiply_adds
    assert trained.parameters == portable.parameters
    for row in result.rows:
        assert row.notes == ()
        assert 0 < row.loaded_mb <= row.peak_mb
        assert row.array is not None
        for timing in (row.tiles, row.array, row.file):
            assert 0 < timing.fastest <= timing.median <= timing.slowest
            assert timing.units == 3
        assert row.gflops == pytest.approx(2e-9 * (row.multiply_adds or 0) * row.tiles_per_second)
        assert row.peak_share is not None
        assert 0 < row.peak_share < 1
    assert trained.loaded_mb > portable.loaded_mb + 50  # torch, which the other never loads
    assert (result.image, result.channels, result.pixels, result.suffix) == ((40, 56), 1, "uint8", ".png")
    assert BenchResult.from_json((out / "bench.json").read_bytes(), where=out) == result
    assert str(exported) in (out / "bench.html").read_text()
    assert sorted(path.name for path in out.iterdir()) == ["bench.html", "bench.json"]


def test_a_dry_run_starts_nothing(finished, exported, asked, tmp_path):
    out = tmp_path / "out"
    result = bench([finished, exported], out=out, dry_run=True)
    assert result.image == (128, 128)  # four tiles a side
    assert result.planned == (
        f"time {finished} (pytorch) on 128 × 128 pixels, in array order",
        f"time {exported} (onnx) on 128 × 128 pixels, in array order",
        f"write {out / 'bench.json'}",
        f"write {out / 'bench.html'}",
    )
    assert asked.log == []
    assert not out.exists()


def with_data(plan, **changes):
    return plan.model_copy(update={"data": plan.data.model_copy(update=changes)})


def test_the_image_is_some_tiles_wide_for_the_model_with_the_largest():
    wide = PLAN.with_values({"inference.tile_size": "[16,64]"})
    assert benching._default_shape([PLAN, wide]) == (128, 256)
    volume = with_data(PLAN.with_values({"inference.tile_size": "[8,16,24]"}), rank=3)
    assert benching._default_shape([volume]) == (16, 32, 48)
    assert benching._default_shape([with_data(PLAN, rank=3, slice_axis=1)]) == (64, 16, 64)


@pytest.mark.parametrize(
    ("changes", "got"),
    [
        ({"rank": 3}, r"3 axes, 1 channel of uint8"),
        ({"channels": ("a", "b")}, r"2 axes, 2 channels of uint8"),
        ({"pixels": "uint16"}, r"2 axes, 1 channel of uint16"),
    ],
)
def test_models_of_other_images_are_not_compared(changes, got):
    with pytest.raises(UsageError, match=rf"got 2 axes, 1 channel of uint8 \(a\) and {got} \(b\)") as no:
        benching._refuse_unlike(["a", "b"], [PLAN, with_data(PLAN, **changes)])
    assert no.value.cure == "bench them one by one"


@pytest.mark.parametrize("shape", [(0, 8), (8, -1), (8,), (8, 8, 8)])
def test_an_image_of_no_pixels_or_of_other_axes_is_refused(shape, finished, asked):
    with pytest.raises(UsageError, match="expected an image of 2 axes with 1 pixel or more on each") as no:
        bench(finished, shape=shape)
    assert "write --image WIDTHxHEIGHT, such as 4096x4096" in no.value.cure
    assert asked.log == []
    with pytest.raises(UsageError, match=r"of 3 axes .* got \[8, 8\]") as no:
        benching._refuse_size((8, 8), 3)
    assert "DEPTHxHEIGHTxWIDTH" in no.value.cure


@pytest.mark.parametrize("seconds", [-1.0, math.nan, math.inf])
def test_a_time_that_is_none_is_refused(seconds, finished):
    with pytest.raises(UsageError, match="expected seconds of 0 or more, got"):
        bench(finished, seconds=seconds)


def test_no_model_and_an_ensemble_are_refused(finished, monkeypatch, tmp_path):
    with pytest.raises(UsageError, match="no model was named"):
        bench([])
    with pytest.raises(UsageError, match="there is no model here"):
        bench([finished, tmp_path])
    monkeypatch.setattr(benching, "is_ensemble", lambda place: True)
    with pytest.raises(UsageError, match="this model is an ensemble"):
        bench(finished)
