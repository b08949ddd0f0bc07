"""Grids for eight bits, measured on images: how far values reach, and where cutting costs least."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unetkit.errors import DataError
from unetkit.lookup import pick
from unetkit.networks.fake_quant import HIGH
from unetkit.networks.heads import all_heads
from unetkit.networks.quantization import Arithmetic, Quantization
from unetkit.networks.unet import UNet

RANGES = {
    "mse": "unetkit.compression.calibrate:least_error",
    "minmax": "unetkit.compression.calibrate:whole_range",
}
"""Name to a function ``(low, high, some values) → (low, high)``."""

_KEPT = 4096
_SHARES = tuple(1 - 0.02 * step for step in range(41))

Range = Callable[[float, float, Tensor], tuple[float, float]]


def whole_range(low: float, high: float, values: Tensor) -> tuple[float, float]:
    """Everything that was seen.

    Args:
        low: The least value.
        high: The greatest.
        values: Some of them; without effect.
    """
    return low, high


def least_error(low: float, high: float, values: Tensor) -> tuple[float, float]:
    """The share of the range at which rounding and cutting together cost least, in the mean of squares.

    Args:
        low: The least value that was seen.
        high: The greatest.
        values: Some of them, ``(N,)``.

    Reference:
        Nagel et al., A White Paper on Neural Network Quantization, arXiv:2106.08295, section 3.1.

    Example:
        >>> values = torch.cat([torch.linspace(0, 1, 1000), torch.tensor([20.0])])
        >>> least_error(0.0, 20.0, values)[1]
        20.0
        >>> least_error(0.0, 20.0, values[:-1])[1] < 5
        True
    """
    best, found = float("inf"), (low, high)
    for share in _SHARES:
        least, most = share * low, share * high
        step = max((most - least) / HIGH, 1e-12)
        rounded = torch.round(values.clamp(least, most) / step) * step
        error = float((rounded - values).square().mean())
        if error < best:
            best, found = error, (least, most)
    return found


class Ranges:
    """What every quantizer of a network sees, gathered while the network computes in floating point.

    Args:
        quantization: Its quantizers.
    """

    def __init__(self, quantization: Quantization) -> None:
        self._unsigned = quantization.placement.unsigned
        count = len(self._unsigned)
        self.low, self.high = [0.0] * count, [0.0] * count
        self._values: list[list[Tensor]] = [[] for _ in range(count)]
        self._random = torch.Generator().manual_seed(0)

    def note(self, number: int, x: Tensor) -> Tensor:
        """Look at values on their way; they are left as they are.

        Args:
            number: Of the quantizer.
            x: ``(B, C, *S)``.
        """
        values = x.detach().float()
        if self._unsigned[number]:
            values = values.clamp(min=0)
        self.low[number] = min(self.low[number], float(values.min()))
        self.high[number] = max(self.high[number], float(values.max()))
        flat = values.flatten().cpu()
        if flat.numel() > _KEPT:  # at random: every n-th may be a border of the image
            flat = flat[torch.randint(flat.numel(), (_KEPT,), generator=self._random)]
        self._values[number].append(flat)
        return x

    def values(self, number: int) -> Tensor:
        """Some of what was seen, ``(N,)``."""
        return torch.cat(self._values[number]) if self._values[number] else torch.zeros(1)


@torch.no_grad()
def calibrate(network: UNet, images: Sequence[Tensor], *, by: str = "mse", symmetric: bool = False) -> None:
    """Measure the grids of a network that has quantizers.

    Args:
        network: Its quantizers are changed in place.
        images: Batches ``(B, C, *S)`` as in training.
        by: A name of ``RANGES``.
        symmetric: Whether zero has to be the middle of every grid.

    Raises:
        DataError: There is no image, or one has other channels than the network, or NaN or infinite values.
        UsageError: There is no such way to choose a range.
    """
    choose: Range = pick("range", RANGES, by)
    quantization = quantization_of(network)
    _check(network, images)
    seen = Ranges(quantization)
    with all_heads(network), quantization.computing(Arithmetic(rounded=seen.note, exact=True)):
        for batch in images:
            network(batch)
    for number, point in enumerate(quantization.points):
        low, high = choose(seen.low[number], seen.high[number], seen.values(number))
        point.cover(low, high, symmetric=symmetric)  # pyright: ignore[reportCallIssue] - a Quantizer


@torch.no_grad()
def correct_biases(network: UNet, images: Tensor) -> None:
    """Shift the biases of a network so that every convolution answers in the mean as in floating point.

    Rounded kernels and activations that no longer leak below zero move the mean of each channel. The shift is
    measured and taken away convolution by convolution, each behind those that were corrected before it, in a
    single pass.

    Args:
        network: Its biases are changed in place.
        images: One batch ``(B, C, *S)`` as in training.

    Reference:
        Nagel et al., Data-Free Quantization Through Weight Equalization and Bias Correction, ICCV 2019
        (arXiv:1906.04721), section 4.2; measured on images as in its appendix D.
    """
    quantization, means = quantization_of(network), {}

    def remember(module: str, answer: Tensor) -> Tensor:
        means[module] = _mean(answer)
        return answer

    def correct(module: str, answer: Tensor) -> Tensor:
        bias = getattr(network.get_submodule(module), "bias", None)
        if bias is None or module not in quantization.placement.convolutions:
            return answer
        shift = _mean(answer) - means[module]
        bias -= shift
        return answer - shift.reshape(-1, *[1] * (answer.ndim - 2))

    network.eval()
    with quantization.computing(Arithmetic(rounded=lambda _, x: x, made=remember, exact=True)):
        network(images)
    with quantization.computing(Arithmetic(made=correct)):
        network(images)


def quantization_of(network: UNet) -> Quantization:
    """The quantizers of a network.

    Args:
        network: It has some.
    """
    assert network.quantization is not None, "a network of a plan with network.quantization"
    return network.quantization


def _mean(answer: Tensor) -> Tensor:
    return answer.mean([axis for axis in range(answer.ndim) if axis != 1])


def _check(network: UNet, images: Sequence[Tensor]) -> None:
    if not len(images):
        raise DataError(
            "expected images to measure ranges on, got none",
            cure="name a data set with training images",
        )
    for batch in images:
        if batch.shape[1] != network.in_channels:
            raise DataError(
                f"expected images of {network.in_channels} channels to measure ranges on, got "
                f"{batch.shape[1]}",
                cure="calibrate on the kind of images the model was trained on",
            )
        if not bool(torch.isfinite(batch).all()):
            raise DataError(
                "expected finite values to measure ranges on, got NaN or infinity",
                cure="check the images with 'unet check'",
            )
