import numpy as np
import pytest
import torch

from unetkit.compression.channels import Channels, trace
from unetkit.compression.prune import cut_to, kept_places, narrowed, narrowed_width, pruned, steps
from unetkit.errors import UsageError
from unetkit.networks.unet import UNet, build
from unetkit.planning.count import count
from unetkit.records.plan import NetworkPlan


def plan(rank: int = 2, **changes) -> NetworkPlan:
    usual = {
        "widths": (16, 32),
        "blocks": (1, 1),
        "decoder_blocks": (1,),
        "kernels": ((3,) * rank,) * 2,
        "strides": ((1,) * rank, (2,) * rank),
        "norm": "batch",
    }
    return NetworkPlan(**(usual | changes))


def network(rank: int = 2, **changes) -> UNet:
    torch.manual_seed(0)
    return build(plan(rank, **changes), rank=rank, in_channels=1, classes=2).eval()


def test_widths_are_rounded_to_the_nearest_multiple():
    assert [narrowed_width(width, 0.5) for width in (320, 256, 16, 12, 8, 7, 1)] == [160, 128, 8, 8, 4, 4, 1]
    assert [narrowed_width(width, 0.3) for width in (64, 32, 6)] == [48, 24, 4]
    assert [narrowed_width(width, 0.99) for width in (320, 8, 5)] == [8, 4, 1]
    assert [narrowed_width(width, 0.01) for width in (320, 8, 5)] == [320, 8, 5]


@pytest.mark.parametrize("rank", [2, 3])
def test_what_is_counted_drops_as_the_planner_counts_it(rank):
    whole = network(rank)
    small = pruned(whole, 0.5)
    patch = (16,) * rank
    before, after = (
        count(each.plan, rank=rank, in_channels=1, classes=2, patch=patch) for each in (whole, small)
    )
    assert after.parameters == sum(value.numel() for value in small.parameters())
    inner = 3**rank  # by hand: the convolutions behind the first have a quarter of their multiply-adds
    pixels = 16**rank
    first = pixels * inner * 16
    heads = pixels * 16 * 2
    rest = pixels // 2**rank * inner * 16 * 32 + pixels * 32 * 16 + pixels * inner * 32 * 16
    assert before.multiply_adds == first + rest + heads
    assert after.multiply_adds == first // 2 + rest // 4 + heads // 2


def test_a_plan_may_be_cut_to_step_by_step():
    whole = network()
    channels = trace(whole)
    once = cut_to(whole, narrowed(whole, 0.5, channels=channels), channels=channels)
    again = cut_to(once, once.plan)
    assert all(torch.equal(value, again.state_dict()[name]) for name, value in once.state_dict().items())
    state = whole.state_dict()
    assert all(value.data_ptr() != state[name].data_ptr() for name, value in once.state_dict().items())
    assert not once.training


def test_the_decoder_of_a_fixed_encoder_is_cut_all_the_same():
    pytest.importorskip("timm", reason="timm is not installed")
    from unetkit.networks.encoders.timm import plan_of

    asked = {
        key: value[:2] for key, value in plan_of("test_resnet", 2).items() if key in ("widths", "strides")
    }
    whole = network(encoder="timm", backbone="test_resnet", **asked)
    small = pruned(whole, 0.5)
    assert small.plan.widths == whole.plan.widths
    assert small.plan.decoder_widths[0] < whole.decoder.channels[0]
    mine, theirs = small.encoder.state_dict(), whole.encoder.state_dict()
    assert all(torch.equal(value, theirs[name]) for name, value in mine.items())


def test_a_network_cut_at_a_level_is_cut_further():
    from unetkit.networks.prune import pruned as at_level

    whole = network(
        decoder="unetpp",
        widths=(8, 8, 16),
        blocks=(1, 1, 1),
        decoder_blocks=(1, 1),
        kernels=((3, 3),) * 3,
        strides=((1, 1), (2, 2), (2, 2)),
        deep_supervision=2,
    )
    small = pruned(at_level(whole, 1), 0.5)
    assert small.plan.widths == (4, 4)
    assert small(torch.zeros(1, 1, 9, 7)).shape == (1, 2, 9, 7)


