import itertools

import pytest
import torch

from unetkit.compression.channels import trace
from unetkit.compression.quantize import eight_bits, keep_in_float, quantized
from unetkit.errors import UsageError
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


def network_of(rank=2, **changes):
    flat = {"kernels": ((3,) * rank,) * 2, "strides": ((1,) * rank, (2,) * rank), "norm": "batch"}
    torch.manual_seed(0)
    network = build(
        NetworkPlan(**{**EXAMPLE["network"], **flat, **changes}), rank=rank, in_channels=1, classes=2
    )
    with torch.no_grad():
        for _ in range(3):
            network.train()(torch.randn(4, 1, *(16,) * rank))
    return network.eval()


@pytest.mark.parametrize("rank", [2, 3])
def test_it_answers_nearly_as_before(rank):
    network = network_of(rank)
    images = [torch.randn(2, 1, *(16,) * rank) for _ in range(2)]
    made = quantized(network, images)
    with torch.no_grad():
        wanted, got = network(images[0]), made(images[0])
    noise = (got - wanted).square().mean() / wanted.square().mean()
    assert 0 < noise < 0.01
    assert network.quantization is None
    assert (made.plan.quantization, made.training) == ("int8", False)
    assert all(weight.requires_grad for weight in made.parameters())


def test_kept_convolutions_cost_no_precision():
    network = network_of()
    images = [torch.randn(2, 1, 16, 16)]
    whole = quantized(network, images)
    kept = quantized(network, images, in_float=whole.quantization.in_use(whole))
    with torch.no_grad():
        wanted = network(images[0])
        losses = [float((made(images[0]) - wanted).square().mean()) for made in (whole, kept)]
    assert losses[1] < losses[0]
    assert kept.plan.float_layers == whole.quantization.in_use(whole)


def test_twice_is_once_too_often():
    made = quantized(network_of(), [torch.randn(1, 1, 8, 8)])
    for again in (lambda: eight_bits(made.plan), lambda: quantized(made, [torch.randn(1, 1, 8, 8)])):
        with pytest.raises(UsageError, match="counts in eight bits already"):
            again()
    with pytest.raises(UsageError, match="channels are cut before that"):
        trace(made)


def test_an_instance_norm_cannot_be_all_integer():
    with pytest.raises(UsageError, match=r"instance_norm") as refused:
        quantized(network_of(norm="instance"), [torch.randn(1, 1, 8, 8)], whole=True)
    assert "--set network.norm=batch" in refused.value.cure


@pytest.mark.parametrize(
    "needed", [needed for n in range(3) for needed in itertools.combinations(range(9), n)]
)
def test_what_has_to_be_kept_is_found_and_nothing_else(needed):
    tried = []

    def passes(kept):
        tried.append(kept)
        return set(needed) <= set(kept)

    found = keep_in_float(range(9), passes)
    assert set(found) == set(needed)
    assert len(tried) <= 22


def test_where_nothing_helps_nothing_is_kept():
    assert keep_in_float(["a", "b"], lambda _: False) is None
    assert keep_in_float([], lambda _: False) is None
