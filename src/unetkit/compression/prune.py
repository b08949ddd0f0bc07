"""Structured pruning: whole channels are cut out, and what is left is an ordinary, smaller network."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping

import numpy as np
import torch
from torch import Tensor

from unetkit.compression.channels import Bundle, Channels, trace
from unetkit.compression.importance import importance
from unetkit.compression.tracer import Axis
from unetkit.errors import UsageError
from unetkit.networks.prune import kept_stages
from unetkit.networks.unet import UNet, build
from unetkit.records.figures import per_cent
from unetkit.records.plan import NetworkPlan

Shapes = Mapping[str, tuple[int, ...]]
"""Name of a weight → its shape."""
Entry = tuple[str, int]
"""Key of a NetworkPlan, and which of its numbers."""


def narrowed_width(width: int, share: float) -> int:
    """What is left of a width: a multiple of 8 from 16 channels on, of 4 from 8 on; at least one of these.

    Args:
        width: Channels before.
        share: Share of them that goes, from 0 to below 1.

    Example:
        >>> [narrowed_width(width, 0.5) for width in (320, 48, 24, 8, 3)], narrowed_width(30, 0.0)
        ([160, 24, 16, 4, 2], 30)
    """
    if share == 0:
        return width
    unit = 8 if width >= 16 else 4 if width >= 8 else 1
    return min(width, unit * max(1, math.floor((1 - share) * width / unit + 0.5)))


def narrowed(network: UNet, share: float, *, channels: Channels | None = None) -> NetworkPlan:
    """The plan of a network with a share of the channels of every stage gone, wherever that can be said.

    Stages whose channels cannot be cut stay as wide as they are: those of a backbone, tokens, and whatever an
    unknown operation sees.

    Args:
        network: The network.
        share: From 0 (the plan as it is) to below 1.
        channels: Those of the network, where they are known already.

    Raises:
        UsageError: The share is none, or nothing can be cut.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
        >>> narrowed(network, 0.5).widths
        (4, 8)
    """
    _refuse_share(share)
    plan = _narrowed(network, share, channels)
    if plan == network.plan and share:
        raise UsageError(
            f"nothing of this network can be cut by {per_cent(share, digits=0)}: encoder '{plan.encoder}', "
            f"decoder '{plan.decoder}', widths {list(plan.widths)}",
            cure="cut a larger share, or train a smaller network in its place",
        )
    return plan


def steps(network: UNet, share: float, rounds: int) -> tuple[tuple[float, NetworkPlan], ...]:
    """The plans on the way to a share, each cutting the same part of what the one before has left.

    Steps so small that rounding leaves every width as it was are left out.

    Args:
        network: The network.
        share: As for ``narrowed``, above 0.
        rounds: How many steps there are at most.

    Returns:
        Share of the first network's channels that is gone, and the plan.

    Raises:
        UsageError: The share is none, or nothing can be cut.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> wide = NetworkPlan(**{**EXAMPLE["network"], "widths": (16, 32)})
        >>> network = build(wide, rank=2, in_channels=1, classes=2)
        >>> [(share, plan.widths) for share, plan in steps(network, 0.75, 2)]
        [(0.5, (8, 16)), (0.75, (8, 8))]
    """
    channels, found, before = trace(network), [], network.plan
    last = narrowed(network, share, channels=channels)
    for number in range(1, rounds + 1):
        part = 1 - (1 - share) ** (number / rounds)
        goal = last if number == rounds else _narrowed(network, part, channels)
        if goal != before:
            found.append((part, goal))
            before = goal
    return tuple(found)


def _narrowed(network: UNet, share: float, channels: Channels | None) -> NetworkPlan:
    """The plan with a share gone; the network's own where rounding leaves all of it."""
    if share == 0:
        return network.plan
    plan, channels = spelled_out(network), channels or trace(network)
    goal = {
        (key, i): narrowed_width(width, share)
        for key in ("widths", "decoder_widths")
        for i, width in enumerate(getattr(plan, key))
    }
    whole = with_widths(plan, goal)
    if whole != plan and not fits(network, channels, whole):
        taken: dict[Entry, int] = {}
        for together in by_stage(plan):
            for entries in (together, *([entry] for entry in together)):
                trial = taken | {entry: goal[entry] for entry in entries}
                if fits(network, channels, with_widths(plan, trial)):
                    taken = trial
                    break
        whole = with_widths(plan, taken)
    return network.plan if whole == plan else whole


def _refuse_share(share: float) -> None:
    if not 0 <= share < 1:
        raise UsageError(
            f"a share of channels from 0 to below 1 was expected, got {share:g}",
            cure="say 0.5 to cut half of them",
        )


