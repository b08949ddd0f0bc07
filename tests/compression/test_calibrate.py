import pytest
import torch

from unetkit.compression.calibrate import Ranges, calibrate, correct_biases, least_error, whole_range
from unetkit.errors import DataError, UsageError
from unetkit.networks.quantization import Arithmetic
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan


@pytest.fixture
def network():
    torch.manual_seed(0)
    plan = NetworkPlan(**{**EXAMPLE["network"], "norm": "batch", "quantization": "int8"})
    return build(plan, rank=2, in_channels=1, classes=2).eval()


def test_the_error_of_a_range_is_least_where_no_other_does_better():
    torch.manual_seed(0)
    values = torch.cat([torch.randn(5000), torch.tensor([12.0])])
    low, high = least_error(-4.0, 12.0, values)

    def error(least, most):
        step = (most - least) / 255
        return float(((values.clamp(least, most) / step).round() * step - values).square().mean())

    assert error(low, high) == pytest.approx(
        min(error(-4.0 * share / 50, 12.0 * share / 50) for share in range(10, 51)), rel=1e-3
    )
    assert whole_range(-4.0, 12.0, values) == (-4.0, 12.0)


def test_the_image_covers_what_was_seen(network):
    images = [torch.full((1, 1, 8, 8), -2.0), torch.full((1, 1, 8, 8), 3.0)]
    calibrate(network, images, by="minmax")
    points = network.quantization.points
    assert points[0].scale.item() == pytest.approx(3 / 127)
    assert points[0].zero_point.item() == 128
    assert network.quantization.calibrated
    assert all(point.zero_point == 0 for point in points if point.unsigned)
    assert network.quantization.arithmetic == Arithmetic()


def test_zero_is_in_the_middle_where_asked(network):
    calibrate(network, [torch.randn(1, 1, 8, 8)], symmetric=True)
    zeros = {point.zero_point.item() for point in network.quantization.points}
    assert zeros == {128.0}


def test_values_are_gathered_without_a_change(network):
    seen = Ranges(network.quantization)
    x = torch.randn(1, 2, 5, 5)
    assert seen.note(0, x) is x
    seen.note(0, 2 * x)
    assert (seen.low[0], seen.high[0]) == (2 * x.min().item(), 2 * x.max().item())
    assert len(seen.values(0)) == 100
    assert seen.values(1).tolist() == [0.0]


def test_biases_make_up_for_the_mean(network):
    images = torch.randn(4, 1, 16, 16)
    calibrate(network, [images])
    means = {}

    def note(kind):
        def made(module, answer):
            means.setdefault(kind, {})[module] = answer.mean((0, 2, 3))
            return answer

        return made

    with (
        torch.no_grad(),
        network.quantization.computing(Arithmetic(rounded=lambda _, x: x, made=note("float"), exact=True)),
    ):
        network(images)
    with torch.no_grad(), network.quantization.computing(Arithmetic(made=note("before"))):
        network(images)
    correct_biases(network, images)
    with torch.no_grad(), network.quantization.computing(Arithmetic(made=note("after"))):
        network(images)

    def off(kind):
        return max(float((means[kind][name] - means["float"][name]).abs().max()) for name in means["float"])

    assert off("before") > 1e-3
    assert off("after") < 1e-5


@pytest.mark.parametrize(
    ("images", "problem"),
    [
        ([], "expected images to measure ranges on, got none"),
        ([torch.zeros(1, 3, 8, 8)], "expected images of 1 channels to measure ranges on, got 3"),
        ([torch.full((1, 1, 8, 8), float("nan"))], "expected finite values"),
    ],
)
def test_bad_images_are_refused(network, images, problem):
    with pytest.raises(DataError, match=problem):
        calibrate(network, images)


def test_a_wrong_way_is_answered(network):
    with pytest.raises(UsageError, match=r"no range 'mae'"):
        calibrate(network, [torch.zeros(1, 1, 8, 8)], by="mae")
