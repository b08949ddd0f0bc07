"""How much each stage of a network matters: what is lost when it alone is cut, and where to cut first."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence

import numpy as np
import torch
from torch import nn

from unetkit.compression.channels import Channels, trace
from unetkit.compression.prune import (
    Entry,
    by_stage,
    cut_to,
    fits,
    narrowed_width,
    spelled_out,
    with_widths,
)
from unetkit.data.patches import Batch
from unetkit.networks.unet import UNet
from unetkit.records.plan import Axes, NetworkPlan
from unetkit.records.saved import Saved
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import outputs

SHARES = (0.25, 0.5, 0.75)
"""How far each stage is cut to see what is lost."""
_LEAST_LOSS = 1e-4  # points of Dice: below this every cut is free, and the cheapest in cost counts

Judge = Callable[[nn.Module], float]
"""Network → Dice, 0 to 1."""
Cost = Callable[[NetworkPlan], float]
"""Plan → what is to become less, such as multiply-adds."""


class Sensitivity(Saved):
    """One stage, cut alone and not trained afterwards.

    Args:
        stage: Its number, the finest is 1; those of encoder and decoder that meet in a skip are one.
        share: Of its channels that went, as rounding left it.
        widths: Key of the plan, and place in it → channels that stayed.
        loss: Points of Dice (hundredths) that were lost.
        cost: What is left of the cost of the whole network, 0 to 1.
    """

    stage: int
    share: float
    widths: dict[str, int]
    loss: float
    cost: float

    @property
    def entries(self) -> dict[Entry, int]:
        """``widths`` as entries of a plan."""
        split = (key.rpartition(".") for key in self.widths)
        return {
            (key, int(place)): width
            for (key, _, place), width in zip(split, self.widths.values(), strict=True)
        }


class Tried(Saved):
    """Widths that a search looked at.

    Args:
        widths: Channels per encoder stage, fine to coarse.
        decoder_widths: Channels per decoder stage; empty: the decoder's own choice.
        value: What the target is about: one tile's ms, or the MB of the weights.
        unit: ``ms`` or ``MB``.
        dice: Mean Dice on patches of training cases, cut and not trained yet, 0 to 1.
    """

    widths: Axes
    decoder_widths: Axes
    value: float
    unit: str
    dice: float


def sensitivities(
    network: UNet, judge: Judge, cost: Cost, *, by: str | np.ndarray = "l1", shares: Sequence[float] = SHARES
) -> tuple[Sensitivity, ...]:
    """Cut each stage alone, by each share, and see what is lost.

    Args:
        network: The network; it is not changed.
        judge: What tells how good a network is, on cases that are not held out.
        cost: What is to become less.
        by: Which channels go: the least by this name of ``IMPORTANCES``, or by these scores.
        shares: How far.

    Returns:
        One row per stage and share, fine to coarse; a stage that cannot be cut has none.

    Reference:
        Li et al., Pruning Filters for Efficient ConvNets, ICLR 2017 (arXiv:1608.08710), section 3.2.
    """
    channels, plan = trace(network), spelled_out(network)
    whole, price = judge(network), cost(plan)
    rows = []
    for number, entries in enumerate(by_stage(plan), start=1):
        seen = plan
        for share in shares:
            goal = _cut_alone(network, plan, entries, share=share, channels=channels)
            if goal == seen:
                continue
            seen = goal
            here = [entry for entry in entries if _width(goal, entry) != _width(plan, entry)]
            kept, had = (sum(_width(each, entry) for entry in here) for each in (goal, plan))
            rows.append(
                Sensitivity(
                    stage=number,
                    share=round(1 - kept / had, 4),
                    widths={f"{key}.{place}": _width(goal, (key, place)) for key, place in here},
                    loss=100 * (whole - judge(cut_to(network, goal, by=by, channels=channels))),
                    cost=cost(goal) / price,
                )
            )
    return tuple(rows)


def ordered_cuts(network: UNet, rows: Iterable[Sensitivity]) -> tuple[NetworkPlan, ...]:
    """Plans from the whole network to the smallest, each cutting one stage further than the one before.

    The stage that is cut next is the one that loses least Dice for what it saves.

    Args:
        network: The network.
        rows: What ``sensitivities`` has found.

    Returns:
        Plans with ever less cost, the network's own left out; empty where nothing can be cut.
    """
    channels, plan = trace(network), spelled_out(network)
    waiting: dict[int, list[Sensitivity]] = {}
    for row in rows:
        waiting.setdefault(row.stage, []).append(row)
    now = dict.fromkeys(waiting, (0.0, 1.0))  # stage → loss and cost, as it is cut
    found = []
    while waiting:

        def price(stage: int) -> float:
            loss, cost = now[stage]
            further = waiting[stage][0]
            return max(further.loss - loss, _LEAST_LOSS) / max(cost - further.cost, 1e-9)

        stage = min(waiting, key=price)
        row = waiting[stage].pop(0)
        if not waiting[stage]:
            del waiting[stage]
        trial = with_widths(plan, row.entries)
        if fits(network, channels, trial):
            plan, now[stage] = trial, (row.loss, row.cost)
            found.append(plan)
    return tuple(found)


@torch.no_grad()
def patch_dice(network: nn.Module, batches: Iterable[Batch], layout: Layout) -> float:
    """The mean Dice over foreground classes, all known pixels of all patches taken together.

    Args:
        network: On the batches' device; left in evaluation mode.
        batches: Patches with class ids as labels.
        layout: Number type and memory format of the forward pass.

    Returns:
        0 to 1; a class that neither is there nor was found does not count; 1 where none counts.

    Example:
        >>> logits = torch.tensor([[[0.0, 9.0, 9.0, 0.0], [1.0, 0.0, 0.0, 1.0]]])
        >>> network = nn.Identity()
        >>> patch_dice(network, [Batch(logits, torch.tensor([[1, 1, 0, 0]]), None, ("a",))], Layout())
        0.5
    """
    network.eval()
    shared: torch.Tensor | float = 0.0
    sums: torch.Tensor | float = 0.0
    for batch in batches:
        logits = outputs(network, batch.pixels, layout)[0]
        found, wanted = logits.argmax(dim=1), batch.target
        if batch.known is not None:
            found, wanted = found[batch.known], wanted[batch.known]
        ids = torch.arange(1, logits.shape[1], device=logits.device).unsqueeze(1)
        ours, theirs = found.flatten() == ids, wanted.flatten() == ids
        shared = shared + (ours & theirs).sum(dim=1).double()
        sums = sums + (ours.sum(dim=1) + theirs.sum(dim=1)).double()
    counted = torch.as_tensor(sums) > 0
    if not bool(counted.any()):
        return 1.0
    return float((2 * torch.as_tensor(shared)[counted] / torch.as_tensor(sums)[counted]).mean())


def _cut_alone(
    network: UNet, plan: NetworkPlan, entries: Sequence[Entry], *, share: float, channels: Channels
) -> NetworkPlan:
    """The plan with one stage narrower, or as much of it as can be cut by itself."""
    goal = {entry: narrowed_width(_width(plan, entry), share) for entry in entries}
    for some in (entries, *([entry] for entry in entries)):
        trial = with_widths(plan, {entry: goal[entry] for entry in some})
        if trial != plan and fits(network, channels, trial):
            return trial
    return plan


def _width(plan: NetworkPlan, entry: Entry) -> int:
    key, place = entry
    return getattr(plan, key)[place]
