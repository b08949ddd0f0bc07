"""What tests of several runtimes share: fakes of a GPU's libraries, and a process that is short of memory."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest

_SHORT = """
import resource
from pathlib import Path
import numpy as np
folder = Path({folder!r})
{loading}
tiles = np.zeros((16, 1, 512, 512), np.float32)
tiles[:, 0, 5, 5] = np.arange(16)
runtime.run(tiles[:1])
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (400 << 20)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
logits = runtime.run(tiles)
assert logits[:, 0, 4, 6].tolist() == list(range(0, 512, 32))
print(logits.shape, runtime.notes)
"""
"""What one tile needs is taken first, whatever the machine's kernels want for it."""


@pytest.fixture(scope="session")
def fake_gpu() -> ModuleType:
    """``fake_gpu.py``."""
    spec = importlib.util.spec_from_file_location("fake_gpu", Path(__file__).parent / "fake_gpu.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def short_of_memory(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Sixteen tiles in a process that may take less memory than they need, after one has found room.

    The network is ``network.onnx`` in ``tmp_path``; the code that is given makes ``runtime`` of ``folder``.
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    wide, narrow = (
        onnx.numpy_helper.from_array(np.ones(shape, np.float32), name)
        for name, shape in (("wide", (32, 1, 3, 3)), ("narrow", (1, 32, 1, 1)))
    )
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Conv", ["image", "wide"], ["hidden"], pads=[1, 1, 1, 1]),
            node("Conv", ["hidden", "narrow"], ["logits"]),
        ],
        "network",
        [value("image", onnx.TensorProto.FLOAT, ["a", 1, "c", "d"])],
        [value("logits", onnx.TensorProto.FLOAT, ["a", 1, "c", "d"])],
        [wide, narrow],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "network.onnx")

    def run(loading: str) -> subprocess.CompletedProcess[str]:
        code = _SHORT.format(folder=str(tmp_path), loading=loading)
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    return run