def pruned(network: UNet, share: float, *, by: str = "l1") -> UNet:
    """Cut a share of the channels of every stage out of a network.

    The channels that stay compute what they did, less what the others gave them: with batch or instance
    normalisation the answer is that of the whole network in which nothing reads the removed channels. Group
    normalisation shares its statistics among channels, so that there it is not.

    Args:
        network: The network; it is not changed.
        share: From 0 (the same network) to below 1, see ``narrowed``.
        by: Which channels go: the least by this name of ``IMPORTANCES``.

    Returns:
        The smaller network, in evaluation mode; ``plan`` is its plan.

    Raises:
        UsageError: The share is none, nothing can be cut, or there is no such importance.

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (arXiv:1608.08710).

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=1, classes=2)
        >>> small = pruned(network, 0.5)
        >>> small.encoder.channels, small(torch.zeros(1, 1, 9, 7)).shape
        ((4, 8), torch.Size([1, 2, 9, 7]))
    """
    channels = trace(network)
    return cut_to(network, narrowed(network, share, channels=channels), by=by, channels=channels)


def cut_to(
    network: UNet,
    plan: NetworkPlan,
    *,
    by: str | np.ndarray = "l1",
    channels: Channels | None = None,
    gradients: Iterable[Mapping[str, Tensor]] = (),
) -> UNet:
    """Cut a network down to a plan of the same structure with smaller widths.

    Args:
        network: The network; it is not changed.
        plan: What is to be left.
        by: Which channels go: the least by this name of ``IMPORTANCES``, or by these scores.
        channels: Those of the network, where they are known already.
        gradients: For an importance that looks at images, see ``importance.loss_gradients``.

    Raises:
        UsageError: The plan is of another structure, or asks for other channels than can be cut.
    """
    channels = channels or trace(network)
    with torch.device("meta"):  # shapes only: the memory is that of the weights that stay
        small = build(plan, rank=network.rank, in_channels=network.in_channels, classes=network.classes)
    state = network.state_dict()
    if set(small.state_dict()) != set(state):
        raise _unfit("its blocks are others than the network has")
    scores = importance(channels, state, by, gradients) if isinstance(by, str) else by
    places = kept_places(channels, _shapes(small), scores)
    kept: dict[str, Tensor] = {}
    for name in small.state_dict():
        tensor = state[name].detach()
        for axis, length in enumerate(tensor.shape):
            if len(here := places[name, axis]) < length:
                tensor = tensor.index_select(axis, torch.from_numpy(here).to(tensor.device))
        kept[name] = tensor.clone()
    small.load_state_dict(kept, assign=True)
    return small.eval()


def kept_places(
    channels: Channels, shapes: Shapes, scores: np.ndarray | None = None
) -> dict[Axis, np.ndarray]:
    """Which places along each axis of each weight stay, in ascending order.

    Args:
        channels: The channels of the network.
        shapes: What shape each weight is to have.
        scores: How much each channel matters, ``(channels.count,)``; the first stay when None.

    Raises:
        UsageError: No choice of channels gives these shapes.
    """
    stays = np.zeros(channels.count, dtype=bool)
    for bundle, left in _numbers_left(channels, shapes):
        order = bundle.channels if scores is None else _chosen(channels, bundle, left, scores)
        stays[order[:left]] = True
    return {axis: np.flatnonzero(stays[those]) for axis, those in channels.axes.items()}


