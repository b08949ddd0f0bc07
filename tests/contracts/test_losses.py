"""Every row of LOSSES meets the contract."""

import itertools

import pytest
import torch

from unetkit.lookup import pick
from unetkit.losses import LOSSES

NAMES = sorted(LOSSES)
SHAPES = [(2, 3, 5, 4), (2, 2, 3, 4, 3)]


def batch(shape, *, dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    known = torch.rand(target.shape, generator=generator) > 0.4
    return logits, target, known


@pytest.mark.parametrize(("name", "shape", "masked"), [*itertools.product(NAMES, SHAPES, (False, True))])
def test_gradcheck(name, shape, masked):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch(shape)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, target, known if masked else None), (logits.requires_grad_(),)
    )


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(NAMES, SHAPES)])
def test_masked_is_cropped(name, shape):
    """What is unknown might as well have been cut off, whatever its target and logits say."""
    loss = pick("loss", LOSSES, name)
    logits, target, _ = batch(shape)
    known = torch.zeros_like(target, dtype=torch.bool)
    known[..., :2] = True
    wanted = loss(logits[..., :2].contiguous(), target[..., :2].contiguous())
    target[~known] = 255
    logits = logits.requires_grad_()
    got = loss(logits, target, known)
    torch.testing.assert_close(got, wanted)
    (gradient,) = torch.autograd.grad(got, logits)
    assert (gradient[..., 2:] == 0).all()


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(NAMES, SHAPES)])
def test_all_known_is_no_mask(name, shape):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch(shape)
    torch.testing.assert_close(loss(logits, target, torch.ones_like(known)), loss(logits, target))


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(NAMES, SHAPES)])
def test_nothing_known_is_zero_with_a_gradient_of_zero(name, shape):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch(shape, dtype=torch.float32)
    value = loss(logits.requires_grad_(), target, torch.zeros_like(known))
    assert value.shape == ()
    assert value.item() == 0.0
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_classes_changes_nothing(name):
    loss = pick("loss", LOSSES, name)
    options = {"background": 1} if name in ("dice", "tversky", "focal_tversky", "lovasz") else {}
    logits, target, known = batch((2, 4, 5, 6))
    order = torch.tensor([2, 0, 3, 1])
    moved = order.argsort()[target]
    torch.testing.assert_close(
        loss(logits[:, order], moved, known, **options), loss(logits, target, known, **options)
    )


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(NAMES, SHAPES)])
def test_permuting_the_samples_or_mirroring_changes_nothing(name, shape):
    loss = pick("loss", LOSSES, name)
    wanted = loss(*batch(shape))
    for axis in (0, -1):
        torch.testing.assert_close(loss(*(part.flip(axis) for part in batch(shape))), wanted)


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(NAMES, SHAPES)])
def test_right_is_zero_and_wrong_is_more(name, shape):
    loss = pick("loss", LOSSES, name)
    _, target, known = batch(shape)
    truth = torch.nn.functional.one_hot(target, shape[1]).movedim(-1, 1).float()
    right = loss(40.0 * truth, target, known)
    assert 0 <= right.item() < 1e-4
    assert loss(-40.0 * truth, target, known).item() > loss(0.0 * truth, target, known).item() > 0.1


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16])
def test_half_precision_is_computed_in_float32(name, dtype):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch((2, 3, 5, 4), dtype=dtype)
    value = loss(logits, target, known)
    assert value.dtype == torch.float32
    assert value.item() == loss(logits.float(), target, known).item()


@pytest.mark.parametrize("name", NAMES)
@pytest.mark.parametrize("dtype", [torch.uint8, torch.int32])
def test_any_integer_target_will_do(name, dtype):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch((2, 3, 5, 4))
    assert loss(logits, target.to(dtype), known).item() == loss(logits, target, known).item()


@pytest.mark.parametrize("name", NAMES)
def test_the_memory_format_changes_nothing(name):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch((2, 3, 5, 4))
    torch.testing.assert_close(
        loss(logits.contiguous(memory_format=torch.channels_last), target, known), loss(logits, target, known)
    )


@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_stay_finite(name):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch((2, 3, 5, 4), dtype=torch.float32)
    logits = (1e4 * logits).requires_grad_()
    value = loss(logits, target, known)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
