"""The portable runtime: an ONNX file, run by onnxruntime on a CPU, wherever there is no torch."""

from __future__ import annotations

import importlib
import math
import tempfile
import warnings
from collections.abc import Mapping
from functools import partial
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unetkit.errors import DataError, MissingPackageError, UsageError
from unetkit.runtimes.batches import Batches, required
from unetkit.runtimes.cgroups import engine_threads
from unetkit.runtimes.qdq import counted, finish

if TYPE_CHECKING:
    from torch import nn

    from unetkit.records.plan import Plan

NETWORK = "network.onnx"
OPSET = 20
"""Operators of ONNX 1.15: the newest that every engine in use reads."""

INPUT = "image"
"""The name of what goes in."""
_STORED = "tensor(uint8)"
_WARNINGS_ONLY, _SILENT = 3, 4
_REFUSALS = (
    "Fail",
    "InvalidArgument",
    "InvalidGraph",
    "InvalidProtobuf",
    "NotImplemented",
    "RuntimeException",
)


class OnnxRuntime:
    """Tiles in, logits out (or class ids, where they are what the file answers), through onnxruntime.

    Args:
        network: The content of an ONNX file.
        as_written: Whether every operation is computed as the file says, none fused with or left out for
            another, which is slower.

    Attributes:
        notes: What was done differently from what was asked: smaller batches after memory ran out.

    Raises:
        MissingPackageError: onnxruntime is not installed.
        DataError: onnxruntime cannot read the file.

    Reference:
        ONNX, https://onnx.ai; onnxruntime, https://onnxruntime.ai.
    """

    FILES = (NETWORK,)
    PACKAGES = ("onnx", "onnxruntime", "onnxscript", "torch")
    DEVICE = "cpu"
    PRECISION = "float32"
    SYMMETRIC = False
    CHANGES: ClassVar[Mapping[str, str]] = {}

    def __init__(self, network: bytes, *, as_written: bool = False) -> None:
        engine = _package("onnxruntime")
        options = engine.SessionOptions()
        options.intra_op_num_threads = engine_threads()  # its own choice is the host's cores
        options.inter_op_num_threads = 1
        options.log_severity_level = _WARNINGS_ONLY
        if as_written:
            options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
        known = engine.capi.onnxruntime_pybind11_state
        self._open = partial(engine.InferenceSession, network, options, providers=["CPUExecutionProvider"])
        try:
            self._session: Any = self._open()
        except tuple(getattr(known, name) for name in _REFUSALS) as wrong:
            raise DataError(
                f"onnxruntime cannot read this network ({first_line(wrong)})",
                cure="export the model anew",
                where=NETWORK,
            ) from wrong
        self._kind = np.uint8 if self._session.get_inputs()[0].type == _STORED else np.float32
        self._quietly = engine.RunOptions()
        self._quietly.log_severity_level = _SILENT  # what it would print is raised as well
        failures = (MemoryError, RuntimeError, known.Fail, known.RuntimeException)
        self._batches = Batches("cpu", caught=failures, freed=self._close)
        self.notes = self._batches.notes

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> OnnxRuntime:
        """Make an exported network ready.

        Args:
            files: The content of ``network.onnx``.
        """
        return cls(files[NETWORK])

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch; when memory does not suffice, of half of it at a time.

        Args:
            batch: ``(B, C, *S)`` float32, or uint8 where that is what the file takes.

        Returns:
            ``(B, K, *S)`` float32, C-contiguous; or class ids ``(B, *S)``.

        Raises:
            ResourceError: One tile alone does not fit.
            UsageError: The pixels are of another type than the file takes.
        """
        return self._batches.run(required(batch, self._kind), self._forward)

    def _close(self) -> None:
        # Its arena keeps all it ever took, in pieces that fit no smaller batch: only closing gives them back.
        self._session = None

    def _forward(self, part: np.ndarray) -> np.ndarray:
        if self._session is None:
            self._session = self._open()
        (answer,) = self._session.run(None, {INPUT: part}, self._quietly)
        return answer

    @staticmethod
    def export(network: nn.Module, plan: Plan, folder: Path) -> None:
        """Write ``network.onnx``, for any batch and any size.

        Args:
            network: In evaluation mode, on the CPU; not changed.
            plan: Its plan.
            folder: Where.

        Raises:
            MissingPackageError: What writes ONNX is not installed.
            UsageError: The network cannot be written for images of any size.
        """
        write_onnx(network, plan, folder / NETWORK)

    @staticmethod
    def convolutions(files: Mapping[str, bytes]) -> dict[str, int]:
        """How many convolutions onnxruntime computes in whole numbers, told by the graph it makes of a file.

        Args:
            files: The content of ``network.onnx``.

        Returns:
            ``integer`` and ``float``.
        """
        engine = _package("onnxruntime")
        options = engine.SessionOptions()
        options.log_severity_level = _WARNINGS_ONLY
        with tempfile.TemporaryDirectory() as folder:
            options.optimized_model_filepath = str(path := Path(folder) / NETWORK)
            engine.InferenceSession(files[NETWORK], options, providers=["CPUExecutionProvider"])
            return counted(path)


def write_onnx(network: nn.Module, plan: Plan, path: Path, *, moves: bool = True) -> None:
    """Write a network as one ONNX file, weights inside, with free batch and sizes.

    Args:
        network: In evaluation mode, on the CPU; not changed.
        plan: Its plan; the type that goes in and the name of what comes out are those of its inference.
        path: The file.
        moves: See ``qdq.finish``; for a network that counts in eight bits.

    Raises:
        MissingPackageError: onnx or onnxscript is not installed.
        UsageError: The network cannot be written for images of any size.
    """
    for name in ("onnx", "onnxscript"):
        _package(name)
    import torch

    ends = plan.inference
    example = torch.zeros(example_shape(plan), dtype=getattr(torch, ends.network_input))
    free = dict.fromkeys((0, *range(2, example.ndim)), torch.export.Dim.DYNAMIC)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter(
                "ignore"
            )  # of the exporter about itself: the result is compared, not trusted
            torch.onnx.export(
                network,
                (example,),
                path,
                dynamo=True,
                input_names=[INPUT],
                output_names=[ends.network_output],
                opset_version=OPSET,
                dynamic_shapes=(free,),
                external_data=False,
                verbose=False,
            )
    except torch.onnx.OnnxExporterError as wrong:
        raise UsageError(
            f"this network cannot be written for images of any size ({first_line(wrong.__cause__ or wrong)})",
            cure="predict with the model folder itself",
        ) from wrong
    if plan.network.quantization != "none":
        finish(path, moves=moves)


def example_shape(plan: Plan) -> tuple[int, ...]:
    """A shape ``(B, C, *S)`` that tells an exporter as little as possible.

    No two axes are alike, no length is 1 at any stage of the network, and none is a multiple of the stride:
    an exporter takes such coincidences for promises.

    Args:
        plan: The plan.

    Example:
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> example_shape(Plan.model_validate(EXAMPLE))
        (2, 1, 11, 15)
    """
    lengths = []
    for axis, steps in enumerate(zip(*plan.network.strides, strict=True)):
        stride = math.prod(steps)
        lengths.append(stride * max(3 + axis, -(-(12 + 4 * axis) // stride)) - 1)
    return (2, plan.data.input_channels, *lengths)


def _package(name: str) -> ModuleType:
    try:
        return importlib.import_module(name)
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"the runtime 'onnx' needs the package '{name}', which is not installed",
            cure="pip install 'unetkit[onnx]'",
        ) from missing


def first_line(said: object) -> str:
    """What an engine said, without what follows its first line.

    Args:
        said: An error, or its text.
    """
    return str(said).strip().split("\n")[0].rstrip(". ")[:200]
