# ruff: noqa: N802, N815 - the names are those of the libraries
"""Fakes of two libraries that need a GPU: they check how they are called, and compute something simple.

Not TensorRT and not CUDA: nothing here says that an engine builds or answers rightly. What is asked of a
stream happens when somebody waits for it, in order, as on a GPU; memory has an end; addresses are checked.
"""

from __future__ import annotations

import ctypes
import enum
import json
import math

import numpy as np


class cudaError_t(enum.Enum):  # noqa: N801 - the library's own name
    cudaSuccess = 0
    cudaErrorMemoryAllocation = 2
    cudaErrorInsufficientDriver = 35
    cudaErrorNoDevice = 100


class cudaMemcpyKind(enum.Enum):  # noqa: N801
    cudaMemcpyHostToDevice = 1
    cudaMemcpyDeviceToHost = 2


class Facts:
    name = b"Fake GPU\x00\x00"
    major, minor = 9, 0


class Stream:
    def __init__(self, number: int) -> None:
        self.number = number
        self.queue: list = []

    def __int__(self) -> int:
        return self.number


class Cuda:
    """``cuda.bindings.runtime``: every function answers with its error code first."""

    cudaError_t, cudaMemcpyKind = cudaError_t, cudaMemcpyKind

    def __init__(self, *, limit: int = 1 << 20, devices: int = 1) -> None:
        self.limit, self.devices = limit, devices
        self.memory: dict[int, bytearray] = {}
        self.streams: dict[int, Stream] = {}
        self.next, self.taken = 1 << 12, 0

    def cudaGetDeviceCount(self):
        return (cudaError_t.cudaSuccess if self.devices else cudaError_t.cudaErrorNoDevice, self.devices)

    def cudaGetDeviceProperties(self, device):
        assert device == 0
        return (cudaError_t.cudaSuccess, Facts())

    def cudaStreamCreate(self):
        stream = Stream(77 + len(self.streams))
        self.streams[int(stream)] = stream
        return (cudaError_t.cudaSuccess, stream)

    def cudaStreamDestroy(self, stream):
        del self.streams[int(stream)]
        return (cudaError_t.cudaSuccess,)

    def cudaMalloc(self, size):
        if size + sum(map(len, self.memory.values())) > self.limit:
            return (cudaError_t.cudaErrorMemoryAllocation, 0)
        self.next, self.taken = self.next + (1 << 20), self.taken + 1
        self.memory[self.next] = bytearray(size)
        return (cudaError_t.cudaSuccess, self.next)

    def cudaFree(self, address):
        del self.memory[address]
        return (cudaError_t.cudaSuccess,)

    def cudaMemcpyAsync(self, to, source, count, way, stream):
        assert isinstance(stream, Stream)

        def copy():
            if way is cudaMemcpyKind.cudaMemcpyHostToDevice:
                assert count <= len(self.memory[to])
                self.memory[to][:count] = ctypes.string_at(source, count)
            else:
                ctypes.memmove(to, bytes(self.memory[source][:count]), count)

        stream.queue.append(copy)
        return (cudaError_t.cudaSuccess,)

    def cudaStreamSynchronize(self, stream):
        while stream.queue:
            stream.queue.pop(0)()
        return (cudaError_t.cudaSuccess,)


class NetworkDefinitionCreationFlag(enum.IntEnum):
    EXPLICIT_BATCH = 0
    STRONGLY_TYPED = 1


class Severity(enum.Enum):
    INTERNAL_ERROR = 0
    ERROR = 1
    WARNING = 2


class ILogger:
    INTERNAL_ERROR, ERROR, WARNING = Severity

    def __init__(self) -> None:
        self.told = True


class DataType(enum.Enum):
    FLOAT = "float32"
    UINT8 = "uint8"


class TensorRT:
    """``tensorrt``, of one machine with one GPU.

    Its engine answers with two channels: the sum of what goes in, and twice that.
    """

    ILogger, DataType = ILogger, DataType
    NetworkDefinitionCreationFlag = NetworkDefinitionCreationFlag

    def __init__(self, cuda: Cuda, version: str = "10.13.3.9") -> None:
        self.__version__, self.cuda = version, cuda
        self.refuses = self.fails = self.full = ""
        self.built = 0

    def nptype(self, kind):
        return np.dtype(kind.value).type

    def Builder(self, log):
        return Builder(self, log)

    def OnnxParser(self, definition, log):
        return Parser(self, definition)

    def Runtime(self, log):
        assert log.told
        return Runtime(self, log)


