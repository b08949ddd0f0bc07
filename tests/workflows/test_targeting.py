"""Targets in words, widths that meet them, and what is said where none do."""

from __future__ import annotations

import pytest
import torch

from unetkit.compression.sensitivity import patch_dice
from unetkit.errors import GateError, UsageError
from unetkit.networks.store import load_model, read_plan
from unetkit.records.progress import Quiet
from unetkit.runtimes.devices import Layout
from unetkit.workflows.stages import Chain
from unetkit.workflows.targeting import SEARCH, Search, Target, Targeting, read_target

ONE_STEP = {"training.steps": "1"}


def test_targets_are_read():
    assert read_target("onnx cpu <20ms") == Target(20.0, "onnx", "cpu")
    assert read_target(" openvino cpu < 1.5 ms ") == Target(1.5, "openvino", "cpu")
    assert read_target("pytorch cuda:1 <3ms") == Target(3.0, "pytorch", "cuda:1")
    assert [read_target(f"size<2{unit}B").below for unit in ("", "k", "K", "M", "G")] == [
        2,
        2e3,
        2e3,
        2e6,
        2e9,
    ]
    assert read_target("size<2MB").shown(1_530_000) == "1.53 MB"
    assert read_target("onnx cpu <20ms").shown(7.123) == "7.12 ms"


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("20ms", r"'20ms' is no target.*'onnx cpu <20ms'.*'size<4MB'"),
        ("size<4", "is no target"),
        ("onnx cpu >20ms", "is no target"),
        ("size<0MB", "expected a target above 0"),
        ("onyx cpu <20ms", r"there is no runtime 'onyx'.*use 'onnx'"),
        ("onnx cuda <20ms", r"'onnx' runs on 'cpu', 'cuda' was asked for.*write 'onnx cpu <20ms'"),
        ("tensorrt cpu <2ms", r"'tensorrt' runs on 'cuda', 'cpu' was asked for.*'tensorrt cuda <2ms'"),
    ],
)
def test_what_is_no_target(text, words):
    with pytest.raises(UsageError, match=words):
        read_target(text)
    with pytest.raises(UsageError, match=words):
        Targeting(text)


def test_what_is_measured_is_the_file_and_the_time(finished, unchecked):
    network, plan = load_model(finished / "model")
    size = (finished / "model" / "weights.safetensors").stat().st_size
    assert read_target("size<1MB").measure(network, plan) == size
    assert 0 < read_target("pytorch cpu <1ms").measure(network, plan) < 10_000
    assert read_target("size<1MB").cost(plan, network.plan) == sum(
        each.numel() for each in network.parameters()
    )
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    assert 0 < read_target("onnx cpu <1ms").measure(network, plan) < 10_000


def test_widths_are_cut_until_the_size_is_met_and_the_search_is_kept(finished, wafers, tmp_path):
    place, told = finished / "model", []

    class Watch(Quiet):
        def say(self, text):
            told.append(text)

    whole = (place / "weights.safetensors").stat().st_size
    stage = Targeting(f"size<{0.6 * whole / 1000:.3f}kB", "taylor", 2)
    chain = Chain(place, wafers, tmp_path, Watch(), changes=ONE_STEP)
    patches = chain.batches(torch.device("cpu"))
    run = stage.work(chain, place)
    reached = (run.run.model / "weights.safetensors").stat().st_size
    assert reached < 0.6 * whole
    search = Search.from_json((tmp_path / SEARCH).read_bytes(), where="")
    assert (search.whole, search.reached) == (whole, reached)
    assert search.plans[-1] == read_plan(run.run.model).network
    assert {row.stage for row in search.rows} == {1, 2}
    assert search.tried[0].value == pytest.approx(whole / 1e6)
    assert search.tried[0].widths == read_plan(place).network.widths
    assert search.tried[0].dice == pytest.approx(patch_dice(load_model(place)[0], patches, Layout()))
    chosen = [row for row in search.tried if row.widths == search.plans[-1].widths]
    assert reached / 1e6 in [pytest.approx(row.value) for row in chosen]
    assert len({row.value for row in search.tried}) > 1
    assert all(0 <= row.dice <= 1 and row.unit == "MB" for row in search.tried)
    assert list(chain.done) == [f"run-{number}" for number in range(1, len(search.plans) + 1)]
    assert any("points of Dice lost" in text for text in told)
    again = Chain(place, wafers, tmp_path, Quiet(), changes=ONE_STEP)
    assert stage.work(again, place).scores == run.scores


