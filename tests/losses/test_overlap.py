"""Overlap losses: by hand, by a naive loop, by identity."""

import numpy as np
import pytest
import torch
from scipy.special import softmax

from unetkit.losses.overlap import dice, focal_tversky, lovasz, tversky


@pytest.fixture(params=[(2, 3, 4, 5), (3, 4, 3, 2, 4)], ids=["rank2", "rank3"])
def batch(request) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(2)
    shape = request.param
    logits = 2 * torch.randn(shape, generator=generator, dtype=torch.float64)
    target = torch.randint(0, shape[1], (shape[0], *shape[2:]), generator=generator)
    known = torch.rand(target.shape, generator=generator) > 0.3
    return logits, target, known


def by_hand() -> tuple[torch.Tensor, torch.Tensor]:
    """Three pixels that say (1/2, 1/2); the first alone is of class 1."""
    return torch.zeros(1, 2, 3, 1), torch.tensor([1, 0, 0]).view(1, 3, 1)


def naive_areas(logits, target, known, k: int, rows) -> tuple[float, float, float]:
    """Shared, extra and missed area of one class over some samples, pixel by pixel."""
    shares = softmax(logits.numpy(), axis=1)
    shared = extra = missed = 0.0
    for place in np.ndindex(*target.shape):
        if place[0] in rows and known[place]:
            share = shares[place[0]][(k, *place[1:])]
            if target[place] == k:
                shared, missed = shared + share, missed + 1 - share
            else:
                extra += share
    return shared, extra, missed


def naive_mean(logits, target, known, formula, *, whole: bool, first: int) -> float:
    samples = range(len(logits))
    groups = [list(samples)] if whole else [[i] for i in samples]
    classes = range(first, logits.shape[1])
    return float(
        np.mean([formula(*naive_areas(logits, target, known, k, rows)) for rows in groups for k in classes])
    )


def test_dice_by_hand():
    # shared 1/2, predicted 3/2, actual 1: 2 · 1/2 / (3/2 + 1) = 2/5
    assert dice(*by_hand(), smooth=0).item() == pytest.approx(1 - 2 / 5)
    # class 0: shared 1, predicted 3/2, actual 2: 2 / 3.5
    assert dice(*by_hand(), smooth=0, background=1).item() == pytest.approx(1 - (2 / 5 + 2 / 3.5) / 2)


def test_tversky_by_hand():
    # shared 1/2, extra 1, missed 1/2
    wanted = 0.5 / (0.5 + 0.2 * 1 + 0.8 * 0.5)
    loss = tversky(*by_hand(), alpha=0.2, beta=0.8, smooth=0)
    assert loss.item() == pytest.approx(1 - wanted)
    focused = focal_tversky(*by_hand(), alpha=0.2, beta=0.8, gamma=2)
    assert focused.item() == pytest.approx((1 - wanted) ** 0.5, rel=1e-4)


def test_lovasz_by_hand():
    # Class 1 present once. Errors 1/2 each; whichever order, Σ errors · slope = 1/2 · (sum of slopes = 1)
    assert lovasz(*by_hand()).item() == pytest.approx(0.5)
    # p(1) = 0.8, 0.3 with truth 1, 0: errors 0.2, 0.3. Sorted: 0.3 (extra), 0.2 (missed).
    # Jaccard loss after the first: 1 - 1/2, after both: 1. Class 0 is its mirror image: the same errors, but
    # sorted 0.3 is missed: loss 1 already, so 0.3.
    logits = torch.tensor([[0.2, 0.7], [0.8, 0.3]]).log().view(1, 2, 2, 1)
    target = torch.tensor([1, 0]).view(1, 2, 1)
    one, zero = 0.3 * 0.5 + 0.2 * 0.5, 0.3 * 1 + 0.2 * 0
    assert lovasz(logits, target, background=0).item() == pytest.approx(one)
    assert lovasz(logits, target).item() == pytest.approx((one + zero) / 2)


@pytest.mark.parametrize("whole", [False, True])
@pytest.mark.parametrize("first", [0, 1])
def test_dice_and_tversky_by_loop(batch, whole, first):
    options = {"batch": float(whole), "background": float(first == 0)}

    def one_minus_dice(shared, extra, missed):
        return 1 - (2 * shared + 0.1) / (2 * shared + extra + missed + 0.1)

    def one_minus_tversky(shared, extra, missed):
        return 1 - (shared + 1e-5) / (shared + 0.4 * extra + 0.6 * missed + 1e-5)

    def root(*areas):
        return one_minus_tversky(*areas) ** (1 / 1.5)

    prices = {"alpha": 0.4, "beta": 0.6}
    for loss, formula in (
        (dice(*batch, smooth=0.1, **options), one_minus_dice),
        (tversky(*batch, **prices, **options), one_minus_tversky),
        (focal_tversky(*batch, **prices, gamma=1.5, **options), root),
    ):
        assert loss.item() == pytest.approx(naive_mean(*batch, formula, whole=whole, first=first))