@pytest.mark.parametrize("share", [-0.1, 1.0, 2.0])
def test_a_share_that_is_none(share):
    with pytest.raises(UsageError, match=r"from 0 to below 1 was expected, got .*") as caught:
        pruned(network(), share)
    assert caught.value.cure == "say 0.5 to cut half of them"


def test_too_small_a_share_cuts_nothing_and_says_so():
    with pytest.raises(UsageError, match=r"nothing of this network can be cut by 1 %.*widths \[16, 32\]"):
        pruned(network(), 0.01)


def test_steps_that_rounding_undoes_are_left_out():
    whole = network()
    assert [(round(share, 3), goal.widths) for share, goal in steps(whole, 0.75, 2)] == [
        (0.5, (8, 16)),
        (0.75, (8, 8)),
    ]
    many = steps(whole, 0.5, 20)  # the first of twenty rounds would leave every width as it is
    assert [goal.widths for _, goal in many][-1] == narrowed(whole, 0.5).widths
    assert len(many) == len({goal.model_dump_json() for _, goal in many}) < 20
    with pytest.raises(UsageError, match="nothing of this network can be cut by 1 %"):
        steps(whole, 0.01, 2)


def test_channels_may_be_ranked_by_scores():
    whole = network()
    channels = trace(whole)
    scores = np.arange(channels.count, dtype=float)
    small = cut_to(whole, narrowed(whole, 0.5, channels=channels), by=scores, channels=channels)
    kept = channels.axes["encoder.stages.0.0.conv.weight", 0][8:]  # numbers rise along an axis
    wanted = whole.state_dict()["encoder.stages.0.0.conv.weight"][8:]
    assert kept.tolist() == sorted(kept.tolist())
    assert torch.equal(small.state_dict()["encoder.stages.0.0.conv.weight"], wanted)


def test_plans_of_another_structure_are_refused():
    whole = network()
    with pytest.raises(UsageError, match="its blocks are others than the network has"):
        cut_to(whole, plan(encoder="residual"))
    with pytest.raises(UsageError, match="the network cannot be cut to this plan"):
        cut_to(whole, plan(widths=(16, 40)))


def channels_of(axes: dict, fixed: tuple[int, ...] = ()) -> Channels:
    places = {axis: np.array(numbers) for axis, numbers in axes.items()}
    count = 1 + max(number for numbers in axes.values() for number in numbers)
    return Channels(places, count, frozenset(fixed), (), {})


def test_widths_are_solved_through_a_concatenation():
    channels = channels_of({("a", 0): [0, 1, 2], ("b", 0): [3, 4], ("c", 0): [0, 1, 2, 3, 4]})
    scores = np.array([1.0, 5.0, 3.0, 2.0, 9.0])
    places = kept_places(channels, {"a": (2,), "b": (1,), "c": (3,)}, scores)
    assert [places[name, 0].tolist() for name in "abc"] == [[1, 2], [1], [1, 2, 4]]
    with pytest.raises(UsageError, match="'c' cannot be 4 wide"):
        kept_places(channels, {"a": (2,), "b": (1,), "c": (4,)}, scores)


def test_a_width_known_only_through_its_sum_is_the_rest():
    channels = channels_of({("a", 0): [0, 1], ("c", 0): [0, 1, 2, 2, 3, 3]})
    assert kept_places(channels, {"a": (1,), "c": (3,)})["c", 0].tolist() == [0, 2, 3]
    with pytest.raises(UsageError, match="'c' cannot be 4 wide"):
        kept_places(channels, {"a": (1,), "c": (4,)})
    with pytest.raises(UsageError, match="can be reached in several ways"):
        kept_places(
            channels_of({("c", 0): [0, 1], ("d", 0): [0, 2], ("e", 0): [1, 2]}),
            {"c": (1,), "d": (1,), "e": (1,)},
        )
    with pytest.raises(UsageError, match="it lacks weights that the network has"):
        kept_places(channels, {"a": (1,)})


def test_what_is_tied_down_is_kept_or_refused():
    channels = channels_of({("a", 0): [0, 1, 2]}, fixed=(1,))
    assert kept_places(channels, {"a": (3,)})["a", 0].tolist() == [0, 1, 2]
    with pytest.raises(UsageError, match="'a' has 3 channels there, of which 2 cannot be kept"):
        kept_places(channels, {"a": (2,)})
