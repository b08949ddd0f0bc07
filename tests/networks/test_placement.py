import pytest
import torch

from unetkit.errors import UsageError
from unetkit.networks.folding import fold_batch_norms
from unetkit.networks.placement import place
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


def placed(in_float=(), **changes):
    plan = NetworkPlan(**{**EXAMPLE["network"], "norm": "batch", **changes})
    network = build(plan, rank=2, in_channels=1, classes=2)
    fold_batch_norms(network)
    return place(network, in_float=in_float)


def test_every_convolution_is_rounded_and_nothing_is_left():
    found = placed()
    assert len(found.convolutions) == 8
    assert found.islands == {}
    assert all(found.steps[f"{name}:conv"].kernel for name in found.convolutions if "ups" not in name)


def test_an_activation_rounds_for_the_convolution_before_it():
    found = placed()
    conv, act = (found.steps[f"encoder.stages.0.0.{name}"] for name in ("conv:conv", "activation:rectify"))
    assert conv.output is None
    assert found.unsigned[act.output]
    assert act.before is None
    assert conv.inputs == {0: 0}
    assert not found.unsigned[0]  # the image


def test_what_is_joined_shares_a_grid():
    found = placed()
    skip, up = (
        found.steps["encoder.stages.0.1.activation:rectify"],
        found.steps["decoder.ups.0:conv_transpose"],
    )
    assert skip.output == up.output == skip.before
    assert not found.unsigned[up.output]


def test_what_is_interpolated_keeps_its_grid_without_a_sign():
    found = placed(upsampling="linear")
    up = found.steps["decoder.ups.0:interpolate"]
    below, skip = (found.steps[f"encoder.stages.{stage}.1.activation:rectify"] for stage in (1, 0))
    assert up.output == below.output == skip.output
    assert found.unsigned[up.output]
    assert skip.before is None


def test_what_is_added_is_rounded_first():
    found = placed(encoder="residual", blocks=(1, 1), upsampling="linear")
    assert found.steps["encoder.stages.0.0.second.conv:conv"].output is not None
    assert found.steps["encoder.stages.0.0:add"].output is None  # the activation behind it does
    assert found.unsigned[found.steps["encoder.stages.0.0:rectify"].output]


def test_kept_convolutions_are_left_alone():
    found = placed(in_float=("encoder.stages.0.0.conv", "heads.0"))
    assert len(found.convolutions) == 6
    first, head = found.steps["encoder.stages.0.0.conv:conv"], found.steps["heads.0:conv"]
    assert (first.kernel, first.inputs) == (False, {})
    assert (head.kernel, head.output) == (False, None)
    with pytest.raises(UsageError, match="no convolution 'heads' to keep in float") as refused:
        placed(in_float=("heads",))
    assert "heads.0" in refused.value.cure


@pytest.mark.parametrize(
    ("changes", "islands"),
    [
        ({"norm": "instance"}, {"instance_norm": 6}),
        ({"fusion": "attention"}, {"__getitem__": 0, "sigmoid": 1, "mul": 1}),
        ({"fusion": "scse"}, {"mean": 1, "sigmoid": 1, "mul": 1}),
    ],
)
def test_what_stays_in_float_is_counted(changes, islands):
    found = placed(**changes)
    for name, count in islands.items():
        assert found.islands.get(name, 0) == count
    assert all(step.kernel for name, step in found.steps.items() if ":conv" in name)


def test_no_memory_is_needed():
    with torch.device("meta"):
        assert len(placed().convolutions) == 8
