"""On what to compute and how numbers lie there: chosen by measuring, never by assumption."""

from __future__ import annotations

import copy
import ctypes
import math
import sys
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from functools import cache

import torch
from torch import Tensor, nn

from unetkit.errors import ResourceError, UsageError, nearest
from unetkit.runtimes.batches import no_memory
from unetkit.runtimes.cgroups import thread_count
from unetkit.spatial.memory_format import arrange_weights, arranged

KINDS = ("cpu", "cuda", "mps", "xpu")
PRECISIONS = ("float32", "bfloat16")
MEMORY_FORMATS = ("contiguous", "channels_last")

_TRIAL_PIXELS = 1 << 13
_TRIAL_PIXELS_ACCELERATOR = 1 << 21
# A small step flatters the contiguous format: 8 % ahead on patches of 20x28x20, 11 % behind on the batch of
# 9 times 40x56x40 they were cut from (a U-Net of 32 to 256 channels, two cores). So the true shape is timed
# wherever a step of it is over in this time.
_STEP_SECONDS = 1.0
_TRIAL_SECONDS = 4.0
_TRIAL_ROUNDS = 5


@dataclass(frozen=True)
class Layout:
    """The number type of the arithmetic and the order of a tensor's numbers in memory.

    Args:
        precision: ``float32`` or ``bfloat16`` (autocast; weights and sums stay float32).
        memory_format: ``contiguous`` or ``channels_last``.

    Example:
        >>> Layout().arrange(torch.zeros(1, 1, 4, 4)).is_contiguous()
        True
    """

    precision: str = "float32"
    memory_format: str = "contiguous"

    def place(self, network: nn.Module, device: torch.device) -> nn.Module:
        """Move a network to the device and its weights into the memory format, in place."""
        network.to(device)
        arrange_weights(network, self.memory_format)
        return network

    def arrange(self, tensor: Tensor) -> Tensor:
        """The tensor ``(B, C, *S)`` in the memory format."""
        return arranged(tensor, self.memory_format)

    def autocast(self, device: torch.device) -> AbstractContextManager[object]:
        """The context in which a forward pass computes with the precision."""
        if self.precision == "float32":
            return nullcontext()
        return torch.autocast(device.type, dtype=torch.bfloat16)


def pick_device(name: str = "auto") -> torch.device:
    """The device a name stands for.

    Args:
        name: ``auto`` (CUDA if there is one, else CPU) or ``cpu``, ``cuda``, ``cuda:1``, ``mps``, ``xpu``.

    Raises:
        UsageError: The name is no device.
        ResourceError: This machine has no such device.

    Example:
        >>> pick_device("cpu")
        device(type='cpu')
    """
    if name == "auto":
        return torch.device("cuda", 0) if torch.cuda.is_available() else torch.device("cpu")
    kind, _, index = name.partition(":")
    if kind not in KINDS or (index and not index.isdecimal()):
        meant = "cuda" if kind.lower() == "gpu" else name  # letter by letter 'xpu' would be nearer
        raise UsageError(f"'{name}' is no device", cure=nearest(meant, ("auto", *KINDS)))
    seen = 1 if kind == "cpu" else _count(kind)
    if int(index or 0) >= seen:
        raise ResourceError(
            f"the device '{name}' was asked for, this machine shows {seen} of kind '{kind}'",
            cure="use 'auto' or 'cpu', or install the torch build and the driver for that device",
        )
    return torch.device(kind) if kind == "cpu" else torch.device(kind, int(index or 0))


def _count(kind: str) -> int:
    """How many devices of a kind torch can use here."""
    if kind == "mps":
        return int(torch.backends.mps.is_available())
    return getattr(torch, kind).device_count() if getattr(torch, kind).is_available() else 0


@cache
def keep_memory() -> bool:
    """Keep freed memory in the process instead of giving it back after every operation.

    glibc answers a large allocation (every large CPU tensor) with fresh pages from ``mmap`` and unmaps
    them when the tensor is freed. Each operation of each step then touches new pages and takes one page
    fault per 4 KiB; forward + backward was measured up to 2 times slower for it. Here ``mallopt`` tells
    glibc to take large blocks from the heap and not to trim it. The price: freed memory stays with the
    process until it ends, so its resident size is the highest it ever needed, and a fragmented heap can
    need somewhat more.

    Only Linux with glibc has the switch; elsewhere nothing happens. Calling it again does nothing.

    Returns:
        Whether the switch was set.

    Example:
        >>> keep_memory() == keep_memory()
        True
    """
    if not sys.platform.startswith("linux"):
        return False
    library = ctypes.CDLL(None)
    if not (hasattr(library, "gnu_get_libc_version") and hasattr(library, "mallopt")):
        return False
    trim_threshold, top_pad, mmap_max = -1, -2, -4
    wanted = ((mmap_max, 0), (trim_threshold, 2**31 - 1), (top_pad, 2**28))
    answers = [library.mallopt(ctypes.c_int(key), ctypes.c_int(value)) for key, value in wanted]
    return all(answer == 1 for answer in answers)


