"""The blocks of MedNeXt against the same blocks made of torch's layers."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.errors import UsageError
from unetkit.networks.blocks import initialize
from unetkit.networks.convnext import ConvNextBlock, ConvNextDown, ConvNextUp, expansions
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.memory_format import arranged, memory_format

CONV = {2: nn.Conv2d, 3: nn.Conv3d}
TRANSPOSED = {2: nn.ConvTranspose2d, 3: nn.ConvTranspose3d}
SETTINGS = {"expansion": 3, "norm": "instance"}
FORMATS = ["contiguous", "channels_last"]


def disturbed(block):
    """Nothing at its start value, so that every weight shows."""
    with torch.no_grad():
        for value in block.parameters():
            value.add_(0.3 * torch.randn_like(value))
    return block


def published_branch(branch, resample, rank: int, out_channels: int):
    """The same branch as the paper's figure draws it, of torch's layers."""
    channels = branch.norm.weight.numel()
    layers = nn.Sequential(
        resample,
        nn.GroupNorm(channels, channels),
        CONV[rank](channels, 3 * channels, 1),
        nn.GELU(),
        CONV[rank](3 * channels, out_channels, 1),
    )
    ours = (branch.spatial, branch.norm, branch.widen, nn.Identity(), branch.narrow)
    for mine, theirs in zip(ours, layers, strict=True):
        copy(mine, theirs)
    return layers


def copy(mine, theirs):
    with torch.no_grad():
        for name, value in theirs.named_parameters():
            value.copy_(getattr(mine, name).reshape(value.shape))


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("size", [3, 5])
def test_a_block_is_the_published_one(rank, size, name):
    block = disturbed(ConvNextBlock(4, kernel=(size,) * rank, **SETTINGS))
    resample = CONV[rank](4, 4, size, padding=size // 2, groups=4)
    branch = published_branch(block.branch, resample, rank, 4)
    x = arranged(torch.randn(2, 4, *(7, 6, 5)[:rank]), name)
    torch.testing.assert_close(block(x), x + branch(x), rtol=1e-4, atol=1e-5)
    assert memory_format(block(x)) == memory_format(x)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("size", [3, 5])
def test_a_step_down_is_the_published_one(rank, size, name):
    kernel, stride = (size,) * rank, (2,) * rank
    block = disturbed(ConvNextDown(4, 6, kernel=kernel, stride=stride, **SETTINGS))
    resample = CONV[rank](4, 4, size, stride=2, padding=size // 2, groups=4)
    branch = published_branch(block.branch, resample, rank, 6)
    skip = CONV[rank](4, 6, 1, stride=2)
    copy(block.skip, skip)
    x = arranged(torch.randn(2, 4, *(8, 6, 4)[:rank]), name)
    torch.testing.assert_close(block(x), skip(x) + branch(x), rtol=1e-4, atol=1e-5)
    assert memory_format(block(x)) == memory_format(x)


@pytest.mark.parametrize("name", FORMATS)
@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("size", [3, 5])
def test_a_step_up_is_the_published_one(rank, size, name):
    kernel, stride = (size,) * rank, (2,) * rank
    block = disturbed(ConvNextUp(4, 2, kernel=kernel, stride=stride, **SETTINGS))
    resample = TRANSPOSED[rank](4, 4, size, stride=2, padding=size // 2, groups=4)
    branch = published_branch(block.branch, resample, rank, 2)
    skip = TRANSPOSED[rank](4, 2, 1, stride=2)
    with torch.no_grad():
        skip.weight.copy_(block.skip.weight.t().reshape(skip.weight.shape))
        skip.bias.copy_(block.skip.bias)
    x = arranged(torch.randn(2, 4, *(4, 3, 5)[:rank]), name)
    whole = F.pad(branch(x) + skip(x), (1, 0) * rank)
    torch.testing.assert_close(block(x), whole, rtol=1e-4, atol=1e-5)
    assert block(x).shape == (2, 2, *(8, 6, 10)[:rank])
    assert memory_format(block(x)) == memory_format(x)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_block_starts_as_its_input(rank):
    block = ConvNextBlock(4, kernel=(3,) * rank, drop=0.5, **SETTINGS)
    initialize(block)
    x = torch.randn(2, 4, *(5, 4, 3)[:rank])
    assert torch.equal(block(x), x)


def test_a_flat_block_of_volumes_is_the_one_of_pictures():
    down = {"kernel": (3, 3), "stride": (2, 2), **SETTINGS}
    two = nn.Sequential(ConvNextDown(2, 4, **down), ConvNextUp(4, 2, **down)).double()
    flat = down | {"kernel": (1, 3, 3), "stride": (1, 2, 2)}
    three = nn.Sequential(ConvNextDown(2, 4, **flat), ConvNextUp(4, 2, **flat)).double()
    lifted = {
        name: value.unsqueeze(2) if value.ndim == 4 else value for name, value in two.state_dict().items()
    }
    three.load_state_dict(lifted)
    x = torch.randn(2, 2, 7, 6, dtype=torch.float64)
    torch.testing.assert_close(three(x.unsqueeze(2)).squeeze(2), two(x))


def test_expansion_has_one_entry_per_stage_or_none():
    plan = NetworkPlan(
        widths=(4, 8, 8),
        blocks=(1,) * 3,
        decoder_blocks=(1,) * 2,
        kernels=((3, 3),) * 3,
        strides=((1, 1), (2, 2), (2, 2)),
    )
    assert expansions(plan) == (2, 2, 2)
    assert expansions(plan.model_copy(update={"expansion": (2, 3, 4)})) == (2, 3, 4)
    for wrong in ((2, 3), (2, 0, 2)):
        with pytest.raises(
            UsageError, match=r"network\.expansion is \[2, .*3 positive numbers were expected"
        ):
            expansions(plan.model_copy(update={"expansion": wrong}))
