"""The fast runtime on a CPU: OpenVINO, with its arithmetic stated instead of left to the processor."""

from __future__ import annotations

import importlib
import re
import sys
import tempfile
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unetkit.errors import DataError, MissingPackageError
from unetkit.runtimes.batches import Batches, no_memory, required
from unetkit.runtimes.cgroups import engine_threads
from unetkit.runtimes.onnx import NETWORK, write_onnx

if TYPE_CHECKING:
    from torch import nn

    from unetkit.records.plan import Plan

GRAPH, WEIGHTS = "network.xml", "network.bin"
_TELEMETRY = "openvino_telemetry"
_TILE = ["unetkit", "tile"]
"""Where in a file it says what size of tile it was exported for: that of the plan."""
_NUMBER = re.compile("[1-9][0-9]{0,8}")
_CONVOLUTIONS = ("Convolution", "Deconvolution", "GroupConvolution")


class OpenvinoRuntime:
    """Tiles in, logits out (or class ids, where they are what the file answers), through OpenVINO in float32.

    Left alone OpenVINO computes in bfloat16 where the processor can, with other digits; ``float32`` is asked
    for. Its threads are those of the container, not pinned to cores, which may be somebody else's.

    Args:
        graph: The content of ``network.xml``.
        weights: The content of ``network.bin``.

    Attributes:
        notes: What was done differently from what was asked: smaller batches after memory ran out.

    Raises:
        MissingPackageError: openvino is not installed.
        DataError: OpenVINO cannot read the files.

    Reference:
        OpenVINO, https://docs.openvino.ai.
    """

    FILES = (GRAPH, WEIGHTS)
    PACKAGES = ("onnx", "onnxscript", "openvino", "torch")
    DEVICE = "cpu"
    PRECISION = "float32"
    SYMMETRIC = False
    CHANGES: ClassVar[Mapping[str, str]] = {}

    def __init__(self, graph: bytes, weights: bytes) -> None:
        self._core = _engine().Core()
        try:
            self._network = self._core.read_model(graph, weights)
            self._tile, request = self._first()
        except RuntimeError as wrong:
            text = str(wrong).strip().split("\n")[-1].rstrip(". ")[:200]
            raise DataError(
                f"OpenVINO cannot read this network ({text})", cure="export the model anew", where=GRAPH
            ) from wrong
        self._requests, self._compiled = {self._tile: request}, request.get_compiled_model()
        self._kind: type[np.generic] = self._compiled.input(0).get_element_type().to_dtype().type
        self._batches = Batches("cpu")
        self.notes = self._batches.notes

    def _first(self) -> tuple[tuple[int, ...], Any]:
        """For the tiles that the file says it is for; for any, where it says none or they cannot be had."""
        if tile := _tile_of(self._network):
            with suppress(RuntimeError):
                return tile, self._ready(tile)
        return (), self._ready(())

    def _ready(self, tile: tuple[int, ...]) -> Any:  # noqa: ANN401 - a guest's class
        """Compiled for one tile ``(C, *S)`` at a time, or for batches of any size where that is empty.

        For a size that it knows OpenVINO leaves out what crops nothing, and joins what follows one another.
        """
        network = self._network
        if tile:
            network = network.clone()
            network.reshape([1, *tile])
        settings: dict[str, Any] = {
            "INFERENCE_PRECISION_HINT": "f32",
            "INFERENCE_NUM_THREADS": engine_threads(),
            "PERFORMANCE_HINT": "LATENCY",
            "ENABLE_CPU_PINNING": False,
        }
        return self._core.compile_model(network, "CPU", settings).create_infer_request()

    @property
    def precision(self) -> str:
        """The number type OpenVINO says it computes in, ``f32``."""
        return str(self._compiled.get_property("INFERENCE_PRECISION_HINT").to_string())

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> OpenvinoRuntime:
        """Make an exported network ready.

        Args:
            files: The content of ``network.xml`` and ``network.bin``.
        """
        return cls(files[GRAPH], files[WEIGHTS])

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch; when memory does not suffice, of half of it at a time.

        Args:
            batch: ``(B, C, *S)`` float32, or uint8 where that is what the file takes.

        Returns:
            ``(B, K, *S)`` float32, C-contiguous; or class ids ``(B, *S)``.

        Raises:
            DataError: OpenVINO has no answer for this size.
            ResourceError: One tile alone does not fit.
            UsageError: The pixels are of another type than the file takes.
        """
        return self._batches.run(required(batch, self._kind), self._forward)

    def _forward(self, part: np.ndarray) -> np.ndarray:
        try:
            answer = self._ask(part)
        except RuntimeError as wrong:
            if no_memory(wrong):
                raise
            answer = np.empty(0)
        if answer.shape[:1] + answer.shape[2 - part.ndim :] != part.shape[:1] + part.shape[2:]:
            size = "×".join(map(str, part.shape[2:]))
            raise DataError(
                f"OpenVINO cannot compute a tile of {size} pixels with this network",
                cure="predict this image with the model folder itself, or export to onnx",
            )
        return answer

    def _ask(self, part: np.ndarray) -> np.ndarray:
        """What OpenVINO answers: tile by tile where it knows their size, else all at once."""
        if part.shape[1:] == self._tile and len(part):
            answers = [self._infer(self._tile, part[at : at + 1]) for at in range(len(part))]
            return answers[0] if len(answers) == 1 else np.concatenate(answers)
        return self._infer((), part)

    def _infer(self, tile: tuple[int, ...], part: np.ndarray) -> np.ndarray:
        """Not by ``infer``, which loses errors and gives the previous answer then."""
        if tile not in self._requests:
            self._requests[tile] = self._ready(tile)
        request = self._requests[tile]
        request.start_async({0: part}, share_inputs=True)
        request.wait()
        return np.array(request.get_output_tensor(0).data)

    @classmethod
    def convolutions(cls, files: Mapping[str, bytes]) -> dict[str, int]:
        """How many convolutions OpenVINO computes in whole numbers, told by the graph it runs.

        Args:
            files: The content of ``network.xml`` and ``network.bin``.

        Returns:
            ``integer`` and ``float``.
        """
        found = {"integer": 0, "float": 0}
        for one in cls.load(files)._compiled.get_runtime_model().get_ordered_ops():
            facts = {name: str(one.get_rt_info()[name].value) for name in ("layerType", "primitiveType")}
            if facts["layerType"] in _CONVOLUTIONS:
                found["integer" if facts["primitiveType"].endswith("I8") else "float"] += 1
        return found

    @staticmethod
    def export(network: nn.Module, plan: Plan, folder: Path) -> None:
        """Write ``network.xml`` and ``network.bin``, by way of ONNX; weights stay float32.

        Args:
            network: In evaluation mode, on the CPU; not changed.
            plan: Its plan.
            folder: Where.

        Raises:
            MissingPackageError: openvino, or what writes ONNX, is not installed.
            UsageError: The network cannot be written for images of any size.
        """
        engine = _engine()
        with tempfile.TemporaryDirectory(dir=folder) as between:
            write_onnx(network, plan, Path(between) / NETWORK, moves=False)
            graph = engine.Core().read_model(Path(between) / NETWORK)
            tile = (plan.data.input_channels, *plan.inference.tile_size)
            graph.set_rt_info(",".join(map(str, tile)), _TILE)
            engine.save_model(graph, folder / GRAPH, compress_to_fp16=False)


def _tile_of(network: Any) -> tuple[int, ...]:  # noqa: ANN401 - a guest's class
    """``(C, *S)`` of the tiles that a network was exported for; empty where its file does not say."""
    if not network.has_rt_info(_TILE):
        return ()
    said = str(network.get_rt_info(_TILE).astype(str)).split(",")
    known = len(said) + 1 == network.input(0).get_partial_shape().rank.get_length()
    return tuple(map(int, said)) if known and all(map(_NUMBER.fullmatch, said)) else ()


def _engine() -> ModuleType:
    """OpenVINO, kept from reporting home: without this, importing it sends an event over the network."""
    if sys.modules.get("openvino") is not None:
        return sys.modules["openvino"]
    absent = _TELEMETRY not in sys.modules
    if absent:
        sys.modules[_TELEMETRY] = None  # pyright: ignore[reportArgumentType] - Python's word for "not there"
    try:
        return importlib.import_module("openvino")
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            "the runtime 'openvino' needs the package 'openvino', which is not installed",
            cure="pip install 'unetkit[onnx,openvino]'",
        ) from missing
    finally:
        if absent:
            del sys.modules[_TELEMETRY]