def use_threads() -> int:
    """Let torch use no more threads than ``thread_count`` (nor more than it was already told).

    Returns:
        The number of threads now in use.
    """
    torch.set_num_threads(min(torch.get_num_threads(), thread_count()))
    return torch.get_num_threads()


def fastest_layout(
    network: nn.Module,
    shape: tuple[int, ...],
    device: torch.device,
    *,
    training: bool,
    wanted_precision: str = "auto",
    wanted_format: str = "auto",
) -> Layout:
    """The layout in which this network is fastest on this device, found by timing a few real steps.

    Nothing is measured when the wanted values leave one candidate. The network itself is not touched (a
    copy is timed) nor is any global random state; a large shape is timed on a smaller one.

    Args:
        network: The network; its weights may lie anywhere.
        shape: ``(B, C, *S)`` of one step.
        device: Where it will run.
        training: Time forward and backward (True) or forward alone.
        wanted_precision: ``auto``, ``float32`` or ``bfloat16``.
        wanted_format: ``auto``, ``contiguous`` or ``channels_last``.

    Raises:
        UsageError: A wanted value is unknown.

    Example:
        >>> fastest_layout(nn.Identity(), (1, 1, 8, 8), torch.device("cpu"), training=False,
        ...                wanted_precision="float32", wanted_format="channels_last")
        Layout(precision='float32', memory_format='channels_last')
    """
    candidates = _candidates(wanted_precision, wanted_format)
    unsafe = training and device.type == "cpu" and _has_two_slices(network, shape)
    if len(candidates) > 1 and wanted_precision == "auto" and (unsafe or not _bfloat16_pays(device)):
        candidates = [layout for layout in candidates if layout.precision == "float32"]
    if len(candidates) == 1:
        return candidates[0]
    cuda = [device] if device.type == "cuda" else []
    with torch.random.fork_rng(devices=cuda):
        seconds = _Trial(copy.deepcopy(network), device, training).compare(shape, candidates)
    return min(candidates, key=lambda layout: seconds[layout])


def _candidates(wanted_precision: str, wanted_format: str) -> list[Layout]:
    """Layouts that agree with what is wanted; bfloat16 without channels_last only when that is asked for."""
    for value, known in ((wanted_precision, PRECISIONS), (wanted_format, MEMORY_FORMATS)):
        if value not in ("auto", *known):
            raise UsageError(f"unknown value '{value}'", cure=nearest(value, ("auto", *known)))
    every = [Layout(precision, order) for precision in PRECISIONS for order in MEMORY_FORMATS]
    return [
        layout
        for layout in every
        if wanted_precision in ("auto", layout.precision)
        and wanted_format in ("auto", layout.memory_format)
        and not (wanted_precision == wanted_format == "auto" and layout == Layout("bfloat16", "contiguous"))
    ]


def _has_two_slices(network: nn.Module, shape: tuple[int, ...]) -> bool:
    """Whether a convolution over three axes sees exactly two slices.

    There torch's bfloat16 gradient of the weights reads memory nobody wrote (torch 2.15 on a CPU, kernel 3,
    both memory formats; not with 1, 3, 4 or 5 slices, and not in float32).
    """
    if len(shape) < 5:
        return False
    slices: set[int] = set()

    def watch(_: nn.Module, given: tuple[torch.Tensor, ...]) -> None:
        slices.add(given[0].shape[2])

    there = copy.deepcopy(network).to("meta")
    for module in there.modules():
        weight = getattr(module, "weight", None)
        if isinstance(weight, torch.Tensor) and weight.ndim == len(shape):
            module.register_forward_pre_hook(watch)
    with torch.inference_mode():
        there(torch.empty(2, *shape[1:], device="meta"))
    return 2 in slices


