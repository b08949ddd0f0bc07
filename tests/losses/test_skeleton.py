"""Centre-line Dice: the paper's algorithms on scipy's morphology, by hand and by what it is for."""

import numpy as np
import pytest
import torch
from scipy import ndimage
from scipy.special import softmax

from unetkit.losses.overlap import dice
from unetkit.losses.skeleton import cldice, soft_skeleton


def naive_skeleton(image: np.ndarray, iterations: int) -> np.ndarray:
    """Algorithm 1, as printed: opening anew in every round."""
    cross = ndimage.generate_binary_structure(image.ndim, 1)

    def erode(x):
        return ndimage.grey_erosion(x, footprint=cross, mode="constant", cval=np.inf)

    def open_(x):
        return ndimage.grey_dilation(erode(x), size=(3,) * x.ndim, mode="constant", cval=-np.inf)

    skeleton = np.maximum(image - open_(image), 0)
    for _ in range(iterations):
        image = erode(image)
        skeleton = skeleton + (1 - skeleton) * np.maximum(image - open_(image), 0)
    return skeleton


@pytest.mark.parametrize("shape", [(9, 11), (6, 7, 5)])
@pytest.mark.parametrize("iterations", [0, 1, 3])
def test_skeleton_by_the_algorithm_of_the_paper(shape, iterations):
    image = ndimage.gaussian_filter(np.random.default_rng(0).random(shape), 1)
    image = (image - image.min()) / np.ptp(image)
    found = soft_skeleton(torch.from_numpy(image)[None, None], None, iterations=iterations)[0, 0]
    np.testing.assert_allclose(found.numpy(), naive_skeleton(image, iterations), atol=1e-12)
    assert (found <= torch.from_numpy(image)).all()


@pytest.mark.parametrize("shape", [(2, 3, 8, 9), (2, 2, 5, 6, 5)])
@pytest.mark.parametrize("whole", [False, True])
def test_loss_by_the_algorithm_of_the_paper(shape, whole):
    rng = np.random.default_rng(2)
    logits = 2 * rng.normal(size=shape)
    target = rng.integers(0, shape[1], (shape[0], *shape[2:]))
    share, sums = softmax(logits, axis=1), []
    for row in range(shape[0]):
        for k in range(1, shape[1]):
            truth = (target[row] == k).astype(float)
            line, true_line = naive_skeleton(share[row, k], 2), naive_skeleton(truth, 2)
            parts = ((line * truth).sum(), line.sum(), (true_line * share[row, k]).sum(), true_line.sum())
            sums.append((k, np.array(parts)))
    if whole:
        sums = [(k, sum(part for j, part in sums if j == k)) for k in range(1, shape[1])]
    losses = []
    for _, (found, length, kept, true_length) in sums:
        precision, sensitivity = (found + 1) / (length + 1), (kept + 1) / (true_length + 1)
        losses.append(1 - 2 * precision * sensitivity / (precision + sensitivity))
    loss = cldice(torch.from_numpy(logits), torch.from_numpy(target), iterations=2, batch=float(whole))
    assert loss.item() == pytest.approx(np.mean(losses), rel=1e-9)


@pytest.mark.parametrize("rank", [2, 3])
def test_a_gap_costs_more_than_a_thinner_tube_and_with_dice_less(rank):
    tube = torch.zeros(1, *(15,) * rank, dtype=torch.long)
    middle = (0, *(slice(6, 9),) * (rank - 1))
    tube[middle] = 1
    broken, thinner = tube.clone(), torch.zeros_like(tube)
    broken[..., 6:9] = 0
    thinner[(0, *(slice(7, 8),) * (rank - 1))] = 1

    def logits(mask):
        return 40.0 * torch.stack([1 - mask, mask], dim=1)

    assert cldice(logits(tube), tube).item() == pytest.approx(0, abs=1e-5)
    assert cldice(logits(broken), tube) > 3 * cldice(logits(thinner), tube)
    assert dice(logits(broken), tube) < dice(logits(thinner), tube)
