import pytest
import torch

from unetkit.networks.fake_quant import Quantizer, quantized_kernel


def test_by_hand():
    quantizer = Quantizer()
    quantizer.cover(-1.0, 1.27)  # 127 steps of 0.01 to either side, and one more below
    assert (quantizer.scale.item(), quantizer.zero_point.item()) == (pytest.approx(0.01), 128)
    values = torch.tensor([-9.0, -1.0, -0.004, 0.006, 0.014, 1.27, 9.0])
    wanted = torch.tensor([-1.28, -1.0, 0.0, 0.01, 0.01, 1.27, 1.27])
    torch.testing.assert_close(quantizer(values), wanted)


def test_zero_is_always_a_step():
    for low, high in ((0.3, 2.0), (-2.0, -0.3), (-0.37, 1.21)):
        for unsigned in (False, True):
            quantizer = Quantizer(unsigned=unsigned)
            quantizer.cover(low, high)
            assert quantizer(torch.zeros(1)).item() == 0.0


@pytest.mark.parametrize("high", [6.0, 0.1, 1 / 3, 7e-5])
def test_without_a_sign_no_step_lies_beyond_what_was_seen(high):
    quantizer = Quantizer(unsigned=True)
    quantizer.cover(-5.0, high)
    assert quantizer.zero_point == 0
    assert high * (1 - 1e-6) <= 255 * quantizer.scale.item() <= high


def test_a_symmetric_grid_has_its_zero_in_the_middle():
    signed, unsigned = Quantizer(), Quantizer(unsigned=True)
    signed.cover(-1.0, 0.5)
    unsigned.cover(0.0, 1.27, symmetric=True)
    assert (signed.zero_point.item(), signed.scale.item()) == (128, pytest.approx(1 / 127))
    assert (unsigned.zero_point.item(), unsigned.scale.item()) == (128, pytest.approx(0.01))


def test_gradients_pass_where_nothing_is_cut():
    quantizer = Quantizer()
    quantizer.cover(-1.0, 1.0)
    x = torch.tensor([-3.0, -0.5, 0.123, 3.0], requires_grad=True)
    quantizer(x).sum().backward()
    assert x.grad.tolist() == [0.0, 1.0, 1.0, 0.0]


def test_nothing_is_covered_at_first():
    assert torch.isnan(Quantizer().scale)


def test_a_kernel_is_rounded_channel_by_channel():
    torch.manual_seed(0)
    kernel = torch.randn(3, 2, 3, 3) * torch.tensor([0.01, 1.0, 100.0]).reshape(3, 1, 1, 1)
    kernel[1] = 0.0
    found = quantized_kernel(kernel)
    for channel, rounded in zip(kernel, found, strict=True):
        largest = max(abs(value) for value in channel.flatten().tolist())
        for before, after in zip(channel.flatten().tolist(), rounded.flatten().tolist(), strict=True):
            step = max(largest, 1e-12) / 127
            assert after == pytest.approx(round(before / step) * step, rel=1e-5, abs=1e-9)


def test_every_weight_of_a_kernel_learns():
    kernel = torch.randn(2, 5, requires_grad=True)
    quantized_kernel(kernel).sum().backward()
    assert kernel.grad.tolist() == [[1.0] * 5] * 2
