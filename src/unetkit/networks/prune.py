"""Cutting a nested network down to its shallower levels."""

from __future__ import annotations

from typing import TYPE_CHECKING

import torch

from unetkit.errors import UsageError
from unetkit.lookup import pick
from unetkit.networks.decoders import DECODERS
from unetkit.records.plan import NetworkPlan

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet


def kept_stages(network: NetworkPlan) -> NetworkPlan:
    """The plan of what is left of a network at ``network.prune_level``: its finest stages and their heads.

    Args:
        network: The plan of the whole.

    Raises:
        UsageError: The decoder cannot be pruned, or the level does not exist or has no head.
    """
    level, levels = network.prune_level, len(network.widths) - 1
    if level == 0:
        return network
    if not getattr(pick("decoder", DECODERS, network.decoder), "nested", False):
        raise UsageError(
            f"network.prune_level is {level}, but the decoder '{network.decoder}' has no levels to cut",
            cure="set network.prune_level to 0 or network.decoder to unetpp",
        )
    if level > levels:
        raise UsageError(
            f"network.prune_level is {level}, the network has {levels} levels",
            cure=f"set network.prune_level to {levels} or less",
        )
    heads = network.deep_supervision - (levels - level)
    if heads < 1:
        raise UsageError(
            f"network.prune_level is {level}, but only the {network.deep_supervision} deepest of {levels} "
            "levels have a head",
            cure=f"set network.deep_supervision to {levels - level + 1} or more and train again",
        )
    if level == levels:
        return network
    extra = len(network.decoder_widths) - levels
    return network.model_copy(
        update={
            **{key: getattr(network, key)[: level + 1] for key in ("widths", "blocks", "kernels", "strides")},
            "expansion": network.expansion[: level + 1],
            "decoder_blocks": network.decoder_blocks[:level],
            "decoder_widths": network.decoder_widths[: level + extra] if network.decoder_widths else (),
            "deep_supervision": heads,
            "bottleneck": "identity",
        }
    )


def at_level(network: NetworkPlan, level: int) -> NetworkPlan:
    """The plan of a trained network of which only some levels answer.

    Args:
        network: The plan it was trained with.
        level: Levels to keep; 0: all.

    Raises:
        UsageError: The decoder cannot be pruned, the level does not exist or has no head, or the network was
            cut further already.
    """
    own = network.prune_level
    if own and not 0 < level <= own:
        raise UsageError(
            f"network.prune_level was to be {level}, but the model holds only its first {own} levels",
            cure=f"set network.prune_level to {own} or less, or take the model it was cut from",
        )
    cut = network.model_copy(update={"prune_level": level})
    kept_stages(cut)
    return cut


def pruned(network: UNet, level: int) -> UNet:
    """Cut a trained nested network at one of its levels.

    What is left computes exactly what the head of that level does in the whole network, and nothing else:
    the deeper encoder stages and nodes are gone. Weights are shared with ``network``, not copied.

    Args:
        network: A network whose decoder is nested, such as ``unetpp``.
        level: Levels to keep, at least 1.

    Returns:
        The smaller network in eval mode.

    Raises:
        UsageError: The decoder cannot be pruned, or the level does not exist or has no head.

    Reference:
        Zhou et al., UNet++, IEEE TMI 2020, section III-D.

    Example:
        >>> from unetkit.networks.unet import build
        >>> plan = NetworkPlan(decoder="unetpp", widths=(4, 4, 4), blocks=(1, 1, 1), decoder_blocks=(1, 1),
        ...     kernels=((3, 3),) * 3, strides=((1, 1), (2, 2), (2, 2)), deep_supervision=2)
        >>> whole = build(plan, rank=2, in_channels=1, classes=2)
        >>> sorted(pruned(whole, 1).decoder.nodes), sorted(whole.decoder.nodes)
        (['0_1'], ['0_1', '0_2', '1_1'])
    """
    from unetkit.networks.unet import UNet

    if network.quantization is not None:
        raise UsageError(
            "this network counts in eight bits, whose grids belong to the whole of it",
            cure="set network.prune_level before 'unet compress --int8'",
        )
    if level < 1:
        raise UsageError(f"prune level {level} leaves nothing", cure="keep at least 1 level")
    plan = at_level(network.plan, level)
    with torch.device("meta"):
        small = UNet(plan, rank=network.rank, in_channels=network.in_channels, classes=network.classes)
    gone = len(network.heads) - len(small.heads)
    state = network.state_dict()
    kept = {name: state[_in_whole(name, gone)] for name in small.state_dict()}
    small.load_state_dict(kept, assign=True)
    return small.eval()


def _in_whole(name: str, gone: int) -> str:
    """The name in the whole network of a tensor of the pruned one: heads are counted from the deepest."""
    family, _, rest = name.partition(".")
    if family not in ("heads", "last_stages"):
        return name
    index, _, rest = rest.partition(".")
    return f"{family}.{int(index) + gone}.{rest}"
