"""Memory of an NVIDIA GPU for an engine that brings none of its own: arrays go there and come back."""

from __future__ import annotations

import importlib
import weakref
from types import ModuleType
from typing import Any

import numpy as np

from unetkit.errors import ResourceError

_ELSEWHERE = "predict on a machine with an NVIDIA GPU, or export the model to onnx or openvino"


class Gpu:
    """The first NVIDIA GPU that CUDA shows, with room that is taken once and kept.

    Which GPU that is says ``CUDA_VISIBLE_DEVICES``.

    Args:
        cuda: The module ``cuda.bindings.runtime``.

    Attributes:
        name: Model and compute capability, such as ``NVIDIA A100-SXM4-80GB 8.0``.
        stream: The number of the CUDA stream on which everything happens in order.

    Raises:
        ResourceError: There is no GPU, or its driver is too old.

    Reference:
        CUDA Runtime API; its Python names are those of CUDA Python, https://nvidia.github.io/cuda-python.
    """

    def __init__(self, cuda: ModuleType) -> None:
        self._cuda = cuda
        try:
            count = self._call("cudaGetDeviceCount")
        except RuntimeError as wrong:
            raise ResourceError(f"no NVIDIA GPU can be used ({wrong})", cure=_ELSEWHERE) from None
        if not count:
            raise ResourceError("there is no NVIDIA GPU", cure=_ELSEWHERE)
        facts = self._call("cudaGetDeviceProperties", 0)
        name = facts.name.decode(errors="replace") if isinstance(facts.name, bytes) else str(facts.name)
        self.name = f"{name.rstrip(chr(0))} {facts.major}.{facts.minor}"
        stream = self._call("cudaStreamCreate")
        self.stream = int(stream)
        self._rooms: dict[str, tuple[int, int]] = {}
        self._given_back = weakref.finalize(self, _give_back, cuda, self._rooms, stream)
        self._handle = stream

    def room(self, name: str, size: int) -> int:
        """The address of so many bytes; the same as before where these suffice.

        Args:
            name: What they are for.
            size: Bytes.

        Raises:
            MemoryError: They are not there.
        """
        address, held = self._rooms.get(name, (0, 0))
        if held < size:
            if held:
                del self._rooms[name]
                self._call("cudaFree", address)
            address = int(self._call("cudaMalloc", size))
            self._rooms[name] = (address, size)
        return address

    def free(self) -> None:
        """Give all room back."""
        while self._rooms:
            self._call("cudaFree", self._rooms.popitem()[1][0])

    def send(self, array: np.ndarray, address: int) -> None:
        """Copy an array to the GPU.

        Args:
            array: C-contiguous; it has to live until ``wait``.
            address: Where to.
        """
        way = self._cuda.cudaMemcpyKind.cudaMemcpyHostToDevice
        self._call("cudaMemcpyAsync", address, array.ctypes.data, array.nbytes, way, self._handle)

    def fetch(self, address: int, array: np.ndarray) -> None:
        """Copy from the GPU into an array, whose content is there after ``wait``.

        Args:
            address: Where from.
            array: C-contiguous.
        """
        way = self._cuda.cudaMemcpyKind.cudaMemcpyDeviceToHost
        self._call("cudaMemcpyAsync", array.ctypes.data, address, array.nbytes, way, self._handle)

    def wait(self) -> None:
        """Until everything that was asked for is done."""
        self._call("cudaStreamSynchronize", self._handle)

    def _call(self, name: str, *given: Any) -> Any:  # noqa: ANN401 - whatever CUDA answers
        """What a function of CUDA answers behind its error code, which is raised."""
        code, *answers = getattr(self._cuda, name)(*given)
        known = self._cuda.cudaError_t
        if code == known.cudaErrorMemoryAllocation:
            raise MemoryError(f"{name}: out of memory")
        if code != known.cudaSuccess:
            raise RuntimeError(f"{name}: {getattr(code, 'name', code)}")
        return answers[0] if answers else None


def first_gpu() -> Gpu:
    """The GPU that this machine shows first.

    Raises:
        ModuleNotFoundError: CUDA Python is not installed.
        ResourceError: There is none.
    """
    return Gpu(importlib.import_module("cuda.bindings.runtime"))


def _give_back(cuda: ModuleType, rooms: dict[str, tuple[int, int]], stream: Any) -> None:  # noqa: ANN401
    for address, _ in rooms.values():
        cuda.cudaFree(address)
    cuda.cudaStreamDestroy(stream)