def _chosen(channels: Channels, bundle: Bundle, left: int, scores: np.ndarray) -> np.ndarray:
    """The channels that stay; as many of each group of a norm where they can be shared out evenly."""
    values = scores[bundle.channels]
    groups = [channels.norm_groups[axis] for axis in bundle.on if axis in channels.norm_groups]
    parts = groups[0] if groups and left % groups[0] == 0 and len(values) % groups[0] == 0 else 1
    ranked = np.argsort(-values.reshape(parts, -1), axis=1, kind="stable")[:, : left // parts]
    first = np.arange(parts)[:, None] * (len(values) // parts)
    return bundle.channels[(ranked + first).ravel()]


def _numbers_left(channels: Channels, shapes: Shapes) -> list[tuple[Bundle, int]]:
    """How many channels of each bundle stay: solved axis by axis, each with one unknown at a time."""
    if {name for name, _ in channels.axes} - shapes.keys():
        raise _unfit("it lacks weights that the network has")
    bundles = channels.bundles
    left: dict[int, int] = {}
    of_axis: dict[Axis, dict[int, int]] = {axis: {} for axis in channels.axes}
    for number, bundle in enumerate(bundles):
        for axis, times in bundle.on.items():
            of_axis[axis][number] = times
    waiting = list(of_axis)
    while waiting:
        later = []
        for axis in waiting:
            if _solve(axis, of_axis[axis], channels, shapes, left):
                continue
            later.append(axis)
        if len(later) == len(waiting):
            raise _unfit(f"the width of '{later[0][0]}' can be reached in several ways")
        waiting = later
    for number, bundle in enumerate(bundles):
        whole = len(bundle.channels)
        if not 1 <= left[number] <= whole or (bundle.fixed and left[number] != whole):
            name = next(iter(bundle.on))[0]
            raise _unfit(f"'{name}' has {whole} channels there, of which {left[number]} cannot be kept")
    return [(bundle, left[number]) for number, bundle in enumerate(bundles)]


def _solve(
    axis: Axis, parts: Mapping[int, int], channels: Channels, shapes: Shapes, left: dict[int, int]
) -> bool:
    """Find what one axis says of its bundles; False where it has to wait for another axis."""
    bundles, shape = channels.bundles, shapes[axis[0]]
    wanted = shape[axis[1]] if axis[1] < len(shape) else -1
    if wanted == len(channels.axes[axis]):
        for number in parts:
            if left.setdefault(number, whole := len(bundles[number].channels)) != whole:
                raise _unfit(f"'{axis[0]}' stays as wide as it is, what it is joined to does not")
        return True
    unknown = [number for number in parts if number not in left]
    known = sum(times * left[number] for number, times in parts.items() if number in left)
    if len(unknown) > 1:
        return False
    if unknown:
        left[unknown[0]], rest = divmod(wanted - known, parts[unknown[0]])
    else:
        rest = wanted - known
    if rest:
        raise _unfit(f"'{axis[0]}' cannot be {wanted} wide")
    return True


def _unfit(why: str) -> UsageError:
    return UsageError(
        f"the network cannot be cut to this plan: {why}",
        cure="ask for widths that the same blocks can have, or leave these as they are",
    )


def fits(network: UNet, channels: Channels, plan: NetworkPlan) -> bool:
    """Whether a network can be cut to a plan.

    Args:
        network: The network.
        channels: Its channels.
        plan: What is to be left.
    """
    try:
        with torch.device("meta"):
            small = build(plan, rank=network.rank, in_channels=network.in_channels, classes=network.classes)
        kept_places(channels, _shapes(small))
    except UsageError:
        return False
    return set(small.state_dict()) == set(network.state_dict())


def _shapes(network: UNet) -> dict[str, tuple[int, ...]]:
    return {name: tuple(tensor.shape) for name, tensor in network.state_dict().items()}


def spelled_out(network: UNet) -> NetworkPlan:
    """The plan of a network with the widths of the decoder stated, so that they can be changed by themselves.

    Args:
        network: The network.
    """
    plan = network.plan
    if plan.prune_level:
        plan = kept_stages(plan).model_copy(update={"prune_level": 0})
    if plan.decoder_widths:
        return plan
    own = _shapes(network)
    for widths in (tuple(network.decoder.channels), tuple(network.encoder.channels[:-1])):  # pyright: ignore
        stated = plan.model_copy(update={"decoder_widths": widths})
        try:
            with torch.device("meta"):
                same = build(
                    stated, rank=network.rank, in_channels=network.in_channels, classes=network.classes
                )
        except UsageError:
            continue
        if _shapes(same) == own:
            return stated
    return plan


def with_widths(plan: NetworkPlan, entries: Mapping[Entry, int]) -> NetworkPlan:
    """A plan in which some widths are others.

    Args:
        plan: The plan.
        entries: Which → width.
    """
    update = {
        key: tuple(entries.get((key, i), width) for i, width in enumerate(getattr(plan, key)))
        for key in ("widths", "decoder_widths")
    }
    return plan.model_copy(update=update)


def by_stage(plan: NetworkPlan) -> Iterable[list[Entry]]:
    """The widths of encoder and decoder that meet in a fusion together; then what is left.

    Args:
        plan: With the widths of the decoder stated.
    """
    extra = max(0, len(plan.decoder_widths) - len(plan.widths) + 1)
    for i in range(len(plan.widths)):
        decoder: list[Entry] = [("decoder_widths", i + extra)] if i + extra < len(plan.decoder_widths) else []
        yield [("widths", i), *decoder]
    for i in range(extra):
        yield [("decoder_widths", i)]
