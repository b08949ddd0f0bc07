"""Every row of LOSSES meets the contract."""

import itertools

import pytest
import torch

from unetkit.lookup import pick
from unetkit.losses import LOSSES

NAMES = sorted(LOSSES)
SHAPES = [(2, 3, 5, 4), (2, 2, 3, 4, 3)]
OVERLAP = ("dice", "tversky", "focal_tversky", "lovasz")


def batch(shape, *, dtype=torch.float64, seed: int = 0):
    generator = torch.Generator().manual_seed(seed)
    logits = torch.randn(shape, generator=generator, dtype=torch.float64).to(dtype)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    known = torch.rand(target.shape, generator=generator) > 0.4
    return logits, target, known


def one_hot(target: torch.Tensor, classes: int) -> torch.Tensor:
    return torch.nn.functional.one_hot(target, classes).movedim(-1, 1).double()


def blended(shape) -> torch.Tensor:
    """Shares of classes: a third of the samples' pixels as they are, the others mixed."""
    (_, first, keep), (_, second, _) = batch(shape), batch(shape, seed=1)
    share = torch.where(keep, 0.7, 1.0).double().unsqueeze(1)
    return share * one_hot(first, shape[1]) + (1 - share) * one_hot(second, shape[1])


@pytest.mark.parametrize(
    ("name", "shape", "masked", "soft"), [*itertools.product(NAMES, SHAPES, (False, True), (False, True))]
)
def test_gradcheck(name, shape, masked, soft):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch(shape)
    if soft:
        target = blended(shape)
    assert torch.autograd.gradcheck(
        lambda x: loss(x, target, known if masked else None), (logits.requires_grad_(),)
    )


@pytest.mark.parametrize(("name", "shape", "masked"), [*itertools.product(NAMES, SHAPES, (False, True))])
def test_shares_of_nought_and_one_are_class_ids(name, shape, masked):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch(shape)
    known = known if masked else None
    logits = logits.requires_grad_()
    hard, soft = loss(logits, target, known), loss(logits, one_hot(target, shape[1]), known)
    torch.testing.assert_close(soft, hard, rtol=1e-14, atol=1e-15)
    slopes = [torch.autograd.grad(value, logits)[0] for value in (soft, hard)]
    torch.testing.assert_close(*slopes, rtol=1e-12, atol=1e-15)


@pytest.mark.parametrize(("name", "shape"), [*itertools.product(("cross_entropy", "focal"), SHAPES)])
def test_pixel_losses_of_a_blend_are_the_blend_of_the_losses(name, shape):
    loss = pick("loss", LOSSES, name)
    logits, first, known = batch(shape)
    second = batch(shape, seed=1)[1]
    blend = 0.7 * one_hot(first, shape[1]) + 0.3 * one_hot(second, shape[1])
    wanted = 0.7 * loss(logits, first, known) + 0.3 * loss(logits, second, known)
    torch.testing.assert_close(loss(logits, blend, known), wanted)


@pytest.mark.parametrize(("name", "shape"), [*itertools.product((*OVERLAP, "cldice"), SHAPES)])
def test_overlap_losses_are_zero_where_the_shares_are_met_and_more_elsewhere(name, shape):
    """What the product in place of the least of both does not give: Σ t · t is less than Σ t."""
    loss = pick("loss", LOSSES, name)
    target = 0.9 * blended(shape) + 0.1 / shape[1]
    known = batch(shape)[2]
    assert loss(target.log(), target, known, background=1).item() == pytest.approx(0, abs=1e-12)
    harder = one_hot(target.argmax(1), shape[1])
    assert loss(20 * harder, target, known, background=1).item() > 0.02


@pytest.mark.parametrize(("name", "shape", "soft"), [*itertools.product(NAMES, SHAPES, (False, True))])
def test_masked_is_cropped(name, shape, soft):
    """What is unknown might as well have been cut off, whatever its target and logits say."""
    loss = pick("loss", LOSSES, name)
    logits, target, _ = batch(shape)
    known = torch.zeros_like(target, dtype=torch.bool)
    known[..., :2] = True
    if soft:
        target = blended(shape)
    wanted = loss(logits[..., :2].contiguous(), target[..., :2].contiguous())
    target[..., 2:] = torch.nan if soft else 255
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


@pytest.mark.parametrize(("name", "shape", "soft"), [*itertools.product(NAMES, SHAPES, (False, True))])
def test_nothing_known_is_zero_with_a_gradient_of_zero(name, shape, soft):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch(shape, dtype=torch.float32)
    if soft:
        target = blended(shape).float()
    value = loss(logits.requires_grad_(), target, torch.zeros_like(known))
    assert value.shape == ()
    assert value.item() == 0.0
    (gradient,) = torch.autograd.grad(value, logits)
    assert (gradient == 0).all()


@pytest.mark.parametrize("name", NAMES)
def test_permuting_the_classes_changes_nothing(name):
    loss = pick("loss", LOSSES, name)
    options = {"background": 1} if name in OVERLAP or name in ("boundary", "cldice") else {}
    logits, target, known = batch((2, 4, 5, 6))
    # the unified focal loss prices the background otherwise than the rest
    order = torch.tensor([0, 3, 1, 2] if name == "unified_focal" else [2, 0, 3, 1])
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


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_extreme_logits_stay_finite(name, soft):
    loss = pick("loss", LOSSES, name)
    logits, target, known = batch((2, 3, 5, 4), dtype=torch.float32)
    if soft:
        target = blended((2, 3, 5, 4)).float()
    logits = (1e4 * logits).requires_grad_()
    value = loss(logits, target, known)
    (gradient,) = torch.autograd.grad(value, logits)
    assert value.isfinite()
    assert gradient.isfinite().all()
