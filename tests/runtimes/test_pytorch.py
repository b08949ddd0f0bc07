"""The torch runtime."""

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.errors import ResourceError
from unetkit.lookup import pick
from unetkit.runtimes import RUNTIMES
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime

CPU = torch.device("cpu")
convolution = getattr(nn, f"Conv{2}d")


class Watch(nn.Module):
    """A network that tells what it was called with, and runs out of memory above a batch size."""

    def __init__(self, fits=100):
        super().__init__()
        self.fits, self.sizes = fits, []

    def forward(self, x):
        self.sizes.append(len(x))
        self.eval_mode, self.inference, self.last = not self.training, x.is_inference(), x.stride(1) == 1
        self.half = torch.is_autocast_enabled("cpu")
        self.data = x.data_ptr()
        if len(x) > self.fits:
            raise torch.OutOfMemoryError("fake")
        return torch.cat([x, -x], dim=1)


def batch(*shape):
    return np.random.default_rng(0).standard_normal(shape).astype(np.float32)


def test_the_table_leads_here():
    assert pick("runtime", RUNTIMES, "pytorch") is PytorchRuntime


@pytest.mark.parametrize("shape", [(3, 1, 4, 5), (2, 1, 3, 4, 5)])
@pytest.mark.parametrize("order", ["contiguous", "channels_last"])
def test_runs_in_inference_mode_and_gives_plain_float32(shape, order):
    network, pixels = Watch(), batch(*shape)
    found = PytorchRuntime(network, CPU, Layout("float32", order)).run(pixels)
    assert np.array_equal(found, np.concatenate([pixels, -pixels], axis=1))
    assert found.dtype == np.float32
    assert found.flags.c_contiguous
    assert network.eval_mode
    assert network.training  # and back
    assert not network.half


def test_numpy_is_not_copied_on_the_way_in():
    network, pixels = Watch(), batch(1, 1, 4, 4)
    PytorchRuntime(network, CPU, Layout()).run(pixels)
    assert network.data == pixels.ctypes.data


def test_a_read_only_array_is_copied_without_a_warning():
    pixels = batch(1, 1, 4, 4)
    pixels.flags.writeable = False
    assert PytorchRuntime(Watch(), CPU, Layout()).run(pixels).shape == (1, 2, 4, 4)


def test_bfloat16_is_used_when_wanted_and_the_answer_is_float32():
    network = convolution(1, 2, 3)
    pixels = batch(1, 1, 8, 8)
    exact = PytorchRuntime(network, CPU, Layout()).run(pixels)
    half = PytorchRuntime(network, CPU, Layout("bfloat16", "channels_last")).run(pixels)
    assert half.dtype == np.float32
    assert not np.array_equal(half, exact)
    assert np.array_equal(half, torch.from_numpy(half).bfloat16().float().numpy())
    np.testing.assert_allclose(half, exact, atol=0.05)


@pytest.mark.parametrize("error", [MemoryError(), RuntimeError("DefaultCPUAllocator: can't allocate memory")])
def test_a_cpu_that_runs_out_says_it_in_its_own_words(error):
    class Full(nn.Module):
        def forward(self, x):
            if len(x) > 1:
                raise error
            return x

    pixels = batch(3, 1, 2, 2)
    runtime = PytorchRuntime(Full(), CPU, Layout())
    assert np.array_equal(runtime.run(pixels), pixels)
    assert runtime.notes == ["cpu ran out of memory: batches of 1 from now on"]

    class Broken(nn.Module):
        def forward(self, x):
            raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        PytorchRuntime(Broken(), CPU, Layout()).run(pixels)


def test_out_of_memory_halves_the_batch_says_so_and_remembers():
    network, pixels = Watch(fits=2), batch(7, 1, 3, 3)
    runtime = PytorchRuntime(network, CPU, Layout())
    expected = np.concatenate([pixels, -pixels], axis=1)
    assert np.array_equal(runtime.run(pixels), expected)
    assert network.sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert runtime.notes == [
        "cpu ran out of memory: batches of 3 from now on",
        "cpu ran out of memory: batches of 1 from now on",
    ]
    network.sizes.clear()
    assert np.array_equal(runtime.run(pixels), expected)
    assert network.sizes == [1] * 7


def test_a_single_tile_that_does_not_fit_is_explained():
    runtime = PytorchRuntime(Watch(fits=0), CPU, Layout())
    with pytest.raises(
        ResourceError, match=r"one tile of 3×4 pixels does not fit .* smaller inference.tile_size"
    ):
        runtime.run(batch(2, 1, 3, 4))


def test_another_error_is_not_swallowed():
    with pytest.raises(RuntimeError, match="channels"):
        PytorchRuntime(convolution(2, 1, 1), CPU, Layout()).run(batch(1, 3, 4, 4))
