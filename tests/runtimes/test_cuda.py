"""Memory of a GPU, on a fake of CUDA that checks the calls: there is no GPU here."""

import sys

import numpy as np
import pytest

from unetkit.errors import ResourceError
from unetkit.runtimes.cuda import Gpu, first_gpu


def test_arrays_go_there_and_come_back_in_order(fake_gpu):
    gpu = Gpu(fake_gpu.Cuda())
    assert (gpu.name, gpu.stream) == ("Fake GPU 9.0", 77)
    array = np.arange(6, dtype=np.float32).reshape(2, 3)
    back = np.zeros_like(array)
    gpu.send(array, gpu.room("in", array.nbytes))
    gpu.fetch(gpu.room("in", array.nbytes), back)
    assert not back.any()
    gpu.wait()
    assert np.array_equal(back, array)


def test_room_is_kept_and_grows_without_leaving_the_old_behind(fake_gpu):
    cuda = fake_gpu.Cuda()
    gpu = Gpu(cuda)
    first = gpu.room("in", 100)
    assert gpu.room("in", 60) == first
    assert gpu.room("out", 10) != first
    assert gpu.room("in", 200) != first
    assert sorted(map(len, cuda.memory.values())) == [10, 200]
    assert cuda.taken == 3
    gpu.free()
    assert cuda.memory == {}
    gpu.room("in", 5)
    del gpu
    assert (cuda.memory, cuda.streams) == ({}, {})


def test_memory_that_is_not_there_is_told_as_such(fake_gpu):
    cuda = fake_gpu.Cuda(limit=100)
    gpu = Gpu(cuda)
    gpu.room("in", 90)
    with pytest.raises(MemoryError, match="cudaMalloc: out of memory"):
        gpu.room("in", 200)
    assert cuda.memory == {}
    gpu.room("in", 90)


def test_a_machine_without_a_gpu_is_told_what_else_there_is(fake_gpu):
    with pytest.raises(
        ResourceError, match=r"no NVIDIA GPU can be used \(cudaGetDeviceCount: cudaErrorNo"
    ) as no:
        Gpu(fake_gpu.Cuda(devices=0))
    assert no.value.cure.endswith("export the model to onnx or openvino")

    class Odd(fake_gpu.Cuda):
        def cudaGetDeviceCount(self):  # noqa: N802
            return (fake_gpu.cudaError_t.cudaSuccess, 0)

    with pytest.raises(ResourceError, match="there is no NVIDIA GPU"):
        Gpu(Odd())


def test_cuda_python_is_asked_for_by_its_own_name(fake_gpu, monkeypatch):
    monkeypatch.setitem(sys.modules, "cuda.bindings.runtime", fake_gpu.Cuda())
    monkeypatch.setitem(sys.modules, "cuda.bindings", object())
    monkeypatch.setitem(sys.modules, "cuda", object())
    assert first_gpu().name == "Fake GPU 9.0"
