"""Devices, threads, memory and the choice of a layout."""

import time

import pytest
import torch
from torch import nn

from unetkit.errors import ResourceError, UsageError
from unetkit.runtimes import devices
from unetkit.runtimes.devices import (
    Layout,
    fastest_layout,
    keep_memory,
    pick_device,
    shrunk,
    use_threads,
)

CPU = torch.device("cpu")


def convolution(rank):
    return getattr(nn, f"Conv{rank}d")


def norm(rank):
    return getattr(nn, f"BatchNorm{rank}d")


def test_auto_is_cuda_where_there_is_one(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    assert pick_device() == torch.device("cuda", 0)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    assert pick_device("auto") == CPU


def test_a_wrong_device_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"'cudda' is no device. Do this: use 'cuda'"):
        pick_device("cudda")
    with pytest.raises(UsageError, match=r"'GPU:1' is no device. Do this: use 'cuda'"):
        pick_device("GPU:1")
    with pytest.raises(UsageError, match="'cuda:x' is no device"):
        pick_device("cuda:x")


def test_an_absent_device_is_refused(monkeypatch):
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)
    with pytest.raises(ResourceError, match=r"'cuda:1' was asked for, this machine shows 0 of kind 'cuda'"):
        pick_device("cuda:1")
    with pytest.raises(ResourceError, match="shows 1 of kind 'cpu'"):
        pick_device("cpu:3")


def test_keep_memory_is_idempotent_and_silent_where_there_is_no_glibc(monkeypatch, capfd):
    assert keep_memory() is keep_memory()
    keep_memory.cache_clear()
    monkeypatch.setattr(devices.sys, "platform", "darwin")
    assert keep_memory() is False
    keep_memory.cache_clear()
    monkeypatch.undo()
    monkeypatch.setattr(devices.ctypes, "CDLL", lambda name: object())  # musl: no mallopt
    assert keep_memory() is False
    keep_memory.cache_clear()
    assert capfd.readouterr() == ("", "")


def test_use_threads_never_raises_the_number(monkeypatch):
    before = torch.get_num_threads()
    monkeypatch.setattr(devices, "thread_count", lambda: before + 5)
    assert use_threads() == before
    monkeypatch.setattr(devices, "thread_count", lambda: 1)
    assert use_threads() == 1
    torch.set_num_threads(before)


class Slow(nn.Module):
    """Slower in every layout but one; remembers what it saw."""

    def __init__(self, fast):
        super().__init__()
        self.weight = nn.Parameter(torch.ones(1))
        self.register_buffer("seen", torch.zeros(1))
        self.fast = fast

    def forward(self, x):
        self.seen += 1
        half = torch.is_autocast_enabled(x.device.type)
        last = x.stride(1) == 1
        if (half, last) != self.fast:
            time.sleep(0.02)
        return [x * self.weight, (x * self.weight)[..., ::2]]


@pytest.mark.parametrize("training", [True, False])
@pytest.mark.parametrize(
    ("fast", "expected"),
    [
        ((False, False), Layout("float32", "contiguous")),
        ((False, True), Layout("float32", "channels_last")),
        ((True, True), Layout("bfloat16", "channels_last")),
    ],
)
def test_the_fastest_layout_is_found(monkeypatch, fast, expected, training):
    monkeypatch.setattr(devices, "_bfloat16_pays", lambda device: True)
    network = Slow(fast)
    assert fastest_layout(network, (2, 2, 8, 6), CPU, training=training) == expected
    assert network.seen == 0
    assert network.weight.grad is None


def test_bfloat16_is_not_tried_where_a_small_convolution_says_no(monkeypatch):
    monkeypatch.setattr(devices, "_bfloat16_pays", lambda device: False)
    found = fastest_layout(Slow((True, True)), (2, 2, 8, 6), CPU, training=False)
    assert found.precision == "float32"


@pytest.mark.parametrize(("slices", "expected"), [(2, "float32"), (5, "bfloat16"), (4, "float32")])
def test_bfloat16_is_not_trained_where_a_convolution_sees_two_slices(monkeypatch, slices, expected):
    """Of 4 slices the last convolution sees two, of 5 three."""
    monkeypatch.setattr(devices, "_bfloat16_pays", lambda device: True)
    monkeypatch.setattr(
        devices._Trial,
        "compare",
        lambda self, shape, candidates: {layout: -len(layout.precision) for layout in candidates},
    )
    network = nn.Sequential(nn.Conv3d(1, 2, 3, padding=1), nn.Conv3d(2, 2, 3, stride=2, padding=1))
    network.append(nn.Conv3d(2, 2, 3, padding=1))
    shape = (1, 1, slices, 5, 5)
    assert fastest_layout(network, shape, CPU, training=True).precision == expected
    assert fastest_layout(network, shape, CPU, training=False).precision == "bfloat16"


def test_what_is_wanted_is_not_measured():
    def refuse(*_):
        raise AssertionError("nothing may run")

    network = nn.Identity()
    network.forward = refuse
    for precision in devices.PRECISIONS:
        for order in devices.MEMORY_FORMATS:
            found = fastest_layout(
                network, (1, 1, 8, 8), CPU, training=True, wanted_precision=precision, wanted_format=order
            )
            assert found == Layout(precision, order)


def test_half_of_the_choice_may_be_wanted():
    network = Slow((True, True))
    found = fastest_layout(network, (2, 2, 8, 6), CPU, training=False, wanted_precision="bfloat16")
    assert found == Layout("bfloat16", "channels_last")
    with pytest.raises(UsageError, match=r"unknown value 'bfloat' *.* use 'bfloat16'"):
        fastest_layout(network, (2, 2, 8, 6), CPU, training=False, wanted_precision="bfloat")


def test_measuring_leaves_random_numbers_and_statistics_alone():
    network = nn.Sequential(convolution(2)(1, 4, 3, padding=1), norm(2)(4), nn.Dropout(0.5))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    state = torch.get_rng_state()
    fastest_layout(network, (2, 1, 16, 16), CPU, training=True)
    assert torch.equal(state, torch.get_rng_state())
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_a_large_shape_is_timed_on_a_smaller_one():
    assert shrunk((1, 3, 4096, 4096), 1 << 16) == (2, 3, 128, 256)
    assert shrunk((2, 1, 40, 56, 40), 1 << 30) == (2, 1, 40, 56, 40)
    assert shrunk((16, 1, 16, 16), 10) == (2, 1, 16, 16)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("precision", devices.PRECISIONS)
def test_a_layout_places_the_network_and_gives_the_same_numbers(rank, precision):
    network = convolution(rank)(2, 3, 3, padding=1)
    x = torch.randn(1, 2, *(6,) * rank)
    expected = network(x)
    layout = Layout(precision, "channels_last")
    assert layout.place(network, CPU) is network
    with layout.autocast(CPU):
        found = network(layout.arrange(x))
    assert str(found.dtype) == f"torch.{precision}"
    torch.testing.assert_close(
        found.float(), expected, atol=1e-5 if precision == "float32" else 0.05, rtol=0.05
    )
