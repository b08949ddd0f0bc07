"""Background that may be something else: the paper's losses by a loop, and that no class is pushed down."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.learning.distill import soft_loss
from unetkit.learning.unbiased import as_background, hidden_classes, pseudo_labelled
from unetkit.records.plan import LossTerm, ObjectivePlan, WrapperTerm
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import Past, build_objective

CLASSES = 4
NAMED = {"new": frozenset({3}), "old": frozenset({1, 2})}


class Fixed(nn.Module):
    """Answers with its own weight, so that a gradient says what each logit is pushed to."""

    def __init__(self, size, *, classes=CLASSES, seed=0, levels=1):
        super().__init__()
        generator = torch.Generator().manual_seed(seed)
        self.logits = nn.ParameterList(
            torch.randn(3, classes, *(length // 2**level for length in size), generator=generator)
            for level in range(levels)
        )

    def forward(self, x):
        levels = list(self.logits)
        return levels if len(levels) > 1 else levels[0]


def batch_of(size, cases=("new", "old", "all"), seed=1):
    generator = torch.Generator().manual_seed(seed)
    target = torch.zeros(3, *size, dtype=torch.long)
    for item, values in enumerate(([0, 3], [0, 1, 2], [0, 1, 2, 3])):
        choice = torch.randint(0, len(values), size, generator=generator)
        target[item] = torch.tensor(values)[choice]
    return Batch(torch.zeros(3, 1, *size), target, None, cases)


def objective(*losses, past, **options):
    terms = tuple(LossTerm(name=name) for name in losses)
    wrapper = WrapperTerm(name="unbiased", options=options)
    return build_objective(ObjectivePlan(losses=terms, wrappers=(wrapper,)), Layout(), past)


@pytest.mark.parametrize("size", [(4, 6), (2, 4, 4)])
def test_the_cross_entropy_by_a_loop_over_pixels(size):
    """Equation 4: where the label says background, every class that its data set does not name counts."""
    network, batch = Fixed(size), batch_of(size)
    total = 0.0
    for item, case in enumerate(batch.cases):
        unnamed = [k for k in range(1, CLASSES) if case in NAMED and k not in NAMED[case]]
        for place in np.ndindex(size):
            row = network.logits[0][(item, slice(None), *place)].tolist()
            value = int(batch.target[(item, *place)])
            counted = [0, *unnamed] if value == 0 else [value]
            everything = sum(math.exp(one) for one in row)
            total -= math.log(sum(math.exp(row[k]) for k in counted) / everything)
    found = objective("cross_entropy", past=Past(named=NAMED)).terms(network, batch)
    assert found["cross_entropy"].item() == pytest.approx(total / batch.target.numel(), rel=1e-5)


def test_a_hidden_class_is_not_pushed_down_and_a_named_one_is():
    for name in ("cross_entropy", "dice"):
        network, batch = Fixed((4, 6)), batch_of((4, 6))
        (term,) = objective(name, past=Past(named=NAMED)).terms(network, batch).values()
        term.backward()
        slopes, ground = network.logits[0].grad, batch.target == 0
        # A step lowers what has a positive slope. Hidden classes share the background's pull upwards.
        assert (slopes[0, 1:3][:, ground[0]] <= 1e-9).all(), name
        assert (slopes[1, 3][ground[1]] <= 1e-9).all(), name
        assert (slopes[0, 3][ground[0]] >= 0).all(), name
        if name == "cross_entropy":  # the Dice of one class may gain by another's loss
            assert (slopes[2, 1:][:, ground[2]] >= 0).all()


def test_every_level_of_deep_supervision_is_merged():
    network, batch = Fixed((8, 8), levels=2), batch_of((8, 8))
    found = objective("cross_entropy", past=Past(named=NAMED)).terms(network, batch)["cross_entropy"]
    parts = []
    for level in network.logits:
        step = 8 // level.shape[2]
        target = batch.target[:, ::step, ::step]
        merged = as_background(level, hidden_classes(batch.cases, NAMED, CLASSES), target == 0)
        parts.append(nn.functional.cross_entropy(merged, target))
    assert found.item() == pytest.approx((2 * parts[0] + parts[1]).item() / 3, rel=1e-6)


def test_where_every_class_is_named_nothing_changes():
    network = Fixed((4, 4))
    plain = build_objective(ObjectivePlan(), Layout())
    for cases, named in ((("a", "b", "c"), NAMED), (("all", "all", "all"), {"all": frozenset({1, 2, 3})})):
        batch = batch_of((4, 4), cases)
        found = objective("dice", "cross_entropy", past=Past(named=named)).terms(network, batch)
        wanted = plain.terms(network, batch)
        assert {name: value.item() for name, value in found.items()} == {
            name: value.item() for name, value in wanted.items()
        }


def test_what_the_earlier_model_is_sure_of_becomes_the_label():
    batch = batch_of((4, 6))
    teacher = Fixed((4, 6), classes=3, seed=5)
    with torch.no_grad():
        teacher.logits[0].mul_(5)
    shares = teacher.logits[0].detach().softmax(1)
    hidden = hidden_classes(batch.cases, NAMED, 3)
    found = pseudo_labelled(batch.target, teacher.logits[0], hidden, confidence=0.7)
    changed = 0
    for item, case in enumerate(batch.cases):
        for place in np.ndindex(4, 6):
            at = (item, *place)
            row = shares[(item, slice(None), *place)]
            best = int(row.argmax())
            free = case == "new" and best > 0 and int(batch.target[at]) == 0 and float(row[best]) >= 0.7
            assert int(found[at]) == (best if free else int(batch.target[at]))
            changed += free
    assert changed > 2
    network = Fixed((4, 6))
    with_teacher = objective("cross_entropy", past=Past(teacher, named=NAMED), confidence=0.7)
    told = Batch(batch.pixels, found, None, batch.cases)
    alone = objective("cross_entropy", past=Past(named=NAMED))
    assert (
        with_teacher.terms(network, batch)["cross_entropy"].item()
        == alone.terms(network, told)["cross_entropy"].item()
    )
    never = objective("cross_entropy", past=Past(teacher, named=NAMED), confidence=1.5)
    assert (
        never.terms(network, batch)["cross_entropy"].item()
        == alone.terms(network, batch)["cross_entropy"].item()
    )


def test_the_old_answers_are_compared_with_the_new_classes_as_background():
    """MiB's distillation (equation 8): the cross-entropy of the paper and a number that has no gradient."""
    teacher, network, batch = Fixed((3, 4), classes=3, seed=2), Fixed((3, 4)), batch_of((3, 4))
    wrapper = WrapperTerm(name="lwf", options={"temperature": 1.0})
    plan = ObjectivePlan(wrappers=(wrapper,))
    found = build_objective(plan, Layout(), Past(teacher)).terms(network, batch)["lwf"]
    entropy = total = 0.0
    for item in range(3):
        for place in np.ndindex(3, 4):
            old = teacher.logits[0][(item, slice(None), *place)].softmax(0).tolist()
            new = network.logits[0][(item, slice(None), *place)].softmax(0).tolist()
            seen = [new[0] + new[3], new[1], new[2]]
            total -= sum(q * math.log(p) for q, p in zip(old, seen, strict=True))
            entropy -= sum(q * math.log(q) for q in old)
    assert found.item() == pytest.approx((total - entropy) / 36, rel=1e-5)
    same = soft_loss(network.logits[0], network.logits[0], temperature=1)
    assert same.item() == pytest.approx(0, abs=1e-7)
    with pytest.raises(UsageError, match="the other model has 5 classes, this one 4"):
        build_objective(plan, Layout(), Past(Fixed((3, 4), classes=5))).terms(network, batch)


def test_mixed_patches_are_refused():
    batch = batch_of((4, 4))
    soft = nn.functional.one_hot(batch.target, CLASSES).movedim(-1, 1).float()
    mixed = Batch(batch.pixels, soft, None, batch.cases, torch.zeros(3))
    with pytest.raises(UsageError, match=r"these patches are mixed.*augmentation.mixup"):
        objective("cross_entropy", past=Past(named=NAMED)).terms(Fixed((4, 4)), mixed)
    with pytest.raises(UsageError, match="has no option 'confidenc'"):
        objective("cross_entropy", past=Past(named=NAMED), confidenc=1.0)
