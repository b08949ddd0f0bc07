"""Pruned networks answer exactly as the head they are cut at, and hold nothing else."""

import re

import pytest
import torch

from unetkit.errors import UsageError
from unetkit.networks.prune import at_level, kept_stages, pruned
from unetkit.networks.unet import build
from unetkit.records.plan import NetworkPlan


def plan(rank: int = 2, **changes) -> NetworkPlan:
    usual = {
        "decoder": "unetpp",
        "widths": (3, 4, 5, 6),
        "blocks": (1, 1, 1, 1),
        "decoder_blocks": (1, 1, 1),
        "kernels": ((3,) * rank,) * 4,
        "strides": ((1,) * rank, *((2,) * rank,) * 3),
        "deep_supervision": 3,
        "norm": "batch",
    }
    return NetworkPlan(**(usual | changes))


@pytest.mark.parametrize("pyramid", ["none", "input", "levels"])
@pytest.mark.parametrize(("rank", "first"), [(2, 1), (2, 2), (3, 1)])
@pytest.mark.parametrize("extra", [(), (2, 3, 4, 5)])
def test_every_level_is_its_head_exactly(rank, first, extra, pyramid):
    if extra and first == 1:
        pytest.skip("a last stage belongs to a strided first one")
    strides = ((first,) * rank, *((2,) * rank,) * 3)
    network = plan(rank, strides=strides, decoder_widths=extra, pyramid=pyramid)
    whole = build(network, rank=rank, in_channels=1, classes=2)
    x = torch.randn(2, 1, *(19, 17, 18)[:rank])
    whole(x)  # statistics of batch norms
    whole.eval().training = True  # every head, statistics frozen
    heads = whole(x)
    assert [head.shape[2:] for head in heads] == [x.shape[2:]] * 3
    whole.eval()
    for level in (1, 2, 3):
        small = pruned(whole, level)
        assert torch.equal(small(x), heads[3 - level])
        assert len(small.encoder.channels) == level + 1
        assert small.plan.prune_level == level
        assert whole.encoder.stages[0][0].conv.weight.data_ptr() == (
            small.encoder.stages[0][0].conv.weight.data_ptr()
        )


def test_pruned_away_stages_cannot_matter():
    whole = build(plan(), rank=2, in_channels=1, classes=2).eval()
    x = torch.randn(1, 1, 16, 16)
    before = pruned(whole, 2)(x)
    with torch.no_grad():
        for name, value in whole.named_parameters():
            if name.startswith(("encoder.stages.3", "decoder.nodes.0_3", "decoder.nodes.1_2", "heads.0")):
                value.fill_(torch.nan)
    assert torch.equal(pruned(whole, 2)(x), before)
    assert whole(x).isnan().all()


def test_a_network_can_be_built_at_a_level_and_takes_the_weights():
    whole = build(plan(), rank=2, in_channels=1, classes=2)
    small = build(plan(prune_level=1), rank=2, in_channels=1, classes=2)
    assert small.state_dict().keys() == pruned(whole, 1).state_dict().keys()
    assert sorted(small.decoder.nodes) == ["0_1"]


def test_what_is_kept_of_a_plan():
    kept = kept_stages(plan(prune_level=2, bottleneck="identity", decoder_widths=(7, 8, 9)))
    assert (kept.widths, kept.decoder_widths, kept.decoder_blocks) == ((3, 4, 5), (7, 8), (1, 1))
    assert kept.deep_supervision == 2
    assert kept_stages(plan()) == plan()


@pytest.mark.parametrize(
    ("changes", "text"),
    [
        ({"decoder": "unet", "prune_level": 1}, r"the decoder 'unet' has no levels to cut.*prune_level to 0"),
        ({"prune_level": 4}, r"prune_level is 4, the network has 3 levels.*to 3 or less"),
        (
            {"prune_level": 1, "deep_supervision": 2},
            r"only the 2 deepest of 3 levels have a head.*deep_supervision to 3 or more",
        ),
    ],
)
def test_a_level_that_cannot_be_had_is_refused(changes, text):
    with pytest.raises(UsageError) as refusal:
        build(plan(**changes), rank=2, in_channels=1, classes=2)
    assert re.search(text, str(refusal.value))


def test_level_zero_leaves_nothing():
    with pytest.raises(UsageError, match="prune level 0 leaves nothing"):
        pruned(build(plan(), rank=2, in_channels=1, classes=2), 0)


def test_what_was_cut_can_be_cut_further_and_does_not_grow_back():
    whole = build(plan(), rank=2, in_channels=1, classes=2).eval()
    middle, x = pruned(whole, 2), torch.randn(1, 1, 16, 16)
    assert torch.equal(pruned(middle, 1)(x), pruned(whole, 1)(x))
    assert torch.equal(pruned(middle, 2)(x), middle(x))
    for level in (0, 3):
        with pytest.raises(UsageError, match=rf"was to be {level}, but the model holds only its first 2"):
            at_level(middle.plan, level)
    assert at_level(plan(), 0) == plan()
