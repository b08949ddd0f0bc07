"""The random field against an exact mean field over all pairs of pixels, and against frozen numbers."""

import numpy as np
import pytest

from unetkit.errors import ResourceError
from unetkit.inference import gathering
from unetkit.inference.crf import features, mean_field, refined, refined_rows
from unetkit.inference.permutohedral import Lattice
from unetkit.records.case import Grid, Sample
from unetkit.records.plan import InferencePlan


def plan(rank=2, **values):
    return InferencePlan(tile_size=(8,) * rank, crf_steps=5, **values)


def scene(shape, classes=2, seed=0):
    """A bright ball in noise, and logits that know it badly."""
    rng = np.random.default_rng(seed)
    axes = np.meshgrid(*[np.linspace(-1, 1, length) for length in shape], indexing="ij")
    ball = np.sqrt(sum(axis**2 for axis in axes)) < 0.6
    image = (0.25 + 0.5 * ball + 0.05 * rng.normal(size=shape))[None]
    logits = 1.2 * rng.normal(size=(classes, *shape))
    logits[0] += 2.0 * ~ball
    logits[1] += 2.0 * ball
    return image, logits.astype(np.float32), ball


def exact_mean_field(logits, both, weights, steps):
    """Krähenbühl and Koltun's algorithm 1 with dense kernel matrices, in float64."""
    unary = logits.reshape(len(logits), -1).T.astype(np.float64)

    def shares_of(total):
        powers = np.exp(total - total.max(axis=1, keepdims=True))
        return powers / powers.sum(axis=1, keepdims=True)

    kernels = []
    for one in both:
        kernel = np.exp(-((one[:, :, None] - one[:, None]) ** 2).sum(axis=0) / 2)
        norm = 1 / np.sqrt(kernel.sum(axis=1))
        kernels.append(norm[:, None] * kernel * norm)
    shares = shares_of(unary)
    for _ in range(steps):
        shares = shares_of(unary + sum(w * k @ shares for w, k in zip(weights, kernels, strict=True)))
    return shares


@pytest.mark.parametrize(("shape", "classes"), [((22, 20), 2), ((20, 18), 3), ((7, 9, 8), 3)])
def test_near_the_exact_mean_field(shape, classes):
    """The lattice approximates a Gaussian: probabilities within 0.12, 0.02 in the mean; labels alike."""
    image, logits, _ = scene(shape, classes)
    spacing = (2.0, 1.0, 1.0)[: len(shape)]
    asked = plan(len(shape), crf_smoothness_pixels=3, crf_appearance_pixels=4)
    both = features(image, spacing_mm=spacing, plan=asked)
    exact = exact_mean_field(logits, both, (1.0, 2.0), 5)
    found = np.exp(refined(logits, image, spacing_mm=spacing, plan=asked)).reshape(classes, -1).T
    apart = np.abs(found - exact)
    assert apart.max() < 0.12
    assert apart.mean() < 0.02
    assert (found.argmax(axis=1) == exact.argmax(axis=1)).mean() >= 0.99


def test_numbers_of_a_program_that_equals_the_authors_own():
    """Made with a program whose probabilities on this very scene are those of pydensecrf within 1.5e-7."""
    rng = np.random.default_rng(0)
    axes = np.meshgrid(*[np.linspace(-1, 1, 40)] * 2, indexing="ij")
    ball = (np.sqrt(axes[0] ** 2 + axes[1] ** 2) < 0.6).astype(int)
    image = 0.25 + 0.5 * ball + 0.05 * rng.normal(size=(40, 40))
    logits = np.stack([(1 - ball).ravel(), ball.ravel()], 1) * 2.0
    logits = logits + 1.2 * rng.normal(size=logits.shape)
    places = np.indices((40, 40)).reshape(2, -1) / 6.0
    kernels = [
        (1.0, Lattice(places)),
        (2.0, Lattice(np.concatenate([places, image.reshape(1, -1) / 0.15]))),
    ]
    found = mean_field(logits.astype(np.float32), kernels, steps=5)[:, 1]
    expected = [0.0051338629, 0.0626038910, 0.3787309824, 0.9812847464, 0.0067052337]
    assert found[[0, 123, 777, 820, 1599]] == pytest.approx(expected, abs=2e-6)
    assert found.mean() == pytest.approx(0.2844110762, abs=2e-6)
    assert found.std() == pytest.approx(0.4091368435, abs=2e-6)


def test_a_badly_known_ball_becomes_whole():
    image, logits, ball = scene((40, 40))

    def dice(labels):
        return 2 * (labels & ball).sum() / (labels.sum() + ball.sum())

    before = dice(logits.argmax(axis=0) == 1)
    after = dice(refined(logits, image, spacing_mm=(1, 1), plan=plan()).argmax(axis=0) == 1)
    assert before < 0.9 < 0.98 < after


def test_permuted_classes_and_mirrored_images():
    image, logits, _ = scene((12, 13), 3)
    found = refined(logits, image, spacing_mm=(1, 1), plan=plan())
    swapped = refined(logits[[2, 0, 1]], image, spacing_mm=(1, 1), plan=plan())
    np.testing.assert_allclose(swapped, found[[2, 0, 1]], atol=1e-4)
    np.testing.assert_allclose(np.exp(found).sum(axis=0), 1, atol=1e-5)


def test_without_weights_the_probabilities_stay():
    image, logits, _ = scene((9, 9))
    kept = refined(
        logits,
        image,
        spacing_mm=(1, 1),
        plan=plan(crf_smoothness_weight=0, crf_appearance_weight=0),
    )
    np.testing.assert_allclose(np.exp(kept[1] - kept[0]), np.exp(logits[1] - logits[0]), rtol=1e-4)


def test_what_is_not_finite_is_left_for_the_error_that_names_the_case():
    image, logits, _ = scene((4, 4))
    logits[0, 0, 0] = np.nan
    assert refined(logits, image, spacing_mm=(1, 1), plan=plan()) is logits


def test_distances_are_counted_in_pixels_of_the_finest_axis():
    image = np.zeros((2, 3, 4))
    image[0, 1] = 7.0
    smooth, appearance = features(image, spacing_mm=(6.0, 3.0), plan=plan(crf_smoothness_pixels=2.0))
    assert smooth[:, 4].tolist() == [1.0, 0.0]  # one row of 6 mm is two pixels of 3 mm
    assert appearance.shape == (4, 12)
    assert appearance[2].std() == pytest.approx(1 / 0.5)
    assert (appearance[3] == 0).all()  # a channel without contrast says nothing


def test_bands_are_joined_and_a_huge_image_is_refused(monkeypatch):
    image, logits, _ = scene((10, 12))
    sample = Sample("big", image.astype(np.float32), Grid.plain(2))
    buffer = np.empty((2, 5, 12), np.float32)

    def bands():
        for top in (0, 5):
            buffer[:] = logits[:, top : top + 5]
            yield top, buffer

    ((top, found),) = refined_rows(bands(), sample, plan())
    assert top == 0
    np.testing.assert_array_equal(found, refined(logits, sample.pixels, spacing_mm=(1, 1), plan=plan()))
    monkeypatch.setattr(gathering, "MOST_PIXELS", 100)
    with pytest.raises(ResourceError, match="big: expected at most 100 pixels for a random field, got 120"):
        next(refined_rows(bands(), sample, plan()))
