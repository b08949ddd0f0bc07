"""From a trained network to one that counts in eight bits."""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from unetkit.compression.calibrate import calibrate, correct_biases
from unetkit.errors import UsageError
from unetkit.networks.folding import fold_batch_norms
from unetkit.networks.unet import UNet, build
from unetkit.records.plan import NetworkPlan

CORRECTED_ON = 8
"""Images, at most, on which biases are corrected: all at once, so that every shift is measured on all."""


def eight_bits(network: NetworkPlan, *, in_float: Sequence[str] = (), whole: bool = False) -> NetworkPlan:
    """The plan of a network that counts in eight bits.

    Args:
        network: Of the one that does not.
        in_float: Modules whose convolution keeps floating point.
        whole: Whether nothing else may stay in floating point either.

    Raises:
        UsageError: It does so already.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> eight_bits(NetworkPlan(**EXAMPLE["network"])).quantization
        'int8'
    """
    if network.quantization != "none":
        raise UsageError(
            "this model counts in eight bits already",
            cure="name the model it was made from",
        )
    kind = "int8_only" if whole else "int8"
    update = {"quantization": kind, "float_layers": tuple(in_float), "dropout": 0.0}
    return network.model_copy(update=update)


def quantized(
    network: UNet,
    images: Sequence[Tensor],
    *,
    in_float: Sequence[str] = (),
    whole: bool = False,
    by: str = "mse",
    symmetric: bool = False,
) -> UNet:
    """Make a network count in eight bits, by what it answers on some images; nothing is trained.

    Batch norms are folded, kernels get 255 steps per channel, and every value between convolutions gets 256
    steps of a range that is measured. Biases make up for what rounding does to the mean.

    Args:
        network: The trained network; it is not changed.
        images: Batches ``(B, C, *S)`` as in training.
        in_float: Modules whose convolution keeps floating point.
        whole: Whether nothing else may stay in floating point either.
        by: How ranges are chosen: a name of ``calibrate.RANGES``.
        symmetric: Whether zero has to be the middle of every grid, as TensorRT wants it.

    Returns:
        The same network in eight bits, in evaluation mode; ``plan`` is its plan.

    Raises:
        UsageError: It is in eight bits already, or ``whole`` cannot be had.
        DataError: There is no image, or of other channels.

    Reference:
        Nagel et al., A White Paper on Neural Network Quantization, arXiv:2106.08295, section 3.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> plan = NetworkPlan(**EXAMPLE["network"], norm="batch")
        >>> network = build(plan, rank=2, in_channels=1, classes=2).eval()
        >>> image = torch.randn(1, 1, 16, 16)
        >>> apart = quantized(network, [image])(image) - network(image)
        >>> bool(apart.square().mean() < 0.02 * network(image).square().mean())
        True
    """
    plan = eight_bits(network.plan, in_float=in_float, whole=whole)
    with torch.device("meta"):  # shapes only: the memory is that of the weights
        made = build(plan, rank=network.rank, in_channels=network.in_channels, classes=network.classes)
    folded = copy.deepcopy(network)
    fold_batch_norms(folded)
    points = {name: torch.zeros(()) for name in made.state_dict() if name.startswith("quantization.")}
    made.load_state_dict({**folded.state_dict(), **points}, assign=True)
    made.eval().requires_grad_(True)
    calibrate(made, images, by=by, symmetric=symmetric)
    correct_biases(made, _together(images))
    return made


def keep_in_float(
    candidates: Sequence[str], passes: Callable[[tuple[str, ...]], bool]
) -> tuple[str, ...] | None:
    """Find convolutions that have to keep floating point: few, and found in few trials.

    The first and the last convolution are tried first, which rounding hurts most; then halves of all of them,
    until none of what is kept could be left out.

    Args:
        candidates: Convolutions in the order in which they are at work.
        passes: Whether a model with these in floating point is good enough; asked for none first.

    Returns:
        What to keep; None where not even all of them together suffice.

    Example:
        >>> keep_in_float(["a", "b", "c", "d", "e"], lambda kept: "c" in kept)
        ('c',)
    """
    if passes(()):
        return ()
    if not candidates:
        return None
    ends = tuple(dict.fromkeys((candidates[0], candidates[-1])))
    for few in (ends[:1], ends[1:], ends):
        if few and passes(few):
            return few
    if not passes(tuple(candidates)):
        return None
    return _least(tuple(candidates), (), passes)


def _least(
    needed: tuple[str, ...], held: tuple[str, ...], passes: Callable[[tuple[str, ...]], bool]
) -> tuple[str, ...]:
    """What of ``needed`` has to stay beside ``held``, where both together pass (QuickXplain, 2004)."""
    if held and passes(held):
        return ()
    if len(needed) == 1:
        return needed
    first, second = needed[: len(needed) // 2], needed[len(needed) // 2 :]
    of_second = _least(second, held + first, passes)
    of_first = _least(first, held + of_second, passes)
    return of_first + of_second


def _together(images: Sequence[Tensor]) -> Tensor:
    """Some images as one batch: those of the size of the first."""
    alike = [batch for batch in images if batch.shape[2:] == images[0].shape[2:]]
    return torch.cat(list(alike))[:CORRECTED_ON]
