"""The runtime of NVIDIA GPUs: a file whose every value is typed, of which TensorRT builds an engine there."""

from __future__ import annotations

import hashlib
import importlib
import os
import time
from collections import deque
from collections.abc import Mapping
from functools import cache as once
from pathlib import Path
from types import ModuleType
from typing import TYPE_CHECKING, Any, ClassVar

import numpy as np

from unetkit.errors import DataError, MissingPackageError, ResourceError, UsageError
from unetkit.records.files import write_bytes, write_text
from unetkit.records.saved import Saved
from unetkit.runtimes.batches import Batches, required
from unetkit.runtimes.cuda import first_gpu
from unetkit.runtimes.onnx import INPUT, NETWORK, OnnxRuntime, first_line, write_onnx
from unetkit.runtimes.onnx_half import MULTIPLIES, halve, rounded_copy, untyped
from unetkit.runtimes.onnx_size import shrink
from unetkit.runtimes.qdq import rounded_convolutions, write_signed

if TYPE_CHECKING:
    from torch import nn

    from unetkit.records.plan import Plan

SIZES = "network.json"
OLDEST = 10
"""Major version of TensorRT from which types are taken as the file states them."""
TOGETHER = 4
"""Tiles at once that an engine is built for, at least: a model planned on a CPU has one at a time."""
_ELSEWHERE = "or export the model to onnx or openvino, which run on a CPU"


class EngineSizes(Saved):
    """``network.json``: the shapes ``(B, C, *S)`` that an engine is built for.

    Args:
        least: The smallest batch.
        usual: The one that it is made fast for.
        most: The largest.
    """

    version: int = 1
    least: tuple[int, ...]
    usual: tuple[int, ...]
    most: tuple[int, ...]