@pytest.mark.parametrize("background", [0, 1])
def test_lovasz_by_the_definition(batch, background):
    """Lovász extension of ``set of wrong pixels → 1 - IoU``: Σ errors · (loss with it - loss without it)."""
    logits, target, known = batch
    shares = np.moveaxis(softmax(logits.numpy(), axis=1), 1, -1)[known.numpy()]
    ids = target[known].numpy()

    def jaccard_loss(wrong: set[int], truth: set[int]) -> float:
        predicted = truth ^ wrong
        return 1 - len(truth & predicted) / len(truth | predicted)

    losses = []
    for k in range(1 - background, logits.shape[1]):
        truth = {int(i) for i in np.flatnonzero(ids == k)}
        if truth:
            errors = np.abs((ids == k) - shares[:, k])
            total, wrong = 0.0, set()
            for i in np.argsort(-errors):
                before = jaccard_loss(wrong, truth)
                wrong.add(int(i))
                total += errors[i] * (jaccard_loss(wrong, truth) - before)
            losses.append(total)
    assert lovasz(*batch, background=background).item() == pytest.approx(np.mean(losses))


def test_lovasz_of_a_hard_prediction_is_one_minus_iou(batch):
    _, target, _ = batch
    guess = target.roll(1, dims=-1)
    classes = int(target.max()) + 1
    hard = 200.0 * torch.nn.functional.one_hot(guess, classes).movedim(-1, 1).double()
    ious = [
        ((guess == k) & (target == k)).sum().item() / ((guess == k) | (target == k)).sum().item()
        for k in range(classes)
    ]
    assert lovasz(hard, target).item() == pytest.approx(1 - np.mean(ious))


def test_even_tversky_is_dice(batch):
    even = tversky(*batch, alpha=0.5, beta=0.5, smooth=0)
    assert even.item() == pytest.approx(dice(*batch, smooth=0).item())


def test_focal_tversky_of_one_is_tversky(batch):
    assert focal_tversky(*batch, gamma=1).item() == pytest.approx(tversky(*batch).item())


def test_a_sample_of_which_nothing_is_known_is_not_there():
    logits, target = torch.randn(3, 3, 4, 4), torch.randint(0, 3, (3, 4, 4))
    known = torch.ones(3, 4, 4, dtype=torch.bool)
    known[1] = False
    for loss in (dice, tversky, focal_tversky, lovasz):
        kept = loss(logits[[0, 2]], target[[0, 2]])
        assert loss(logits, target, known).item() == pytest.approx(kept.item(), rel=1e-5)


def test_a_class_in_neither_counts_as_right():
    target = torch.zeros(1, 4, 4, dtype=torch.long)
    surely_background = torch.zeros(1, 3, 4, 4)
    surely_background[:, 0] = 100.0
    assert dice(surely_background, target).item() == pytest.approx(0, abs=1e-6)
    assert lovasz(surely_background, target, background=0).item() == 0.0


def test_focal_tversky_has_a_finite_gradient_where_all_is_right():
    target = torch.randint(0, 2, (1, 4, 4))
    logits = (200.0 * torch.stack([1 - target, target], 1)).requires_grad_()
    (gradient,) = torch.autograd.grad(focal_tversky(logits, target), logits)
    assert gradient.isfinite().all()


def test_lovasz_of_a_soft_target_by_the_definition():
    """Each pixel may lose what it has or gain what it lacks: Lovász extension over those moves."""
    generator = torch.Generator().manual_seed(5)
    logits = torch.randn(1, 2, 6, 2, generator=generator, dtype=torch.float64)
    truth = torch.rand(1, 1, 6, 2, generator=generator, dtype=torch.float64)
    truth[0, 0, :2] = truth[0, 0, :2].round()
    shares, t = logits.softmax(1)[0, 1].flatten().numpy(), truth.flatten().numpy()

    def jaccard_loss(wrong: set[int]) -> float:
        worst = np.where(shares < t, 0.0, 1.0)
        guess = np.where([i in wrong for i in range(len(t))], worst, t)
        return 1 - np.minimum(guess, t).sum() / np.maximum(guess, t).sum()

    errors = np.abs(t - shares) / np.maximum(np.where(shares < t, t, 1 - t), 1e-15)
    total, wrong = 0.0, set()
    for i in np.argsort(-errors):
        before = jaccard_loss(wrong)
        wrong.add(int(i))
        total += errors[i] * (jaccard_loss(wrong) - before)
    soft = torch.cat((1 - truth, truth), dim=1)
    assert lovasz(logits, soft, background=0).item() == pytest.approx(total)


def test_dice_of_a_soft_target_by_hand():
    # shares (1/2, 1/2); class 1 of the target 0.2, 0.6, 1: shared 0.2 + 0.5 + 0.5, areas 1.5 and 1.8
    share = torch.tensor([0.2, 0.6, 1.0]).view(1, 1, 3, 1)
    loss = dice(torch.zeros(1, 2, 3, 1), torch.cat((1 - share, share), dim=1), smooth=0)
    assert loss.item() == pytest.approx(1 - 2 * 1.2 / (1.5 + 1.8))
