"""The lattice against a loop over dictionaries, and against exact Gaussians."""

from collections import defaultdict

import numpy as np
import pytest

from unetkit.errors import UsageError
from unetkit.inference import permutohedral
from unetkit.inference.permutohedral import Lattice


def naive(features, values):
    """Adams et al. 2010, point by point: corners are keys of a dictionary, ``(d, N)`` and ``(N, K)``."""
    d = len(features)
    corners, blurred = [], defaultdict(lambda: np.zeros(values.shape[1]))
    for point in features.T:
        scaled = [point[i] * (d + 1) * np.sqrt(2 / 3 / ((i + 1) * (i + 2))) for i in range(d)]
        lifted = [sum(scaled)] + [sum(scaled[j:]) - j * scaled[j - 1] for j in range(1, d + 1)]
        nearest = [int(np.rint(x / (d + 1))) * (d + 1) for x in lifted]
        rest = [x - y for x, y in zip(lifted, nearest, strict=True)]
        order = sorted(range(d + 1), key=lambda i: (-rest[i], i))
        too_high = sum(nearest) // (d + 1)
        # too many axes were rounded up (down): those with the least (largest) rest go the other way
        for i in order[d + 1 - too_high :] if too_high > 0 else order[: max(0, -too_high)]:
            nearest[i] -= np.sign(too_high) * (d + 1)
        rest = [x - y for x, y in zip(lifted, nearest, strict=True)]
        order = sorted(range(d + 1), key=lambda i: (-rest[i], i))
        falling = [rest[i] / (d + 1) for i in order]
        own = []
        for k in range(d + 1):
            low = set(order[d + 1 - k :])  # the k axes with the least rest go down, the others up
            key = tuple(nearest[i] + k - (d + 1 if i in low else 0) for i in range(d + 1))
            share = 1 + falling[d] - falling[0] if k == 0 else falling[d - k] - falling[d + 1 - k]
            own.append((key, share))
        corners.append(own)
    for own, value in zip(corners, values, strict=True):
        for key, share in own:
            blurred[key] += share * value
    for axis in range(d + 1):
        step = np.ones(d + 1, int)
        step[axis] -= d + 1
        old = {key: value.copy() for key, value in blurred.items()}
        zero = np.zeros(values.shape[1])
        for key in old:
            ahead, behind = tuple(np.add(key, step)), tuple(np.subtract(key, step))
            blurred[key] = old[key] + (old.get(ahead, zero) + old.get(behind, zero)) / 2
    return np.array([sum(share * blurred[key] for key, share in own) for own in corners]) / (1 + 2.0**-d)


@pytest.mark.parametrize("dense", [True, False])
@pytest.mark.parametrize("d", [1, 2, 3, 5])
def test_equals_a_loop_over_dictionaries(monkeypatch, d, dense):
    if not dense:
        monkeypatch.setattr(permutohedral, "_DENSE", 0)
    monkeypatch.setattr(permutohedral, "_CHUNK", 17)
    rng = np.random.default_rng(d)
    features, values = rng.normal(size=(d, 60)) * 1.5, rng.random((60, 2)).astype(np.float32)
    found = Lattice(features).filter(values)
    np.testing.assert_allclose(found, naive(features, values), rtol=1e-4, atol=1e-5)


def test_near_an_exact_gaussian_after_normalisation():
    rng = np.random.default_rng(0)
    grid = np.indices((24, 24)).reshape(2, -1) / 4.0
    features = np.concatenate([grid, rng.choice([0.0, 4.0], (1, grid.shape[1]))])
    values = rng.random((grid.shape[1], 2)).astype(np.float32)
    lattice, ones = Lattice(features), np.ones((grid.shape[1], 1), np.float32)
    square = ((features[:, :, None] - features[:, None]) ** 2).sum(axis=0)
    kernel = np.exp(-square / 2)
    exact = kernel @ values / (kernel @ ones)
    found = lattice.filter(values) / lattice.filter(ones)
    assert np.linalg.norm(found - exact) / np.linalg.norm(exact) < 0.02


def test_filtering_is_linear_and_shifts_with_the_values():
    rng = np.random.default_rng(1)
    lattice = Lattice(rng.normal(size=(2, 50)))
    values = rng.random((50, 3)).astype(np.float32)
    np.testing.assert_allclose(lattice.filter(2 * values), 2 * lattice.filter(values), rtol=1e-5)
    np.testing.assert_allclose(
        lattice.filter(values)[:, 1:], lattice.filter(np.ascontiguousarray(values[:, 1:])), rtol=1e-5
    )


@pytest.mark.parametrize(("reach", "got"), [(1e7, "cells"), (1e12, r"1e\+12 standard deviations")])
def test_features_that_span_too_much_are_refused(reach, got):
    wide = np.array([[0.0, reach]] * 3)
    with pytest.raises(UsageError, match=f"within some thousand standard deviations, got .*{got}"):
        Lattice(wide)
