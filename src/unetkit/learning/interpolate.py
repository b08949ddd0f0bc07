"""Between two models: weights on the straight line from the old to the new. This is not EWC."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import torch
from torch import Tensor, nn

from unetkit.errors import UsageError

ALPHAS = (0.0, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 1.0)
"""Places on the line that are tried: 0 is the old model, 1 the new one."""


def interpolated(old: Mapping[str, Tensor], new: Mapping[str, Tensor], alpha: float) -> dict[str, Tensor]:
    """``(1 − α) · old + α · new``, running statistics included; whole numbers are the new model's.

    Two models that were trained far apart lie in two valleys with a ridge between them: the middle can be
    worse than either end, so ``α`` is never set without a look (``best_alpha``).

    Args:
        old: A state_dict.
        new: Another of the same names and shapes.
        alpha: 0 to 1.

    Raises:
        UsageError: Names or shapes differ.

    Reference:
        Wortsman et al., Robust fine-tuning of zero-shot models (WiSE-FT), CVPR 2022.

    Example:
        >>> interpolated({"a": torch.tensor(1.0)}, {"a": torch.tensor(3.0)}, 0.25)["a"].item()
        1.5
    """
    odd = sorted(old.keys() ^ new.keys()) or [name for name in new if old[name].shape != new[name].shape]
    if odd:
        raise UsageError(
            f"two networks can only be interpolated where they are alike, '{odd[0]}' is in one of them only "
            "or of another shape",
            cure="choose --method replay",
        )
    return {
        name: torch.lerp(old[name].to(tensor), tensor, alpha)
        if tensor.is_floating_point()
        else tensor.clone()
        for name, tensor in new.items()
    }


def best_alpha(
    network: nn.Module,
    old: Mapping[str, Tensor],
    judge: Callable[[nn.Module], float],
    *,
    alphas: Sequence[float] = ALPHAS,
) -> tuple[float, dict[float, float]]:
    """Put the best place on the line between two models into a network.

    Args:
        network: The new model; ends with the weights of the best place, in evaluation mode.
        old: The old model's state_dict.
        judge: How good a network is; the higher the better. It must look at old and new cases both.
        alphas: Places to try.

    Returns:
        The best place (of equals the newest) and the judgement of each.
    """
    device = next(network.parameters()).device
    new = {name: tensor.detach().clone() for name, tensor in network.state_dict().items()}
    before = {name: tensor.to(device) for name, tensor in old.items()}
    network.eval()
    found: dict[float, float] = {}
    for alpha in alphas:
        network.load_state_dict(interpolated(before, new, alpha))
        found[alpha] = judge(network)
    best = max(found, key=lambda alpha: (found[alpha], alpha))
    network.load_state_dict(interpolated(before, new, best))
    return best, found
