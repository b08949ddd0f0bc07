from __future__ import annotations

import math

import pytest
import torch

from unetkit.data.patches import Batch
from unetkit.errors import DataError, UnetkitError
from unetkit.training.guard import guard_step, guard_weights


def batch(*values: float) -> Batch:
    pixels = torch.tensor(values).reshape(-1, 1, 1, 1).expand(-1, 1, 2, 2).clone()
    cases = tuple("abcdef"[: len(values)])
    return Batch(pixels, torch.zeros(len(values), 2, 2, dtype=torch.long), None, cases)


def test_a_finite_norm_passes_without_a_look_at_anything(run):
    guard_step(3.0, None, None, run=run, step=1)  # neither batch nor losses are touched: no device wait
    assert not run.journal.exists()


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_spoilt_pixels_are_named(run, value):
    with pytest.raises(DataError, match=r"^b, d: pixels are NaN or infinite .*step 4.* correct or remove"):
        guard_step(math.nan, batch(0.0, value, 1.0, value), {}, run=run, step=4)


def test_fine_pixels_put_the_losses_in_the_message(run):
    terms = {"dice": torch.tensor(0.5), "cross_entropy": torch.tensor(math.inf)}
    with pytest.raises(
        UnetkitError, match=r"^a, b: .*\(dice 0.5, cross_entropy inf\).*learning_rate"
    ) as caught:
        guard_step(math.nan, batch(0.0, 1.0), terms, run=run, step=4)
    assert not isinstance(caught.value, DataError)
    row = next(run.events("not_finite"))
    assert (row["step"], row["cases"], row["terms"]["cross_entropy"]) == (4, ["a", "b"], "inf")


def test_weights_that_are_not_finite_are_named(small):
    network = small.small_network()
    guard_weights(network, 3)
    with torch.no_grad():
        network[4].bias[1] = math.inf
    with pytest.raises(UnetkitError, match=r"the weight '4.bias' is not finite after step 3"):
        guard_weights(network, 3)
