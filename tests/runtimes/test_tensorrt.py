"""The TensorRT runtime: its file read and computed for real, its calls on a fake that checks them."""

import stat
import sys

import numpy as np
import pytest
from torch import nn

from unetkit.errors import DataError, MissingPackageError, ResourceError, UsageError
from unetkit.lookup import pick
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.runtimes import RUNTIMES
from unetkit.runtimes import tensorrt as room
from unetkit.runtimes.tensorrt import EngineSizes, TensorrtRuntime, sizes_of

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
helper, T = onnx.helper, onnx.TensorProto
PLAN = Plan.model_validate(EXAMPLE)
SIZES = EngineSizes(least=(1, 1, 1, 1), usual=(4, 1, 8, 8), most=(4, 1, 8, 8))


def network(kind=T.FLOAT, answer="logits"):
    """One kernel of ones, then two channels; or the ids of the larger one."""
    kernel = np.ones((2, 1, 1, 1), np.float32)
    nodes = [helper.make_node("Conv", ["number", "kernel"], ["logits" if answer == "logits" else "x"])]
    first = "Identity" if kind == T.FLOAT else "Cast"
    nodes.insert(
        0, helper.make_node(first, ["image"], ["number"], **({} if kind == T.FLOAT else {"to": T.FLOAT}))
    )
    shape, out = ["b", "k", "h", "w"], T.FLOAT
    if answer == "classes":
        nodes += [
            helper.make_node("ArgMax", ["x"], ["ids"], axis=1, keepdims=0),
            helper.make_node("Cast", ["ids"], ["classes"], to=T.UINT8),
        ]
        shape, out = ["b", "h", "w"], T.UINT8
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", kind, ["b", 1, "h", "w"])],
        [helper.make_tensor_value_info(answer, out, shape)],
        [onnx.numpy_helper.from_array(kernel, "kernel")],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


NETWORK = network().SerializeToString()


@pytest.fixture
def machine(fake_gpu, monkeypatch, tmp_path):
    """A machine with a fake GPU, a fake TensorRT, and a home of its own."""
    cuda = fake_gpu.Cuda()
    trt = fake_gpu.TensorRT(cuda)
    modules = {"cuda": object(), "cuda.bindings": object(), "cuda.bindings.runtime": cuda, "tensorrt": trt}
    for name, module in modules.items():
        monkeypatch.setitem(sys.modules, name, module)
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "home"))
    return trt


def loaded(content=NETWORK, sizes=SIZES):
    return TensorrtRuntime.load({"network.onnx": content, "network.json": sizes.to_json().encode()})


