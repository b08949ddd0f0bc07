"""Areas by hand, and the mean over the classes that are there."""

import pytest
import torch

from unetkit.losses.areas import Areas, mean_present, measure_areas, power, tversky_index

SHARES = torch.tensor([[0.5, 0.25, 1.0], [0.5, 0.75, 0.0]]).view(1, 2, 3, 1)
TRUTH = torch.tensor([[1.0, 0.5, 0.0], [0.0, 0.5, 1.0]]).view(1, 2, 3, 1)


def areas(soft=True, known=None, batch=0, background=1, shares=SHARES, truth=TRUTH):
    return measure_areas(shares, truth, known, soft=soft, batch=batch, background=background)


def test_what_is_shared_by_hand():
    found = areas()
    assert found.shared.tolist() == [[0.5 + 0.25 + 0, 0 + 0.5 + 0]]
    assert found.predicted.tolist() == [[1.75, 1.25]]
    assert found.actual.tolist() == [[1.5, 1.5]]
    assert areas(soft=False).shared.tolist() == [[0.5 + 0.125, 0.375]]
    assert areas(background=0).shared.tolist() == [[0.5]]


def test_unknown_pixels_have_no_area_and_unknown_samples_no_weight():
    known = torch.tensor([[True, False, False], [False, False, False]]).view(2, 3, 1)
    shares, truth = SHARES.expand(2, -1, -1, -1), TRUTH.expand(2, -1, -1, -1) * known.unsqueeze(1)
    found = areas(known=known, shares=shares, truth=truth)
    assert found.predicted.tolist() == [[0.5, 0.5], [0, 0]]
    assert found.weights.tolist() == [1, 0]
    whole = areas(known=known, shares=shares, truth=truth, batch=1)
    assert whole.predicted.tolist() == [[0.5, 0.5]]
    assert whole.weights.tolist() == [1]


def test_the_index_by_hand():
    found = Areas(torch.tensor([[2.0]]), torch.tensor([[5.0]]), torch.tensor([[4.0]]), torch.ones(1))
    index = tversky_index(found, alpha=0.25, beta=0.75, smooth=0.5)
    assert index.item() == pytest.approx(2.5 / (2 + 0.25 * 3 + 0.75 * 2 + 0.5))


def test_classes_that_are_absent_do_not_count():
    losses, actual = torch.tensor([[0.2, 0.8], [0.4, 0.6]]), torch.tensor([[3.0, 0.0], [0.0, 0.0]])
    assert mean_present(losses, actual, torch.ones(2)).item() == pytest.approx(0.2)
    assert mean_present(losses, actual, torch.ones(2), absent=1).item() == pytest.approx(0.5)
    assert mean_present(losses, actual, torch.tensor([0.0, 1.0])).item() == 0


def test_a_root_has_a_finite_slope_at_zero():
    losses = torch.tensor([0.0, 0.25], requires_grad=True)
    roots = power(losses, 0.5)
    assert roots.tolist() == [0.0, 0.5]
    (slope,) = torch.autograd.grad(roots.sum(), losses)
    assert slope.tolist() == [0.0, 1.0]
