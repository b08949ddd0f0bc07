"""Batch norms folded into the convolutions before them: the same answers, one operation fewer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unetkit.networks.heads import all_heads
from unetkit.networks.watching import Operation, watched

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet


def fold_batch_norms(network: UNet) -> int:
    """Fold every batch norm that sees the answer of one convolution, and nobody else does, into it.

    Args:
        network: Changed in place; put into evaluation mode, in which it answers as before.

    Returns:
        How many were folded.

    Reference:
        Jacob et al., Quantization and Training of Neural Networks for Efficient Integer-Arithmetic-Only
        Inference, CVPR 2018, section 3.2.

    Example:
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.plan import EXAMPLE, NetworkPlan
        >>> plan = NetworkPlan(**EXAMPLE["network"], norm="batch")
        >>> fold_batch_norms(build(plan, rank=2, in_channels=1, classes=2))
        6
    """
    network.eval()
    pairs = _pairs(network)
    for norm, (convolution, axis) in pairs.items():
        _fold(network.get_submodule(convolution), network.get_submodule(norm), axis)
        owner, _, last = norm.rpartition(".")
        following = getattr(network.get_submodule(norm), "act", None)  # some bring their activation along
        setattr(network.get_submodule(owner), last, following or nn.Identity())
    return len(pairs)


def fold_scale(network: UNet, scale: Tensor) -> bool:
    """Fold a factor per channel of the image into the convolutions that see it.

    That is exact: a convolution is linear and what it pads with, 0, times the factor is 0. An offset would
    not be: the border would have to be padded with what the offset makes 0.

    Args:
        network: In evaluation mode; changed in place where it is done.
        scale: ``(C,)``.

    Returns:
        Whether it was done. It is not where anything but a convolution with a kernel of its own sees the
        image (a pyramid, a padding of another kind, a standardised kernel, a grid of eight bits).

    Example:
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.plan import EXAMPLE, NetworkPlan
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
        >>> fold_scale(network, torch.tensor([1 / 255]))
        True
    """
    if network.quantization is not None:
        return False
    seen: list[Operation] = []
    others: list[Tensor] = []
    with torch.no_grad(), all_heads(network) as image:

        def note(op: Operation) -> Any:  # noqa: ANN401 - whatever the operation answers
            answer, kernel = op(), op.given(1, "weight")
            if isinstance(answer, Tensor) and any(given is image for given in op.tensors()):
                seen.append(op)
            elif isinstance(kernel, Tensor):
                others.append(kernel)
            return answer

        with watched(network, note):
            network(image)
    kernels = {op.module: op.given(1, "weight") for op in seen if op.kind == "conv"}
    weights = [getattr(network.get_submodule(name), "weight", None) for name in kernels]
    own = all(
        isinstance(weight, Tensor)
        and weight.data_ptr() == kernel.data_ptr()  # the same numbers, be it with axes of length 1 more
        and weight.numel() == kernel.numel()
        and weight.shape[1] == len(scale)
        and not any(weight.data_ptr() == other.data_ptr() for other in others)
        for weight, kernel in zip(weights, kernels.values(), strict=True)
    )
    if not own or len(kernels) != len(seen) or not seen:
        return False
    for name in kernels:
        weight: Any = network.get_submodule(name).weight
        weight.data = weight.data * scale.to(weight).reshape(1, -1, *[1] * (weight.ndim - 2))
    return True


def _pairs(network: UNet) -> dict[str, tuple[str, int]]:
    """Name of a batch norm → name of the convolution before it, and the axis of its kernel that answers."""
    made: dict[int, tuple[Tensor, Operation]] = {}
    readers: dict[str, list[Operation]] = {}

    def note(op: Operation) -> Any:  # noqa: ANN401 - whatever the operation answers
        answer = op()
        if isinstance(answer, Tensor):  # a question about a size reads no value
            for given in op.tensors():
                if id(given) in made:
                    readers.setdefault(made[id(given)][1].module, []).append(op)
        if op.kind == "conv" or (op.kind == "conv_transpose" and op.given(6, "groups", 1) == 1):
            made[id(answer)] = (answer, op)  # held, so that no other can get its address
        return answer

    with torch.no_grad(), all_heads(network) as image, watched(network, note):
        network(image)
    axes = {op.module: int(op.kind == "conv_transpose") for _, op in made.values()}
    return {
        ops[0].module: (module, axes[module])
        for module, ops in readers.items()
        if [op.kind for op in ops] == ["batch_norm"]
    }


@torch.no_grad()
def _fold(convolution: Any, norm: Any, axis: int) -> None:  # noqa: ANN401 - layers of several kinds
    scale = (norm.running_var + norm.eps).rsqrt()
    if norm.weight is not None:
        scale = scale * norm.weight
    before = 0.0 if convolution.bias is None else convolution.bias
    bias = (before - norm.running_mean) * scale
    if norm.bias is not None:
        bias = bias + norm.bias
    kernel = convolution.weight
    kernel.data = kernel.data * scale.reshape([-1 if i == axis else 1 for i in range(kernel.ndim)])
    convolution.bias = nn.Parameter(bias)
