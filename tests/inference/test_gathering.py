"""All logits at once, or a refusal before any is computed."""

import numpy as np
import pytest

from unetkit.errors import ResourceError
from unetkit.inference import gathering
from unetkit.inference.gathering import gathered
from unetkit.records.case import Grid, Sample

SAMPLE = Sample("big", np.zeros((2, 6, 5), np.float32), Grid.plain(2))


def test_bands_that_reuse_their_memory_come_together():
    logits = np.random.default_rng(0).random((3, 6, 5), np.float32)
    buffer = np.empty((3, 2, 5), np.float32)

    def bands():
        for top in (0, 2, 4):
            buffer[:] = logits[:, top : top + 2]
            yield top, buffer

    assert np.array_equal(gathered(bands(), SAMPLE, what="it", setting="inference.it"), logits)


def test_an_image_beyond_the_limit_is_refused_before_it_is_predicted(monkeypatch):
    def bands():
        raise AssertionError("a band was asked for")
        yield

    monkeypatch.setattr(gathering, "MOST_PIXELS", 29)
    with pytest.raises(ResourceError, match="expected at most 29 pixels for a sieve, got 30") as refused:
        gathered(bands(), SAMPLE, what="a sieve", setting="inference.sieve")
    assert (refused.value.where, refused.value.cure) == (
        "big",
        "set inference.sieve to 0 for images of this size",
    )