def test_a_target_that_cannot_be_met_says_what_was_reached(finished, wafers, tmp_path):
    place = finished / "model"
    chain = Chain(place, wafers, tmp_path, Quiet(), changes=ONE_STEP)
    words = r"expected size<1kB, got .* MB with the narrowest stages \[.*\], from .* MB; nothing was trained"
    with pytest.raises(GateError, match=words) as caught:
        Targeting("size<1kB").work(chain, place)
    assert caught.value.cure.startswith(
        "teach a smaller network first (--distill), count in eight bits (--int8)"
    )
    assert not chain.done
    assert not (tmp_path / SEARCH).exists()


def test_a_target_that_is_met_already(finished, wafers, tmp_path):
    place = finished / "model"
    chain = Chain(place, wafers, tmp_path, Quiet(), changes=ONE_STEP)
    with pytest.raises(UsageError, match=r"the model meets 'size<1GB' as it is: .* MB"):
        Targeting("size<1GB").work(chain, place)
    taught = chain.train("taught", read_plan(place))
    assert Targeting("size<1GB").work(chain, taught.run.model) is None
    with pytest.raises(UsageError, match=r"there is no preview of it.*leave --dry-run or --target out"):
        Targeting("size<1GB").planned(read_plan(place))


def test_a_time_that_grew_in_training_is_no_success(finished, wafers, tmp_path, monkeypatch):
    place = finished / "model"

    def measure(self, network, plan):
        trained = "cut for" in plan.reasons.get("network.widths", "")
        return 99.0 if trained else network.plan.widths[-1] / 2

    monkeypatch.setattr(Target, "measure", measure)
    chain = Chain(place, wafers, tmp_path, Quiet(), changes=ONE_STEP)
    with pytest.raises(GateError, match=r"got 99 ms after training \(the search had 2 ms\); nothing was pub"):
        Targeting("pytorch cpu <3ms").work(chain, place)


def test_what_is_to_count_in_eight_bits_meets_the_target_in_eight_bits(
    finished, wafers, tmp_path, monkeypatch
):
    """What is measured here is a made-up time: the mean of the widths, half of it in eight bits."""
    place, told = finished / "model", []

    def measure(self, network, plan):
        told.append((plan.network.quantization, network.quantization is not None))
        return sum(plan.network.widths) / (2 if network.quantization is None else 4)

    monkeypatch.setattr(Target, "measure", measure)
    whole = sum(read_plan(place).network.widths) / 2
    asked = f"onnx cpu <{0.6 * whole:g}ms"
    chain = Chain(place, wafers, tmp_path / "a", Quiet(), changes=ONE_STEP)
    assert Targeting(asked, int8=True).work(chain, place) is None  # eight bits do it alone
    assert told == [("int8", True)]
    chain = Chain(place, wafers, tmp_path / "b", Quiet(), changes=ONE_STEP)
    run = Targeting(f"onnx cpu <{0.4 * whole:g}ms", int8=True).work(chain, place)
    assert set(told) == {("int8", True)}
    network = read_plan(run.run.model).network
    assert network.quantization == "none"  # the next stage's work
    assert sum(network.widths) / 4 < 0.4 * whole
    with pytest.raises(UsageError, match=r"in eight bits, which pytorch does not count in.*openvino, onnx"):
        Targeting("pytorch cpu <3ms", int8=True)
