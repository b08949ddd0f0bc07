"""Faults in a first stage's answer: what they may change, what they never do, and how often."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from unetkit.data.cascade_augment import change_previous
from unetkit.records.plan import AugmentationPlan
from unetkit.spatial.regions import components

NONE = AugmentationPlan(cascade_morphology=0.0, cascade_removal=0.0)


def changed(masks, plan, seed=0):
    channels = torch.from_numpy(masks.astype(np.float32))
    change_previous(channels, plan, generator=torch.Generator().manual_seed(seed))
    return channels.numpy()


def blobs(batch, shape, classes=2):
    """Squares of one class each, apart from one another."""
    masks = np.zeros((batch, classes, *shape), bool)
    for k in range(classes):
        for n in range(3):
            at = tuple(slice(4 + 14 * n, 10 + 14 * n) if axis == 0 else slice(4 + 12 * k, 10 + 12 * k)
                       for axis in range(len(shape)))  # fmt: skip
            masks[(slice(None), k, *at)] = True
    return masks


def test_nothing_happens_but_hardening_where_nothing_is_wanted():
    soft = np.random.default_rng(0).random((2, 2, 8, 9))
    assert np.array_equal(changed(soft, NONE), (soft > 0.5).astype(np.float32))


def test_it_depends_on_the_generator_alone():
    plan = AugmentationPlan(cascade_morphology=1.0, cascade_removal=1.0)
    masks = blobs(3, (48, 40))
    assert np.array_equal(changed(masks, plan), changed(masks, plan))
    assert not np.array_equal(changed(masks, plan), changed(masks, plan, seed=1))


@pytest.mark.parametrize("shape", [(48, 40), (48, 28, 28)])
def test_classes_never_overlap_and_each_changes_half_the_time(shape):
    plan = AugmentationPlan(cascade_morphology=1.0, cascade_radius=(3, 5))
    masks = blobs(40, shape)
    out = changed(masks, plan)
    assert set(np.unique(out)) <= {0.0, 1.0}
    assert out.sum(axis=1).max() == 1
    grown = (out[:, 0].sum(axis=tuple(range(1, out.ndim - 1))) > masks[0, 0].sum()).mean()
    assert 0.02 < grown < 0.4  # one half of the time chosen, and dilation is one operation of four


def test_one_small_object_goes_at_a_time_and_a_large_one_stays():
    plan = AugmentationPlan(cascade_removal=1.0)
    masks = blobs(60, (48, 40), classes=1)
    out = changed(masks, plan)
    counts = [components(item[0] > 0)[1] for item in out]
    assert set(counts) == {2, 3}
    assert 0.25 < counts.count(2) / len(counts) < 0.75
    large = np.zeros((20, 1, 10, 10), bool)
    large[:, 0, :5, :4] = True
    assert np.array_equal(changed(large, plan), large)
    keep = plan.model_copy(update={"cascade_removal_share": 0.5})
    assert changed(large, keep).sum() < large.sum()


def test_the_share_of_items_that_change_is_the_plans():
    plan = AugmentationPlan(cascade_removal=0.2, cascade_morphology=0.0)
    masks = blobs(400, (48, 28), classes=1)
    out = changed(masks, plan)
    share = (out != masks).any(axis=(1, 2, 3)).mean()
    assert share == pytest.approx(0.1, abs=0.06)  # 0.2, and each class half of the time
