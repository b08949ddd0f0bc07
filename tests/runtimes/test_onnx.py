"""The onnxruntime runtime; that it answers as torch does is a contract of every runtime."""

import sys

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.errors import DataError, MissingPackageError, UsageError
from unetkit.lookup import pick
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.runtimes import RUNTIMES, cgroups
from unetkit.runtimes.onnx import OnnxRuntime, example_shape

PLAN = Plan.model_validate(EXAMPLE)


class Sized(nn.Module):
    """A network that is another one for images of 11 rows."""

    def forward(self, x):
        return x if x.shape[2] == 11 else -x


def test_the_table_leads_here():
    assert pick("runtime", RUNTIMES, "onnx") is OnnxRuntime


def test_the_example_of_a_network_over_slices_is_one_of_the_plane():
    data = PLAN.data.model_copy(update={"rank": 3, "slice_axis": 0, "context_slices": 2})
    assert example_shape(PLAN.model_copy(update={"data": data})) == (2, 5, *example_shape(PLAN)[2:])


def test_a_network_that_asks_for_sizes_is_refused(tmp_path):
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    assert example_shape(PLAN)[2] == 11
    with pytest.raises(UsageError, match="cannot be written for images of any size") as refused:
        OnnxRuntime.export(Sized().eval(), PLAN, tmp_path)
    assert refused.value.cure == "predict with the model folder itself"


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    for name in ("onnxruntime", "onnxscript"):
        monkeypatch.setitem(sys.modules, name, None)
    for work in (lambda: OnnxRuntime(b""), lambda: OnnxRuntime.export(nn.Identity(), PLAN, tmp_path)):
        with pytest.raises(MissingPackageError, match="the runtime 'onnx' needs the package") as missing:
            work()
        assert missing.value.cure == "pip install 'unetkit[onnx]'"


def test_what_is_no_network_is_refused():
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    with pytest.raises(DataError, match="onnxruntime cannot read this network") as refused:
        OnnxRuntime.load({"network.onnx": b"something else"})
    assert refused.value.where == "network.onnx"


def test_threads_are_those_of_the_container(exported, monkeypatch):
    monkeypatch.setattr(cgroups, "thread_count", lambda: 3)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runtime = OnnxRuntime((exported / "network.onnx").read_bytes())
    assert runtime._session.get_session_options().intra_op_num_threads == 3
    assert runtime.notes == []


@pytest.mark.parametrize("rank", [2, 3])
def test_the_example_promises_an_exporter_nothing(rank):
    strides = ((2,) * rank, (1, *(2,) * (rank - 1)), (4,) * rank)
    network = {
        **EXAMPLE["network"],
        "widths": [4, 4, 4],
        "blocks": [1, 1, 1],
        "decoder_blocks": [1, 1],
        "kernels": ((3,) * rank,) * 3,
        "strides": strides,
    }
    shape = example_shape(PLAN.model_copy(update={"network": type(PLAN.network)(**network)}))
    assert shape[0] > 1
    lengths = np.array(shape[2:])
    for stage in np.cumprod(strides, axis=0):
        at_stage = -(-lengths // stage)
        assert at_stage.min() > 1
        assert len(set(at_stage)) == rank
    assert all(lengths % np.prod(strides, axis=0))
    assert torch.zeros(shape).ndim == 2 + rank


def test_memory_that_runs_out_halves_the_batch_and_is_told(short_of_memory):
    """For real."""
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    answer = short_of_memory(
        "from unetkit.runtimes.onnx import OnnxRuntime\n"
        "runtime = OnnxRuntime((folder / 'network.onnx').read_bytes())"
    )
    assert answer.returncode == 0, answer.stderr
    assert "allocate" not in answer.stderr


def test_an_engine_that_runs_out_is_asked_for_half(exported):
    runtime = OnnxRuntime((exported / "network.onnx").read_bytes())
    session, full = runtime._session, []

    class Small:
        def run(self, names, given, options):
            if len(given["image"]) > 2:
                full.append(1)
                raise sys.modules["onnxruntime"].capi.onnxruntime_pybind11_state.Fail(
                    "Failed to allocate memory for requested buffer of size 9"
                )
            return session.run(names, given, options)

    tiles = np.random.default_rng(0).standard_normal((5, 1, 12, 10)).astype(np.float32)
    wanted = runtime.run(tiles)
    runtime._session = Small()
    np.testing.assert_allclose(runtime.run(tiles), wanted, atol=1e-5)
    assert runtime.notes == ["cpu ran out of memory: batches of 2 from now on"]
    assert full == [1]
    assert isinstance(runtime._session, type(session))  # opened anew: the one before keeps what it took
    assert runtime._session is not session


def test_it_leaves_its_input_alone_and_answers_twice_alike(exported):
    runtime = OnnxRuntime((exported / "network.onnx").read_bytes())
    tile = np.random.default_rng(2).standard_normal((2, 1, 12, 10)).astype(np.float32)
    before = tile.copy()
    first = runtime.run(np.asfortranarray(tile)).copy()
    assert np.array_equal(runtime.run(tile), first)
    assert np.array_equal(tile, before)
    assert first.shape == (2, 4, 12, 10)