class Wrong:
    def __init__(self, text):
        self.text = text

    def desc(self):
        return self.text


class Parser:
    def __init__(self, trt, definition):
        self.trt, self.definition = trt, definition
        self.num_errors = int(bool(trt.refuses))

    def parse(self, content):
        import onnx

        self.definition["file"] = onnx.load_from_string(content)
        return not self.trt.refuses

    def get_error(self, number):
        assert number == 0
        return Wrong(self.trt.refuses)


class Shapes:
    def set_shape(self, name, least, usual, most):
        assert all(low <= middle <= high for low, middle, high in zip(least, usual, most, strict=True))
        self.name, self.least, self.most = name, list(least), list(most)


class Settings:
    def add_optimization_profile(self, shapes):
        self.shapes = shapes


class Builder:
    def __init__(self, trt, log):
        assert log.told
        self.trt, self.log = trt, log

    def create_network(self, flags):
        assert flags == 1 << int(NetworkDefinitionCreationFlag.STRONGLY_TYPED)
        return {}

    def create_builder_config(self):
        return Settings()

    def create_optimization_profile(self):
        return Shapes()

    def build_serialized_network(self, definition, settings):
        self.log.log(Severity.WARNING, "this takes a while")
        if self.trt.fails:
            self.log.log(Severity.ERROR, self.trt.fails)
            return None
        self.trt.built += 1
        (image,), (answer,) = definition["file"].graph.input, definition["file"].graph.output
        assert settings.shapes.name == image.name
        facts = {
            "input": image.name,
            "output": answer.name,
            "kind": {1: "FLOAT", 2: "UINT8"}[image.type.tensor_type.elem_type],
            "least": settings.shapes.least,
            "most": settings.shapes.most,
        }
        return bytearray(b"ENGINE" + json.dumps(facts).encode())


class Runtime:
    def __init__(self, trt, log):
        self.trt, self.log = trt, log

    def deserialize_cuda_engine(self, content):
        assert isinstance(content, bytes)
        return Engine(self, json.loads(content[6:])) if content[:6] == b"ENGINE" else None


class Engine:
    num_io_tensors = 2

    def __init__(self, runtime, facts):
        self.runtime, self.facts = runtime, facts

    def get_tensor_name(self, number):
        return self.facts[("input", "output")[number]]

    def get_tensor_dtype(self, name):
        return DataType[self.facts["kind"]] if name == self.facts["input"] else DataType.FLOAT

    def create_execution_context(self):
        if self.runtime.trt.full:
            self.runtime.log.log(Severity.ERROR, self.runtime.trt.full)
            return None
        return Context(self)


class Context:
    def __init__(self, engine):
        self.engine, self.trt = engine, engine.runtime.trt
        self.shape, self.addresses = None, {}

    def set_input_shape(self, name, shape):
        facts = self.engine.facts
        assert name == facts["input"]
        self.shape = tuple(shape)
        return all(
            low <= one <= high for low, one, high in zip(facts["least"], shape, facts["most"], strict=True)
        )

    def get_tensor_shape(self, name):
        assert name == self.engine.facts["output"]
        return (self.shape[0], 2, *self.shape[2:])

    def set_tensor_address(self, name, address):
        assert isinstance(address, int)
        self.addresses[name] = address
        return True

    def execute_async_v3(self, stream_handle):
        if self.trt.fails:
            self.engine.runtime.log.log(Severity.ERROR, self.trt.fails)
            return False
        memory, facts, shape = self.trt.cuda.memory, self.engine.facts, self.shape
        source, target = (self.addresses[facts[name]] for name in ("input", "output"))
        kind = np.dtype(DataType[facts["kind"]].value)

        def compute():
            size = math.prod(shape) * kind.itemsize
            image = np.frombuffer(bytes(memory[source][:size]), kind).reshape(shape).astype(np.float32)
            total = image.sum(axis=1, keepdims=True)
            content = np.concatenate([total, 2 * total], axis=1).tobytes()
            assert len(content) <= len(memory[target])
            memory[target][: len(content)] = content

        self.trt.cuda.streams[stream_handle].queue.append(compute)
        return True