class TensorrtRuntime:
    """Tiles in, logits out (or class ids, where they are what the file answers), through TensorRT on a GPU.

    The engine is built on the machine where it runs, of the exported ONNX file, which takes minutes and
    happens once: it is kept in the user's cache, under a name made of the file, the version of TensorRT and
    the GPU. An engine is code. Therefore none is ever read from a model's folder, which may be a stranger's.

    Args:
        network: The content of ``network.onnx``.
        sizes: Which shapes the engine is built for.

    Attributes:
        notes: What was done differently from what was asked: an engine was built, smaller batches.

    Raises:
        MissingPackageError: tensorrt or cuda-bindings is not installed, or TensorRT is older than 10.
        DataError: TensorRT cannot build an engine of the file.
        ResourceError: There is no GPU, or its memory does not suffice.

    Reference:
        NVIDIA TensorRT, strongly typed networks, https://docs.nvidia.com/deeplearning/tensorrt.
    """

    FILES = (NETWORK, SIZES)
    PACKAGES = ("onnx", "onnxruntime", "onnxscript", "tensorrt", "torch")
    DEVICE = "cuda"
    PRECISION = "float16"
    SYMMETRIC = True
    CHANGES: ClassVar[Mapping[str, str]] = {
        "inference.whole_image_pixels": "0",
        "inference.mode": "blend",
    }
    """An engine is built for tiles: an image in one piece has any size, and strips of ``exact`` have."""

    def __init__(self, network: bytes, sizes: EngineSizes) -> None:
        self._trt = trt = _package()
        try:
            self._gpu = gpu = first_gpu()
        except ModuleNotFoundError as missing:
            raise _missing("cuda-bindings") from missing
        self._sizes, self._log = sizes, _log(trt)
        self._batches = Batches(gpu.name, freed=gpu.free)
        self.notes = self._batches.notes
        self._runtime = trt.Runtime(self._log)
        self._engine = self._ready(network, _user_cache())
        self._context = self._engine.create_execution_context()
        if self._context is None:
            tile = "×".join(map(str, sizes.most))
            raise ResourceError(
                f"the memory of '{gpu.name}' does not suffice for batches of {tile} ({self._log.said()})",
                cure=f"use a GPU with more memory, {_ELSEWHERE}",
            )
        named = [self._engine.get_tensor_name(number) for number in range(self._engine.num_io_tensors)]
        (self._answer,) = [name for name in named if name != INPUT]
        self._kind, self._answer_kind = (
            np.dtype(trt.nptype(self._engine.get_tensor_dtype(name))).type for name in (INPUT, self._answer)
        )

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> TensorrtRuntime:
        """Make an exported network ready; the first time on a machine takes minutes.

        Args:
            files: The content of ``network.onnx`` and ``network.json``.
        """
        return cls(files[NETWORK], EngineSizes.from_json(files[SIZES], where=SIZES))

    @staticmethod
    def stand_in(files: Mapping[str, bytes]) -> tuple[OnnxRuntime, str]:
        """What answers as the file says where TensorRT cannot run, and what that is.

        Args:
            files: The content of ``network.onnx``.

        Raises:
            MissingPackageError: onnx or onnxruntime is not installed.
        """
        model = importlib.import_module("onnx").load_from_string(files[NETWORK])
        words = "onnxruntime on the CPU, each half value rounded to half (TensorRT cannot run here)"
        return OnnxRuntime(rounded_copy(model), as_written=True), words

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch, of at most ``most`` tiles at a time.

        Args:
            batch: ``(B, C, *S)`` float32, or uint8 where that is what the file takes.

        Returns:
            ``(B, K, *S)`` float32, C-contiguous; or class ids ``(B, *S)``.

        Raises:
            DataError: The engine was not built for tiles of this size.
            ResourceError: One tile alone does not fit.
            UsageError: The pixels are of another type than the file takes.
        """
        return self._batches.run(required(batch, self._kind), self._forward)

    def _forward(self, part: np.ndarray) -> np.ndarray:
        sizes, size = self._sizes, part.shape[1:]
        if any(
            not low <= one <= high
            for low, one, high in zip(sizes.least[1:], size, sizes.most[1:], strict=True)
        ):
            given, most = ("×".join(map(str, shape)) for shape in (size[1:], sizes.most[2:]))
            raise DataError(
                f"this engine was built for tiles of up to {most} pixels, got {given}",
                cure="leave inference.tile_size, inference.whole_image_pixels and inference.mode as exported",
            )
        step = sizes.most[0]
        answers = [self._ask(part[first : first + step]) for first in range(0, len(part), step)]
        return answers[0] if len(answers) == 1 else np.concatenate(answers)

    def _ask(self, piece: np.ndarray) -> np.ndarray:
        context, gpu = self._context, self._gpu
        if not context.set_input_shape(INPUT, piece.shape):
            raise self._refused(piece)
        answer = np.empty(tuple(context.get_tensor_shape(self._answer)), self._answer_kind)
        places = {INPUT: gpu.room(INPUT, piece.nbytes), self._answer: gpu.room(self._answer, answer.nbytes)}
        for name, address in places.items():
            context.set_tensor_address(name, address)
        gpu.send(piece, places[INPUT])
        if not context.execute_async_v3(stream_handle=gpu.stream):
            raise self._refused(piece)
        gpu.fetch(places[self._answer], answer)
        gpu.wait()
        return answer

    def _refused(self, piece: np.ndarray) -> Exception:
        """What TensorRT said, as the error it is."""
        text, size = self._log.said(), "×".join(map(str, piece.shape[2:]))
        if "memory" in text.lower():
            return MemoryError(text)
        return DataError(
            f"TensorRT cannot compute a tile of {size} pixels with this network ({text})",
            cure=f"predict this image with the model folder itself, {_ELSEWHERE}",
        )

    def _ready(self, network: bytes, cache: Path) -> Any:  # noqa: ANN401 - a guest's class
        """The engine of a network: the one that was kept, or a new one."""
        parts = (
            network,
            self._sizes.to_json().encode(),
            self._trt.__version__.encode(),
            self._gpu.name.encode(),
        )
        digest = hashlib.sha256(b"\0".join(hashlib.sha256(one).digest() for one in parts)).hexdigest()
        path, own = cache / f"{digest}.engine", _is_own(cache)
        if own and path.is_file():
            kept = self._runtime.deserialize_cuda_engine(path.read_bytes())
            if kept is not None:
                return kept
        started = time.monotonic()
        built = _build(self._trt, network, self._sizes, self._log)
        engine = self._runtime.deserialize_cuda_engine(built)
        if engine is None:
            raise _unbuilt(self._log.said())
        spent = f"TensorRT built an engine for '{self._gpu.name}' in {time.monotonic() - started:.0f} s"
        if not own:
            self.notes.append(f"{spent}; it is not kept, {cache} is not this user's alone")
            return engine
        try:
            write_bytes(path, built)
            self.notes.append(f"{spent}; it is kept in {cache}")
        except (ResourceError, OSError) as wrong:
            self.notes.append(f"{spent}; it is not kept ({wrong})")
        return engine

    @staticmethod
    def export(network: nn.Module, plan: Plan, folder: Path) -> None:
        """Write ``network.onnx`` and ``network.json``; TensorRT is not needed for it.

        Weights and activations are half, norms float32. Of a network in eight bits every grid has its zero
        at 0, kernels have a step per channel, and what stays in floating point is float32.

        Args:
            network: In evaluation mode, on the CPU; not changed.
            plan: Its plan; tile and batch are what the engine will be built for.
            folder: Where.

        Raises:
            MissingPackageError: What writes ONNX is not installed.
            UsageError: The network cannot be written for images of any size, or was calibrated with grids
                whose zero is elsewhere.
        """
        path = folder / NETWORK
        write_onnx(network, plan, path, moves=False)
        if plan.network.quantization != "none":
            write_signed(path)
        _write_typed(path, half=plan.network.quantization == "none")
        write_text(folder / SIZES, sizes_of(plan).to_json())

    @staticmethod
    def convolutions(files: Mapping[str, bytes]) -> dict[str, int]:
        """How many convolutions read bytes and kernels of bytes, as TensorRT computes them: told by the file.

        Args:
            files: The content of ``network.onnx``.

        Returns:
            ``integer`` and ``float``.
        """
        graph = importlib.import_module("onnx").load_from_string(files[NETWORK]).graph
        every = sum(node.op_type in MULTIPLIES[:2] for node in graph.node)
        integer = rounded_convolutions(graph)
        return {"integer": integer, "float": every - integer}


def sizes_of(plan: Plan) -> EngineSizes:
    """The shapes that an engine is built for: every tile that the plan can give, from one pixel.

    Args:
        plan: The plan of an export.

    Example:
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> sizes_of(Plan.model_validate(EXAMPLE)).most
        (4, 1, 32, 32)
    """
    channels, tile = plan.data.input_channels, plan.inference.tile_size
    most = (max(plan.inference.batch_size, TOGETHER), channels, *tile)
    return EngineSizes(least=(1, channels, *[1] * len(tile)), usual=most, most=most)


def _write_typed(path: Path, *, half: bool) -> None:
    """State every type in an ONNX file, and refuse what TensorRT would not take as it is meant."""
    onnx = importlib.import_module("onnx")
    model = onnx.load(path)
    try:
        if half:
            halve(model)
        _bytes_from_floats(model.graph)
        shrink(model)
        onnx.checker.check_model(model, full_check=True)
        faults = untyped(model)
    except (onnx.shape_inference.InferenceError, onnx.checker.ValidationError) as wrong:
        faults = (first_line(wrong),)
    if faults:
        raise UsageError(
            f"this network cannot be written with types alone: {faults[0]}",
            cure=f"predict with it, {_ELSEWHERE}",
        )
    onnx.save(model, path)


def _bytes_from_floats(graph: Any) -> None:  # noqa: ANN401 - a guest's class
    """Class ids become bytes by way of float32, the one type besides half of which TensorRT makes bytes."""
    onnx = importlib.import_module("onnx")
    nodes = []
    for node in graph.node:
        to = [one.i for one in node.attribute if one.name == "to"]
        if node.op_type == "Cast" and to == [onnx.TensorProto.UINT8]:
            between = f"{node.output[0]}_number"
            nodes.append(onnx.helper.make_node("Cast", [node.input[0]], [between], to=onnx.TensorProto.FLOAT))
            node.input[0] = between
        nodes.append(node)
    del graph.node[:]
    graph.node.extend(nodes)


def _build(trt: ModuleType, network: bytes, sizes: EngineSizes, log: Any) -> bytes:  # noqa: ANN401
    """An engine as bytes, for the GPU that is there."""
    builder = trt.Builder(log)
    definition = builder.create_network(1 << int(trt.NetworkDefinitionCreationFlag.STRONGLY_TYPED))
    parser = trt.OnnxParser(definition, log)
    if not parser.parse(network):
        raise _unbuilt(first_line(parser.get_error(0).desc()) if parser.num_errors else log.said())
    settings, shapes = builder.create_builder_config(), builder.create_optimization_profile()
    shapes.set_shape(INPUT, sizes.least, sizes.usual, sizes.most)
    settings.add_optimization_profile(shapes)
    built = builder.build_serialized_network(definition, settings)
    if built is None:
        raise _unbuilt(log.said())
    return bytes(built)


def _unbuilt(text: str) -> DataError:
    return DataError(
        f"TensorRT cannot build an engine of this network ({text})",
        cure=f"predict with the model folder itself, {_ELSEWHERE}",
        where=NETWORK,
    )


@once  # TensorRT holds on to the first that it is given
def _log(trt: ModuleType) -> Any:  # noqa: ANN401 - of a class that TensorRT has to know
    """Keeps TensorRT's errors instead of printing them."""

    class Log(trt.ILogger):
        def __init__(self) -> None:
            trt.ILogger.__init__(self)
            self.lines: deque[str] = deque(maxlen=20)

        def log(self, severity: object, msg: str) -> None:
            if severity in (trt.ILogger.INTERNAL_ERROR, trt.ILogger.ERROR):
                self.lines.append(msg)

        def said(self) -> str:
            return first_line(self.lines[-1]) if self.lines else "no reason given"

    return Log()


def _user_cache() -> Path:
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    return Path(base) / "unetkit" / "tensorrt"


def _is_own(folder: Path) -> bool:
    """Whether nobody else can put an engine into a folder, which is made where it is missing."""
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        found = folder.stat()
    except OSError:
        return False
    return not hasattr(os, "getuid") or (found.st_uid == os.getuid() and not found.st_mode & 0o022)


def _package() -> ModuleType:
    try:
        trt = importlib.import_module("tensorrt")
    except ModuleNotFoundError as missing:
        raise _missing("tensorrt") from missing
    if int(trt.__version__.split(".")[0]) < OLDEST:
        raise MissingPackageError(
            f"the runtime 'tensorrt' needs TensorRT {OLDEST} or newer, got {trt.__version__}",
            cure="pip install --upgrade 'unetkit[tensorrt]'",
        )
    return trt


def _missing(package: str) -> MissingPackageError:
    return MissingPackageError(
        f"the runtime 'tensorrt' needs the package '{package}', which is not installed",
        cure=f"pip install 'unetkit[tensorrt]' on a machine with an NVIDIA GPU, {_ELSEWHERE}",
    )
