"""Speed: solved exactly from made-up times, measured to be plausible."""

from __future__ import annotations

import math

import pytest
import torch

from unetkit.planning import rate
from unetkit.planning.rate import measure_rate, solve


def test_three_unknowns_from_three_times():
    operations, elements, fixed = 2e-12, 3e-9, 0.01
    rows = [(fixed, 1.0, 1.0)]
    rows += [(fixed + operations * a + elements * b, a, b) for a, b in ((1e9, 5e6), (2e10, 2e7))]
    cost = solve(rows, "cpu")
    assert cost.gflops == pytest.approx(1e-9 / operations)
    assert cost.gelements == pytest.approx(1e-9 / elements)
    assert cost.step_seconds == fixed


@pytest.mark.parametrize("lean", [1e-6, 10.0])
def test_noise_never_gives_a_negative_speed(lean):
    cost = solve([(0.001, 1e6, 1e4), (lean, 1e9, 5e6), (0.2, 1e10, 2e7)], "cpu")
    assert cost.gflops == pytest.approx(1e-9 * 1e10 / 0.2, rel=0.01)
    assert cost.gelements == math.inf


def test_a_disturbed_tiny_step_does_not_hide_the_others():
    cost = solve([(1.9, 1e6, 1e4), (0.04, 1e9, 5e6), (0.2, 1e10, 2e7)], "cpu")
    assert cost.step_seconds == 0.02
    assert 40 < cost.gflops < 200


def test_it_is_measured_once(monkeypatch):
    monkeypatch.setattr(rate, "_SECONDS", 0.01)
    monkeypatch.setattr(rate, "_EDGE", {2: 32, 3: 16})
    monkeypatch.setattr(rate, "keep_memory", lambda: False)
    monkeypatch.setattr(rate, "use_threads", lambda: 1)
    measure_rate.cache_clear()
    before = torch.get_rng_state()
    try:
        cost = measure_rate("cpu", rank=2)
        assert cost.gflops > 0
        assert cost.gelements > 0
        assert cost.device == "cpu"
        assert measure_rate("cpu", rank=2) is cost
        assert torch.equal(torch.get_rng_state(), before)
    finally:
        measure_rate.cache_clear()
