"""What tests of several runtimes share: fakes of a GPU's libraries, and a process that is short of memory."""

from __future__ import annotations

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
pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + (16 << 30)
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
tiles = np.zeros((2, 1, 16, 12), np.float32)
tiles[:, 0, 5, 5] = np.arange(2)
logits = runtime.run(tiles)
assert logits[:, 0, 5, 5].tolist() == [0, 1]
print(logits.shape, runtime.notes)
"""
"""One tile wants 4 MB, two 64 GB: between them lies every machine, whatever its kernels want beside."""


@pytest.fixture(scope="session")
def fake_gpu(beside: Callable[[str], ModuleType]) -> ModuleType:
    """Stand-ins for TensorRT and CUDA."""
    return beside("runtimes/fake_gpu.py")


@pytest.fixture
def short_of_memory(tmp_path: Path) -> Callable[[str], subprocess.CompletedProcess[str]]:
    """Two tiles in a process with memory for one.

    The network is ``network.onnx`` in ``tmp_path``; the code that is given makes ``runtime`` of ``folder``.
    """
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    value, node = onnx.helper.make_tensor_value_info, onnx.helper.make_node
    graph = onnx.helper.make_graph(
        [
            node("Shape", ["image"], ["tiles"], start=0, end=1),
            node("Pow", ["tiles", "seven"], ["steep"]),
            node("Mul", ["steep", "thousand"], ["side"]),
            node("Concat", ["side", "side"], ["sides"], axis=0),
            node("Expand", ["one", "sides"], ["wide"]),
            node("Mul", ["wide", "wide"], ["wider"]),
            node("ReduceMax", ["wider"], ["factor"], keepdims=0),
            node("Mul", ["image", "factor"], ["logits"]),
        ],
        "network",
        [value("image", onnx.TensorProto.FLOAT, ["a", 1, "c", "d"])],
        [value("logits", onnx.TensorProto.FLOAT, ["a", 1, "c", "d"])],
        [
            onnx.numpy_helper.from_array(np.array(content, kind), name)
            for name, content, kind in (
                ("seven", [7], np.int64),
                ("thousand", [1 << 10], np.int64),
                ("one", [1], np.float32),
            )
        ],
    )
    opset = [onnx.helper.make_opsetid("", 20)]
    onnx.save(onnx.helper.make_model(graph, opset_imports=opset, ir_version=10), tmp_path / "network.onnx")

    def run(loading: str) -> subprocess.CompletedProcess[str]:
        code = _SHORT.format(folder=str(tmp_path), loading=loading)
        return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False)

    return run
