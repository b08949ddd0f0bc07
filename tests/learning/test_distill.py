"""Soft targets by hand, by gradcheck, and on exactly what the network saw."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from unetkit.errors import UsageError
from unetkit.learning.distill import soft_loss
from unetkit.records.plan import ObjectivePlan, WrapperTerm
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.loop import fit
from unetkit.training.objective import Past, build_objective


def lwf(**options) -> WrapperTerm:
    return WrapperTerm(name="lwf", options=options)


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)])
def test_the_loss_by_a_loop_over_pixels(size):
    random = np.random.default_rng(0)
    student, teacher = (random.normal(size=(2, 3, *size)) for _ in range(2))
    total = 0.0
    for item in range(2):
        for place in np.ndindex(size):
            ours = log_softmax(student[(item, slice(None), *place)] / 2)
            theirs = log_softmax(teacher[(item, slice(None), *place)] / 2)
            total += 4 * float((np.exp(theirs) * (theirs - ours)).sum())
    found = soft_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature=2)
    assert float(found) == pytest.approx(total / 2 / np.prod(size), rel=1e-5)


def test_the_gradient_is_that_of_the_cross_entropy_at_temperature_1():
    student = torch.randn(1, 3, 4, 4, requires_grad=True)
    teacher = torch.randn(1, 3, 4, 4)
    soft_loss(student, teacher, temperature=1).backward()
    by_hand = (student.detach().softmax(1) - teacher.softmax(1)) / 16
    torch.testing.assert_close(student.grad, by_hand, atol=1e-6, rtol=1e-4)


def test_a_model_has_nothing_to_learn_from_itself(small):
    network = small.small_network().eval()
    objective = build_objective(ObjectivePlan(wrappers=(lwf(),)), Layout(), Past(network))
    batch = next(small.SmallBatches().stream(0, 1))
    assert objective.terms(network, batch)["lwf"].item() == pytest.approx(0.0, abs=1e-7)


def test_weight_0_is_fine_tuning_bit_for_bit(small, tmp_path):
    weights = []
    for name, terms in (("plain", ()), ("lwf", (lwf(weight=0.0),))):
        old = small.small_network().requires_grad_(False).eval()
        objective = build_objective(ObjectivePlan(wrappers=terms), Layout(), Past(old))
        task = small.small_task(objective=objective)
        fit(task, Run(tmp_path / name))
        weights.append(small.weights_of(task.network))
    assert small.differing(*weights) == []


def test_the_teacher_sees_what_the_network_saw_and_its_finest_answer_counts(small, old_batches):
    shown = []

    class Watched(nn.Module):
        def __init__(self, deep):
            super().__init__()
            self.inner, self.deep = small.small_network().eval(), deep

        def forward(self, pixels):
            shown.append(pixels)
            finest = self.inner(pixels)
            return [finest, finest[..., ::2, ::2] + 5] if self.deep else finest

    replay = WrapperTerm(name="replay", options={"share": 0.5})
    past = Past(Watched(deep=False), memory=old_batches)
    objective = build_objective(ObjectivePlan(wrappers=(replay, lwf())), Layout(), past)
    batch = next(small.SmallBatches().stream(0, 1))
    terms = objective.terms(Watched(deep=True), batch)
    student, teacher = shown
    assert torch.equal(student, teacher)
    assert not torch.equal(student, batch.pixels)
    assert terms["lwf"].item() == pytest.approx(0.0, abs=1e-7)


def test_what_does_not_go_together_is_said(small):
    plan = ObjectivePlan(wrappers=(lwf(),))
    with pytest.raises(UsageError, match=r"'lwf' learns from an earlier model.*unet update"):
        build_objective(plan, Layout())
    with pytest.raises(UsageError, match="'lwf' has a temperature of 0"):
        build_objective(ObjectivePlan(wrappers=(lwf(temperature=0.0),)), Layout(), Past(nn.Identity()))
    objective = build_objective(plan, Layout(), Past(nn.Conv2d(1, 3, 1)))
    with pytest.raises(UsageError, match="the earlier model has 3 classes, this one 2"):
        objective.terms(small.small_network(), next(small.SmallBatches().stream(0, 1)))
