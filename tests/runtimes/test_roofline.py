"""What the two works do, checked by their results, and what they say of themselves."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unetkit.runtimes.cgroups import engine_threads
from unetkit.runtimes.roofline import Roofline


def test_they_say_how_much_they_compute_and_move(monkeypatch):
    monkeypatch.setenv("OMP_NUM_THREADS", "3")
    work = Roofline(edge=10, copied=4000)
    assert (work.operations, work.moved_bytes, work.device) == (2000, 8000, "cpu")
    assert work.threads == engine_threads()


@pytest.mark.parametrize("threads", [1, 3])
def test_a_product_and_a_copy_are_whole_whatever_the_threads(threads, monkeypatch):
    monkeypatch.setattr("unetkit.runtimes.roofline.engine_threads", lambda: threads)
    seen = []
    real = np.matmul
    monkeypatch.setattr(np, "matmul", lambda *a, **k: seen.append((a, k["out"])) or real(*a, **k))
    copied = []
    put = np.copyto
    monkeypatch.setattr(np, "copyto", lambda to, of: copied.append(len(of)) or put(to, of))
    work = Roofline(edge=5, copied=4 * 1001)
    work.multiply()
    ((left, right), product) = seen[0]
    assert left.dtype == right.dtype == np.float32
    assert np.allclose(product, left.astype(float) @ right.astype(float), atol=1e-5)
    work.copy()
    assert sum(copied) == 1001
    assert len(copied) == threads


def test_another_device_is_torchs():
    work = Roofline("meta", edge=4, copied=64)  # a device that computes nothing, so that torch alone is tried
    assert work.threads is None
    with pytest.raises((RuntimeError, ValueError)):
        work.multiply()  # it cannot be waited for


@pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU")
def test_a_gpu_multiplies_and_copies():
    work = Roofline("cuda:0", edge=64, copied=1024)
    work.multiply()
    work.copy()
    assert work.threads is None
