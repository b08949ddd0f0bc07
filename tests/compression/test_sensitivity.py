"""What a stage's cut loses is what its cut network loses; cuts come in the order of loss per cost."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.compression.prune import cut_to, narrowed
from unetkit.compression.sensitivity import Sensitivity, ordered_cuts, patch_dice, sensitivities
from unetkit.data.patches import Batch
from unetkit.networks.unet import UNet, build
from unetkit.planning.count import count
from unetkit.records.plan import NetworkPlan
from unetkit.runtimes.devices import Layout


def network(rank: int = 2, **changes) -> UNet:
    plan = {
        "widths": (16, 32, 64),
        "blocks": (1, 1, 1),
        "decoder_blocks": (1, 1),
        "kernels": ((3,) * rank,) * 3,
        "strides": ((1,) * rank, *((2,) * rank,) * 2),
        "norm": "batch",
    }
    torch.manual_seed(0)
    return build(NetworkPlan(**{**plan, **changes}), rank=rank, in_channels=1, classes=2).eval()


def cost_of(rank: int):
    def cost(plan: NetworkPlan) -> float:
        return float(count(plan, rank=rank, in_channels=1, classes=2, patch=(16,) * rank).multiply_adds)

    return cost


@pytest.mark.parametrize("rank", [2, 3])
def test_each_row_is_one_stage_cut_alone(rank):
    whole, cost = network(rank), cost_of(rank)
    asked = []

    def judge(each: nn.Module) -> float:
        asked.append(each)
        return sum(value.numel() for value in each.parameters()) / 1e6

    rows = sensitivities(whole, judge, cost, shares=(0.5, 0.75))
    assert [(row.stage, row.share) for row in rows] == [(1, 0.5), (2, 0.5), (2, 0.75), (3, 0.5), (3, 0.75)]
    assert rows[0].widths == {"widths.0": 8, "decoder_widths.0": 8}  # 16 cannot go below 8
    assert rows[-1].widths == {"widths.2": 16}
    before = whole.plan.model_copy(update={"decoder_widths": (16, 32)})
    for row, cut in zip(rows, asked[1:], strict=True):
        assert {(key, i): getattr(cut.plan, key)[i] for key, i in row.entries} == row.entries
        others = [
            getattr(cut.plan, key)[i] == width
            for key in ("widths", "decoder_widths")
            for i, width in enumerate(getattr(before, key))
            if (key, i) not in row.entries
        ]
        assert all(others)
        assert row.cost == pytest.approx(cost(cut.plan) / cost(whole.plan))
        assert row.loss == pytest.approx(100 * (judge(whole) - judge(cut)))


def test_a_stage_that_cannot_be_cut_has_no_row():
    rows = sensitivities(network(widths=(8, 1, 64)), lambda _: 1.0, cost_of(2), shares=(0.5,))
    assert {row.stage for row in rows} == {1, 3}


def row(stage: int, share: float, widths: dict[str, int], loss: float, cost: float) -> Sensitivity:
    return Sensitivity(stage=stage, share=share, widths=widths, loss=loss, cost=cost)


def test_the_cut_that_loses_least_for_what_it_saves_comes_first():
    rows = [
        row(1, 0.5, {"widths.0": 8}, loss=9.0, cost=0.9),
        row(2, 0.5, {"widths.1": 16}, loss=1.0, cost=0.9),
        row(3, 0.5, {"widths.2": 32}, loss=1.0, cost=0.5),
        row(3, 0.75, {"widths.2": 16}, loss=30.0, cost=0.4),
    ]
    plans = ordered_cuts(network(), rows)  # by hand: 2, 10, 90 and then 290 points per whole cost
    assert [plan.widths for plan in plans] == [(16, 32, 32), (16, 16, 32), (8, 16, 32), (8, 16, 16)]
    assert ordered_cuts(network(), []) == ()


def test_every_plan_on_the_way_can_be_cut_to_and_costs_less():
    whole, cost = network(decoder="unetpp"), cost_of(2)
    values = iter(np.random.default_rng(0).random(99))
    plans = ordered_cuts(whole, sensitivities(whole, lambda _: next(values), cost))
    costs = [cost(whole.plan), *map(cost, plans)]
    assert costs == sorted(costs, reverse=True)
    assert cut_to(whole, plans[-1])(torch.zeros(1, 1, 8, 8)).shape == (1, 2, 8, 8)
    assert cost(plans[-1]) <= cost(narrowed(whole, 0.75))


def test_dice_is_that_of_all_patches_together_where_they_are_known():
    logits = torch.randn(2, 3, 4, 4, generator=torch.Generator().manual_seed(0))
    target = torch.randint(0, 2, (2, 4, 4), generator=torch.Generator().manual_seed(1))
    known = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(2)) > 0.3
    batches = [Batch(logits[i : i + 1], target[i : i + 1], known[i : i + 1], ("a",)) for i in range(2)]
    found, wanted = logits.argmax(1)[known].numpy(), target[known].numpy()
    values = []
    for label in (1, 2):  # class 2 is nowhere, and was found: 0
        ours, theirs = found == label, wanted == label
        values.append(2 * (ours & theirs).sum() / (ours.sum() + theirs.sum()))
    assert values[1] == 0
    assert patch_dice(nn.Identity(), batches, Layout()) == pytest.approx(np.mean(values))
    empty = Batch(torch.zeros(1, 2, 3, 3), torch.zeros(1, 3, 3, dtype=torch.long), None, ("a",))
    assert patch_dice(nn.Identity(), [empty], Layout()) == 1.0
