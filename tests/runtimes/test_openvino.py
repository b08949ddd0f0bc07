"""The OpenVINO runtime; that it answers as torch does is a contract of every runtime."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.errors import DataError, MissingPackageError
from unetkit.lookup import pick
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.runtimes import RUNTIMES, cgroups
from unetkit.runtimes.openvino import OpenvinoRuntime


@pytest.fixture(scope="module")
def files(exported, tmp_path_factory) -> dict[str, bytes]:
    """An exported network, turned into OpenVINO's own files."""
    engine = pytest.importorskip("openvino", reason="openvino is not installed")
    folder = tmp_path_factory.mktemp("openvino")
    graph = engine.Core().read_model(exported / "network.onnx")
    engine.save_model(graph, folder / "network.xml", compress_to_fp16=False)
    return {name: (folder / name).read_bytes() for name in OpenvinoRuntime.FILES}


def test_the_table_leads_here():
    assert pick("runtime", RUNTIMES, "openvino") is OpenvinoRuntime


def test_it_computes_in_float32_whatever_the_processor_can(files):
    """By itself OpenVINO takes bfloat16 where there is hardware for it, and is then off by a hundredth."""
    assert "f32" in OpenvinoRuntime.load(files).precision


def test_threads_are_those_of_the_container(files, monkeypatch):
    monkeypatch.setattr(cgroups, "thread_count", lambda: 1)
    monkeypatch.delenv("OMP_NUM_THREADS", raising=False)
    runtime = OpenvinoRuntime.load(files)
    assert runtime._compiled.get_property("INFERENCE_NUM_THREADS") == 1
    assert runtime.notes == []


def test_an_answer_stays_when_the_next_one_comes(files):
    runtime = OpenvinoRuntime.load(files)
    random = np.random.default_rng(0)
    one, other = random.standard_normal((2, 1, 1, 16, 12)).astype(np.float32)
    first = runtime.run(one)
    kept = first.copy()
    runtime.run(other)
    assert np.array_equal(first, kept)


def test_a_stale_answer_is_refused(files):
    runtime = OpenvinoRuntime.load(files)
    stale = np.zeros((1, 4, 16, 12), np.float32)
    runtime._ask = lambda part: stale
    assert runtime.run(np.zeros((1, 1, 16, 12), np.float32)) is stale
    with pytest.raises(DataError, match="cannot compute a tile of 16×11 pixels"):
        runtime.run(np.zeros((1, 1, 16, 11), np.float32))


def test_memory_that_runs_out_halves_the_batch_and_is_told(short_of_memory, tmp_path):
    """For real."""
    engine = pytest.importorskip("openvino", reason="openvino is not installed")
    graph = engine.Core().read_model(tmp_path / "network.onnx")
    engine.save_model(graph, tmp_path / "network.xml", compress_to_fp16=False)
    answer = short_of_memory(
        "from unetkit.runtimes.openvino import OpenvinoRuntime\n"
        "runtime = OpenvinoRuntime.load({n: (folder / n).read_bytes() for n in OpenvinoRuntime.FILES})"
    )
    assert answer.returncode == 0, answer.stderr
    assert answer.stdout == "(2, 1, 16, 12) ['cpu ran out of memory: batches of 1 from now on']\n"


def test_an_engine_that_runs_out_is_asked_for_half(files):
    tiles = np.random.default_rng(0).standard_normal((5, 1, 16, 12)).astype(np.float32)
    runtime = OpenvinoRuntime.load(files)
    wanted, ask = runtime.run(tiles), runtime._ask

    def full(part):
        if len(part) > 2:
            raise RuntimeError("Failed to allocate 9 bytes of memory")
        return ask(part)

    runtime._ask = full
    np.testing.assert_allclose(runtime.run(tiles), wanted, atol=1e-5)
    assert runtime.notes == ["cpu ran out of memory: batches of 2 from now on"]


def test_nothing_is_sent_anywhere(files, tmp_path):
    for name, content in files.items():
        (tmp_path / name).write_bytes(content)
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from unetkit.runtimes.openvino import OpenvinoRuntime\n"
        f"folder = Path({str(tmp_path)!r})\n"
        "OpenvinoRuntime.load({name: (folder / name).read_bytes() for name in OpenvinoRuntime.FILES})\n"
        "print([name for name in ('torch', 'openvino_telemetry') if name in sys.modules])\n"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "[]"


def test_a_missing_package_is_named_with_the_command_that_installs_it(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "openvino", None)
    plan = Plan.model_validate(EXAMPLE)
    for work in (
        lambda: OpenvinoRuntime(b"", b""),
        lambda: OpenvinoRuntime.export(nn.Identity(), plan, tmp_path),
    ):
        with pytest.raises(MissingPackageError, match="needs the package 'openvino'") as missing:
            work()
        assert missing.value.cure == "pip install 'unetkit[onnx,openvino]'"


def test_what_is_no_network_is_refused():
    pytest.importorskip("openvino", reason="openvino is not installed")
    with pytest.raises(DataError, match="OpenVINO cannot read this network") as refused:
        OpenvinoRuntime.load({"network.xml": b"something else", "network.bin": b""})
    assert refused.value.where == "network.xml"


@pytest.fixture(scope="module")
def for_tiles(tmp_path_factory) -> dict[str, bytes]:
    """A network of one convolution, exported with a plan of tiles of 32 × 32 pixels."""
    for package in OpenvinoRuntime.PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed")
    folder = tmp_path_factory.mktemp("for_tiles")
    torch.manual_seed(0)
    OpenvinoRuntime.export(nn.Conv2d(1, 2, 3, padding=1).eval(), Plan.model_validate(EXAMPLE), folder)
    return {name: (folder / name).read_bytes() for name in OpenvinoRuntime.FILES}


def test_a_file_says_what_tiles_it_is_for(for_tiles):
    runtime = OpenvinoRuntime.load(for_tiles)
    assert runtime._tile == (1, 32, 32)
    assert list(runtime._compiled.input(0).get_shape()) == [1, 1, 32, 32]


def test_tiles_of_the_plan_and_all_others_are_answered_alike(for_tiles, monkeypatch):
    runtime = OpenvinoRuntime.load(for_tiles)
    tiles = np.random.default_rng(0).standard_normal((3, 1, 32, 32)).astype(np.float32)
    found = runtime.run(tiles)
    assert list(runtime._requests) == [(1, 32, 32)]
    monkeypatch.setattr(runtime, "_tile", ())  # as a file that does not say
    np.testing.assert_allclose(runtime.run(tiles), found, rtol=1e-5, atol=1e-6)
    assert list(runtime._requests) == [(1, 32, 32), ()]
    monkeypatch.undo()
    assert runtime.run(tiles[:, :, :7, :9]).shape == (3, 2, 7, 9)
    assert np.array_equal(runtime.run(tiles[1:2]), found[1:2])


@pytest.mark.parametrize("said", ["1,32", "1,32,32,32", "1,-32,32", "2,32,32", "1,32,four"])
def test_a_tile_that_cannot_be_is_not_believed(for_tiles, said):
    graph = for_tiles["network.xml"].replace(b"1,32,32", said.encode())
    assert graph != for_tiles["network.xml"]
    runtime = OpenvinoRuntime.load({**for_tiles, "network.xml": graph})
    assert runtime._tile == ()
    assert runtime.run(np.zeros((1, 1, 32, 32), np.float32)).shape == (1, 2, 32, 32)