def tiles(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_table_leads_here():
    assert pick("runtime", RUNTIMES, "tensorrt") is TensorrtRuntime


def test_an_engine_is_built_for_every_tile_that_the_plan_gives():
    assert sizes_of(PLAN) == EngineSizes(least=(1, 1, 1, 1), usual=(4, 1, 32, 32), most=(4, 1, 32, 32))
    data = PLAN.data.model_copy(update={"rank": 3, "slice_axis": 1, "context_slices": 1})
    inference = PLAN.inference.model_copy(update={"batch_size": 16})
    sliced = sizes_of(PLAN.model_copy(update={"data": data, "inference": inference}))
    assert (sliced.least, sliced.most) == ((1, 3, 1, 1), (16, 3, 32, 32))
    exact = {"inference.whole_image_pixels": "9999", "inference.mode": "exact"}
    changed = PLAN.with_values(exact).with_values(TensorrtRuntime.CHANGES)  # or else images of any size come
    assert (changed.inference.whole_image_pixels, changed.inference.mode) == (0, "blend")


@pytest.mark.parametrize("answer", ["logits", "classes"])
def test_the_file_says_every_type(answer, tmp_path, monkeypatch):
    made = network(T.UINT8, answer)
    monkeypatch.setattr(room, "write_onnx", lambda network, plan, path, moves: onnx.save(made, path))
    TensorrtRuntime.export(nn.Identity(), PLAN, tmp_path)
    files = {name: (tmp_path / name).read_bytes() for name in TensorrtRuntime.FILES}
    graph = onnx.load_from_string(files["network.onnx"]).graph
    kinds = [one.op_type for one in graph.node]
    steps = {
        "logits": ["Cast", "Cast", "Conv", "Cast"],
        "classes": ["Cast", "Cast", "Conv", "ArgMax", "Cast", "Cast"],
    }
    assert kinds == steps[answer]
    if answer == "classes":  # TensorRT makes bytes of float32, not of whole numbers
        assert [one.attribute[0].i for one in graph.node[-2:]] == [T.FLOAT, T.UINT8]
    assert {one.data_type for one in graph.initializer} == {T.FLOAT16}
    assert EngineSizes.from_json(files["network.json"], where="") == sizes_of(PLAN)
    assert TensorrtRuntime.convolutions(files) == {"integer": 0, "float": 1}
    pixels = np.arange(6, dtype=np.uint8).reshape(1, 1, 2, 3)
    runtime, words = TensorrtRuntime.stand_in(files)
    assert "TensorRT cannot run here" in words
    wanted = np.zeros((1, 2, 3)) if answer == "classes" else np.repeat(pixels, 2, 1)
    assert np.array_equal(runtime.run(pixels), wanted)


def test_a_file_that_would_be_refused_is_not_written(tmp_path, monkeypatch):
    monkeypatch.setattr(room, "write_onnx", lambda network, plan, path, moves: onnx.save(made, path))
    made = network()
    eight = PLAN.network.model_copy(update={"quantization": "int8"})
    plan = PLAN.model_copy(update={"network": eight})
    with pytest.raises(UsageError, match="cannot be written with types alone: Conv 'logits' multiplies in"):
        TensorrtRuntime.export(nn.Identity(), plan, tmp_path)
    del made.graph.node[:]
    made.graph.node.append(helper.make_node("Concat", ["image", "rows"], ["logits"], axis=1))
    made.graph.initializer.append(onnx.numpy_helper.from_array(np.ones(3, np.float32), "rows"))
    with pytest.raises(UsageError, match=r"cannot be written with types alone: .*[Cc]oncat"):
        TensorrtRuntime.export(nn.Identity(), PLAN, tmp_path)
    assert not (tmp_path / "network.json").exists()


def test_it_asks_for_batches_as_the_library_wants_it(machine, capfd):
    runtime = loaded()
    assert machine.built == 1
    for shape in ((1, 1, 8, 8), (3, 1, 5, 7), (1, 1, 1, 1), (9, 1, 2, 8)):  # the last in three calls
        batch = tiles(*shape)
        got = runtime.run(np.asfortranarray(batch))
        assert np.array_equal(got, np.concatenate([batch, 2 * batch], axis=1))
        assert (got.dtype, got.flags.c_contiguous) == (np.float32, True)
    assert machine.cuda.taken == 4  # room for what goes in and out grew once
    kept = runtime.run(tiles(1, 1, 2, 2))
    before = kept.copy()
    runtime.run(np.ones((1, 1, 2, 2), np.float32))
    assert np.array_equal(kept, before)
    assert capfd.readouterr() == ("", "")


def test_bytes_go_in_where_the_file_takes_them(machine):
    runtime = loaded(network(T.UINT8).SerializeToString())
    pixels = np.arange(64, dtype=np.uint8).reshape(1, 1, 8, 8)
    assert np.array_equal(runtime.run(pixels)[:, 1:], 2 * pixels.astype(np.float32))
    with pytest.raises(UsageError, match="takes uint8 pixels, the plan gives it float32"):
        runtime.run(tiles(1, 1, 8, 8))


def test_an_engine_is_built_once_for_a_file_a_version_and_a_gpu(machine, tmp_path, fake_gpu, monkeypatch):
    first = loaded()
    cache = tmp_path / "home" / "unetkit" / "tensorrt"
    (kept,) = cache.iterdir()
    assert stat.S_IMODE(cache.stat().st_mode) == 0o700
    assert first.notes[0].startswith("TensorRT built an engine for 'Fake GPU 9.0' in 0 s; it is kept in ")
    assert np.array_equal(loaded().run(tiles(1, 1, 4, 4)), first.run(tiles(1, 1, 4, 4)))
    assert (machine.built, loaded().notes) == (1, [])
    loaded(sizes=SIZES.model_copy(update={"most": (8, 1, 8, 8)}))
    loaded(network(T.UINT8).SerializeToString())
    machine.__version__ = "11.4.0.106"
    loaded()
    monkeypatch.setattr(fake_gpu.Facts, "name", b"Other GPU\x00")
    loaded()
    assert machine.built == 5
    kept.write_bytes(b"damaged")
    machine.__version__ = "10.13.3.9"
    monkeypatch.setattr(fake_gpu.Facts, "name", b"Fake GPU\x00")
    assert loaded().run(tiles(1, 1, 4, 4)).shape == (1, 2, 4, 4)
    assert machine.built == 6
    assert kept.read_bytes().startswith(b"ENGINE")


def test_an_engine_is_not_kept_nor_taken_where_others_may_write(machine, tmp_path):
    """An engine is code: whoever can put one there runs as this user."""
    cache = tmp_path / "home" / "unetkit" / "tensorrt"
    loaded()
    (kept,) = cache.iterdir()
    kept.write_bytes(b"ENGINE of somebody else")
    cache.chmod(0o777)
    runtime = loaded()
    assert machine.built == 2
    assert runtime.notes[0].endswith(f"it is not kept, {cache} is not this user's alone")
    assert kept.read_bytes() == b"ENGINE of somebody else"


def test_a_cache_that_cannot_be_made_costs_the_time_alone(machine, tmp_path):
    (tmp_path / "home").touch()
    assert "not kept" in loaded().notes[0]


def test_what_tensorrt_says_is_passed_on(machine):
    machine.refuses = "no importer for Mod.\nmore"
    with pytest.raises(
        DataError, match=r"cannot build an engine of this network \(no importer for Mod\)"
    ) as refused:
        loaded()
    assert (refused.value.where, refused.value.exit_code) == ("network.onnx", 3)
    machine.refuses, machine.fails = "", "Error Code 10: no tactic. \nat line 3"
    with pytest.raises(DataError, match=r"\(Error Code 10: no tactic\)"):
        loaded()
    machine.fails, machine.full = "", "out of memory"
    with pytest.raises(
        ResourceError, match=r"the memory of 'Fake GPU 9\.0' does not suffice for .* 4×1×8×8 \(out"
    ):
        loaded()
    machine.full = ""
    runtime = loaded()
    machine.fails = "kernel went away"
    with pytest.raises(
        DataError, match=r"cannot compute a tile of 3×5 pixels with this network \(kernel went"
    ):
        runtime.run(tiles(1, 1, 3, 5))


def test_a_tile_that_the_engine_was_not_built_for_is_refused(machine):
    with pytest.raises(DataError, match="built for tiles of up to 8×8 pixels, got 9×4") as refused:
        loaded().run(tiles(1, 1, 9, 4))
    assert "inference.tile_size" in refused.value.cure


def test_memory_that_runs_out_halves_the_batch_and_is_told(machine):
    runtime = loaded()
    machine.cuda.limit = 2 * 3 * 64 * 4  # two tiles, in and out
    batch = tiles(4, 1, 8, 8)
    assert np.array_equal(runtime.run(batch)[:, :1], batch)
    assert runtime.notes[1:] == ["Fake GPU 9.0 ran out of memory: batches of 2 from now on"]
    machine.cuda.limit = 10
    runtime._gpu.free()
    with pytest.raises(ResourceError, match="one tile of 8×8 pixels does not fit"):
        runtime.run(batch)


def test_a_missing_package_is_named_with_the_command_and_the_other_runtimes(machine, monkeypatch):
    for name, package in (("cuda.bindings.runtime", "cuda-bindings"), ("tensorrt", "tensorrt")):
        monkeypatch.setitem(sys.modules, name, None)
        with pytest.raises(MissingPackageError, match=f"'tensorrt' needs the package '{package}'") as missing:
            loaded()
        assert missing.value.cure == (
            "pip install 'unetkit[tensorrt]' on a machine with an NVIDIA GPU, or export the model to onnx or "
            "openvino, which run on a CPU"
        )


def test_an_old_tensorrt_is_refused(machine):
    machine.__version__ = "8.6.1"
    with pytest.raises(MissingPackageError, match=r"needs TensorRT 10 or newer, got 8\.6\.1") as old:
        loaded()
    assert old.value.cure == "pip install --upgrade 'unetkit[tensorrt]'"
