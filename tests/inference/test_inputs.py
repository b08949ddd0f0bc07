"""What a network is given: an image alone, or with the answer of the network before it."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest

from unetkit.data.formats import format_of
from unetkit.errors import UsageError
from unetkit.inference.embedding import embed
from unetkit.inference.predict import Predictor
from unetkit.networks.unet import build
from unetkit.records.case import Case, Grid
from unetkit.records.plan import (
    EXAMPLE,
    DataPlan,
    InferencePlan,
    NetworkPlan,
    Normalization,
    PreparationPlan,
)
from unetkit.spatial.grid import resample

RANDOM = np.random.default_rng(0)
PLAIN = (Normalization(scheme="none"),)


class Above:
    """Class 1 where the only channel is above a threshold."""

    notes = ()

    def __init__(self, threshold):
        self.threshold = threshold

    def run(self, batch):
        assert batch.shape[1] == 1
        return np.concatenate([0 * batch, batch - self.threshold], axis=1)


class Agrees:
    """Class 1 where the first stage said so and the pixel is not 0; the whole input is kept."""

    notes = ()

    def __init__(self):
        self.seen = []

    def run(self, batch):
        assert batch.shape[1] == 2
        self.seen.append(batch.copy())
        said = batch[:, 1:] * (batch[:, :1] != 0)
        return np.concatenate([0 * said, said - 0.5], axis=1)


def stages(rank, *, tile=4, overlap=0.5):
    """A cascade of two networks that can be worked by hand: half resolution, then full."""
    words = {"rank": rank, "channels": ("image",), "classes": ("no", "yes"), "label_values": (0, 1)}
    inference = InferencePlan(tile_size=(tile,) * rank, overlap_fraction=overlap, mirror_axes=(0,))
    half = PreparationPlan(spacing_mm=(2.0,) * rank, normalization=PLAIN, order_image=1)
    first = Predictor(Above(4.47), DataPlan(**words, cascade="low"), half, inference)
    runtime = Agrees()
    second = Predictor(
        runtime,
        DataPlan(**words, cascade="full"),
        PreparationPlan(normalization=PLAIN),
        inference,
        previous=first,
    )
    return first, second, runtime


@pytest.mark.parametrize("shape", [(12, 10), (8, 6, 10)])
@pytest.mark.parametrize("mirror", [False, True])
def test_the_second_stage_gets_the_answer_of_the_first_on_its_own_grid(shape, mirror):
    pixels = RANDOM.integers(0, 10, shape).astype(np.float32)
    first, second, runtime = stages(len(shape))
    coarse = resample(pixels[None], tuple(n // 2 for n in shape), order=1)[0]
    back = resample((coarse - 4.47)[None], shape, order=1)[0] > 0
    assert np.array_equal(first.array(pixels).labels, back)
    found = second.array(pixels, mirror=mirror)
    assert np.array_equal(found.labels, back & (pixels != 0))
    assert {batch.shape[1:] for batch in runtime.seen} == {(2, *(4,) * len(shape))}
    sample = second.inputs.array(pixels[None], Grid.plain(len(shape)), id="x")
    assert np.array_equal(sample.previous, back)


def test_an_answer_that_a_case_names_counts_before_the_first_stage_is_asked(tmp_path):
    pixels, said = RANDOM.integers(1, 10, (12, 10)).astype(np.uint8), np.zeros((12, 10), np.uint8)
    said[3:5, 2:9] = 1
    for name, array in (("image", pixels), ("said", said)):
        format_of(tmp_path / f"{name}.png").write(tmp_path / f"{name}.png", array, Grid.plain(2))
    case = Case.unlabelled("x", (tmp_path / "image.png",))
    first, second, _ = stages(2)
    assert np.array_equal(second.case(case).labels, first.case(case).labels)
    assert np.array_equal(second.case(replace(case, previous=tmp_path / "said.png")).labels, said)


def test_a_second_stage_without_its_first_one_answers_nothing():
    _, second, runtime = stages(2)
    alone = Predictor(runtime, second.data, second.preparation, second.inference)
    with pytest.raises(UsageError, match="the answer of the first one is missing") as wrong:
        alone.array(np.ones((8, 8)))
    assert wrong.value.cure == "predict with the model folder, which holds both stages"
    kept = second.with_inference(second.inference.model_copy(update={"overlap_fraction": 0.0}))
    assert kept.inputs.previous is second.inputs.previous
    assert kept.array(np.full((8, 8), 9.0)).labels.all()
    screened = second.inference.model_copy(update={"screen_factor": 2, "screen_thresholds": (0.5,)})
    with pytest.raises(UsageError, match="whose first stage is a first look already"):
        second.with_inference(screened)


def test_an_embedding_is_of_all_that_the_network_sees():
    _, second, _ = stages(2)
    network = build(NetworkPlan(**EXAMPLE["network"]), rank=2, in_channels=2, classes=2).eval()
    pixels = RANDOM.random((1, 32, 32)).astype(np.float32)
    sample = second.inputs.array(pixels, Grid.plain(2), id="x")
    sample = replace(sample, previous=RANDOM.integers(0, 2, (32, 32)).astype(np.uint8))
    other = replace(sample, previous=1 - sample.previous)
    assert not np.array_equal(embed(network, sample, (16, 16)), embed(network, other, (16, 16)))