@cache
def _bfloat16_pays(device: torch.device) -> bool:
    """Whether one small convolution is faster in bfloat16 (without hardware for it: several times slower)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)

    def once(dtype: torch.dtype) -> Callable[[], object]:
        pixels = arranged(torch.ones(1, 32, 96, 96, dtype=dtype, device=device), "channels_last")
        weight = arranged(torch.ones(32, 32, 3, 3, dtype=dtype, device=device), "channels_last")
        return lambda: torch.convolution(pixels, weight, None, [1, 1], [1, 1], [1, 1], False, [0, 0], 1)

    with torch.inference_mode():
        half, full = (_best_of(once(dtype), device, 4) for dtype in (torch.bfloat16, torch.float32))
    return half < full


def _best_of(work: Callable[[], object], device: torch.device, times: int) -> float:
    """Seconds of the fastest of ``times`` calls, after one call to warm up."""
    work()
    _wait(device)
    best = float("inf")
    for _ in range(times):
        start = time.perf_counter()
        work()
        _wait(device)
        best = min(best, time.perf_counter() - start)
    return best


def _wait(device: torch.device) -> None:
    """Wait until the device has done its work (accelerators answer before they are done)."""
    if device.type != "cpu":
        torch.accelerator.synchronize(device)


class _Trial:
    """Steps of one network, timed."""

    def __init__(self, network: nn.Module, device: torch.device, training: bool) -> None:
        self.network = network.to(device).train(training)
        self.device = device
        self.training = training

    def compare(self, shape: tuple[int, ...], candidates: list[Layout]) -> dict[Layout, float]:
        """Seconds per step of each layout: the best of some rounds, as many as the time allows.

        In every round each layout has its turn, so that other work on the machine burdens all alike.
        """
        deadline = time.perf_counter() + _TRIAL_SECONDS
        shape = self._affordable(shape, candidates[0])
        for layout in candidates:
            self.step(shape, layout)
        seconds = dict.fromkeys(candidates, float("inf"))
        for _ in range(_TRIAL_ROUNDS):
            for layout in candidates:
                seconds[layout] = min(seconds[layout], self.step(shape, layout))
            if time.perf_counter() > deadline:
                break
        return seconds

    def _affordable(self, shape: tuple[int, ...], layout: Layout) -> tuple[int, ...]:
        """A shape at most as large as ``shape`` whose step takes no more time than one step may."""
        if self.device.type != "cpu":
            return shrunk(shape, _TRIAL_PIXELS_ACCELERATOR)
        probe = shrunk(shape, _TRIAL_PIXELS)
        self.step(probe, layout)
        per_pixel = self.step(probe, layout) / _pixels(probe)
        return shrunk(shape, max(_TRIAL_PIXELS, int(_STEP_SECONDS / per_pixel)))

    def step(self, shape: tuple[int, ...], layout: Layout) -> float:
        """Do one step and say how many seconds it took."""
        layout.place(self.network, self.device)
        pixels = layout.arrange(torch.randn(shape, device=self.device))
        _wait(self.device)
        start = time.perf_counter()
        with torch.set_grad_enabled(self.training):
            with layout.autocast(self.device):
                result = self.network(pixels)
            if self.training:
                outputs: list[Tensor] = list(result) if isinstance(result, list | tuple) else [result]
                loss = torch.stack([output.float().square().mean() for output in outputs]).sum()
                if loss.requires_grad:
                    loss.backward()
        _wait(self.device)
        spent = time.perf_counter() - start
        self.network.zero_grad(set_to_none=True)
        return spent


def _pixels(shape: tuple[int, ...]) -> int:
    """Pixels of a batch ``(B, C, *S)`` over all its images."""
    return shape[0] * math.prod(shape[2:])


def shrunk(shape: tuple[int, ...], pixels: int) -> tuple[int, ...]:
    """A batch shape with at most about ``pixels`` pixels: fewer images first (not below 2), then halved axes.

    Args:
        shape: ``(B, C, *S)``.
        pixels: Wanted limit. Axes are not halved below 16 pixels and a batch with halved axes has 2 images,
            because some norms need more than one value per channel at the bottom of a deep network.

    Example:
        >>> shrunk((8, 1, 512, 512), 2 * 128 * 128)
        (2, 1, 128, 128)
    """
    batch, channels, *lengths = shape
    while batch > 2 and batch * math.prod(lengths) > pixels:
        batch = max(2, batch // 2)
    while batch * math.prod(lengths) > pixels and max(lengths) >= 32:
        batch = max(batch, 2)
        longest = lengths.index(max(lengths))
        lengths[longest] //= 2
    return (batch, channels, *lengths)


def ran_out(wrong: BaseException) -> bool:
    """Whether an error says that memory ran out; the CPU's allocator has no exception of its own.

    Example:
        >>> ran_out(MemoryError()), ran_out(RuntimeError("DefaultCPUAllocator: can't allocate memory: …"))
        (True, True)
    """
    if isinstance(wrong, MemoryError | torch.OutOfMemoryError):
        return True
    return isinstance(wrong, RuntimeError) and no_memory(wrong)
