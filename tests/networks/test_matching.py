"""Names, orders and shapes of foreign tensors."""

import pytest
import torch
from torch import nn
from torch.nn import functional as F

from unetkit.networks.matching import (
    bare_name,
    by_name,
    by_order,
    first_kernel,
    fitted,
    folded,
    transposed_kernels,
)
from unetkit.spatial.layers import Pointwise, Upsampling


@pytest.mark.parametrize("channels", [1, 2, 3, 4, 7])
def test_a_kernel_is_folded_as_timm_does(channels):
    models = pytest.importorskip("timm.models", reason="timm is not installed")
    kernel = torch.randn(4, 3, 5, 5)
    torch.testing.assert_close(folded(kernel, channels), models.adapt_input_conv(channels, kernel.clone()))


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_a_grey_image_in_every_channel_gives_what_it_gave(channels):
    kernel, grey = torch.randn(4, 3, 3, 3), torch.randn(1, 1, 8, 8)
    wanted = F.conv2d(grey.expand(-1, 3, -1, -1), kernel)
    torch.testing.assert_close(F.conv2d(grey.expand(-1, channels, -1, -1), folded(kernel, channels)), wanted)


def test_wrappers_names_are_taken_off():
    assert bare_name("_orig_mod.module.encoder.layer1.0.conv1.weight") == "layer1.0.conv1.weight"
    assert bare_name("decoder.blocks.0.weight") == "decoder.blocks.0.weight"
    wanted = dict.fromkeys(("encoder.backbone.a.weight", "decoder.b", "heads.0"), torch.zeros(1))
    given = dict.fromkeys(("model.a.weight", "a.weight", "decoder.b", "c"), torch.zeros(1))
    pairs = by_name(wanted, given)
    assert pairs == {"encoder.backbone.a.weight": "model.a.weight", "decoder.b": "decoder.b"}


def named(**shapes):
    return {name.replace("_", "."): torch.zeros(shape) for name, shape in shapes.items()}


def test_layers_are_paired_in_order_as_many_as_can_be():
    wanted = named(a_weight=(4, 1, 3, 3), a_bias=(4,), b_weight=(4,), b_bias=(4,), c_weight=(8, 4, 3, 3))
    given = named(
        s_weight=(4, 3, 3, 3), s_bias=(4,), t_weight=(9, 4), u_weight=(4,), u_bias=(4,), v_weight=(8, 4, 3, 3)
    )
    pairs = by_order(wanted, given)
    assert pairs == {
        "a.weight": "s.weight",
        "a.bias": "s.bias",
        "b.weight": "u.weight",
        "b.bias": "u.bias",
        "c.weight": "v.weight",
    }


def test_a_layers_tensors_go_together_or_not_at_all():
    """The bias of one layer is never given to another, whatever the shapes say."""
    wanted = named(a_weight=(4, 2, 3, 3), b_weight=(4,), b_bias=(4,))
    given = named(s_weight=(4, 2, 3, 3), s_bias=(4,))
    assert by_order(wanted, given) == {}


def test_torchvision_and_timm_name_mobilenet_differently_and_order_it_alike():
    models = pytest.importorskip("torchvision.models", reason="torchvision is not installed")
    timm = pytest.importorskip("timm", reason="timm is not installed")
    with torch.device("meta"):
        theirs, ours = models.mobilenet_v2(), timm.create_model("mobilenetv2_100", features_only=True)
    given, wanted = theirs.state_dict(), ours.state_dict()
    pairs = by_order(wanted, given)
    counters = sum(name.endswith("num_batches_tracked") for name in wanted)
    assert len(pairs) == len(wanted) - counters
    assert pairs["blocks.6.0.conv_pwl.weight"] == "features.17.conv.2.weight"
    for name, origin in pairs.items():
        assert given[origin].shape == wanted[name].shape


@pytest.mark.parametrize(
    ("given", "wanted", "words", "is_folded", "is_inflated"),
    [
        ((4, 3, 3, 3), (4, 3, 3, 3), {}, False, False),
        ((4, 3, 3, 3), (4, 1, 3, 3), {"is_first": True}, True, False),
        ((4, 3, 3, 3), (4, 2, 3, 3, 3), {"is_first": True}, True, True),
        ((4, 3, 3, 3), (4, 3, 1, 3, 3), {}, False, True),
        ((4, 3, 1, 3, 3), (4, 3, 3, 3, 3), {}, False, True),
        ((4, 3, 2, 2), (4, 3, 2, 2, 2), {"is_transposed": True}, False, True),
        ((4, 3, 1, 1), (4, 3), {}, False, False),
        ((4, 3), (4, 3, 1, 1, 1), {}, False, False),
    ],
)
def test_what_fits(given, wanted, words, is_folded, is_inflated):
    fit = fitted(torch.randn(given), torch.zeros(wanted), **words)
    assert fit is not None
    assert tuple(fit[0].shape) == wanted
    assert fit[1:] == (is_folded, is_inflated)


@pytest.mark.parametrize(
    ("given", "wanted"),
    [
        ((4, 3, 3, 3), (4, 1, 3, 3)),
        ((4, 3, 1, 1), (4, 3, 3, 3)),
        ((4, 3, 5, 5), (4, 3, 3, 3, 3)),
        ((4, 3, 3, 3, 3), (4, 3, 3, 3)),
        ((4,), (5,)),
        ((6, 2), (4, 3)),
        ((12,), (4, 3)),
    ],
)
def test_what_does_not(given, wanted):
    assert fitted(torch.randn(given), torch.zeros(wanted)) is None


def test_whole_numbers_do_not_fit():
    assert fitted(torch.zeros(3, dtype=torch.int8), torch.zeros(3)) is None


def test_half_precision_comes_in_the_networks_type():
    fit = fitted(torch.randn(3).half(), torch.zeros(3))
    assert fit is not None
    assert fit[0].dtype == torch.float32


def test_which_kernel_meets_the_image_and_which_are_transposed():
    net = nn.Sequential(Pointwise(3, 4), nn.Conv2d(4, 4, 3), Upsampling(4, 2, stride=(2, 2)))
    assert first_kernel(net) == "1.weight"
    assert transposed_kernels(net) == {"2.weight"}
    assert first_kernel(nn.Identity()) == ""
