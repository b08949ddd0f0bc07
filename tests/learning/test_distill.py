"""Soft targets by hand, by gradcheck, and on exactly what the network saw; several teachers; no labels."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from scipy.special import log_softmax
from torch import nn

from unetkit.errors import UsageError
from unetkit.learning.distill import attention_loss, attention_map, channel_loss, listen, soft_loss
from unetkit.networks.unet import build
from unetkit.records.plan import NetworkPlan, ObjectivePlan, WrapperTerm
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.loop import fit
from unetkit.training.objective import Past, build_objective


def lwf(**options) -> WrapperTerm:
    return WrapperTerm(name="lwf", options=options)


def distill(**options) -> WrapperTerm:
    return WrapperTerm(name="distill", options=options)


def taught(past: Past, **options):
    return build_objective(ObjectivePlan(wrappers=(distill(**options),)), Layout(), past)


def unet(seed: int, rank: int = 2, **changes) -> nn.Module:
    torch.manual_seed(seed)
    plan = {
        "widths": (4, 8),
        "blocks": (1, 1),
        "decoder_blocks": (1,),
        "kernels": ((3,) * rank,) * 2,
        "strides": ((1,) * rank, (2,) * rank),
    }
    network = build(NetworkPlan(**{**plan, **changes}), rank=rank, in_channels=1, classes=2)
    return network.eval().requires_grad_(False)


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
    with pytest.raises(UsageError, match="the other model has 3 classes, this one 2"):
        objective.terms(small.small_network(), next(small.SmallBatches().stream(0, 1)))


@pytest.mark.parametrize("size", [(5, 6), (3, 4, 5)])
def test_the_channel_loss_by_a_loop_over_channels(size):
    random = np.random.default_rng(1)
    student, teacher = (random.normal(size=(2, 3, *size)) for _ in range(2))
    total = 0.0
    for item in range(2):
        for channel in range(3):
            ours = log_softmax(student[item, channel].ravel() / 4)
            theirs = log_softmax(teacher[item, channel].ravel() / 4)
            total += 16 * float((np.exp(theirs) * (theirs - ours)).sum())
    found = channel_loss(torch.from_numpy(student), torch.from_numpy(teacher), temperature=4)
    assert float(found) == pytest.approx(total / (2 * 3), rel=1e-5)


def test_attention_is_the_angle_between_maps_of_strength():
    random = np.random.default_rng(2)
    ours, theirs = random.normal(size=(2, 5, 4, 3)), random.normal(size=(2, 7, 4, 3))
    maps = [(each**2).sum(1).reshape(2, -1) for each in (ours, theirs)]
    cosines = [a @ b / np.sqrt((a @ a) * (b @ b)) for a, b in zip(*maps, strict=True)]
    found = attention_loss(*(attention_map(torch.from_numpy(each)) for each in (ours, theirs)))
    assert float(found) == pytest.approx(np.mean([2 - 2 * cosine for cosine in cosines]), rel=1e-5)
    assert float(attention_loss(*[attention_map(torch.from_numpy(ours * k)) for k in (1, 3)])) < 1e-9


def test_every_loss_has_the_gradient_of_its_differences():
    student = torch.randn(1, 2, 3, 3, dtype=torch.float64, requires_grad=True)
    teacher = torch.randn(1, 2, 3, 3, dtype=torch.float64)
    losses = (
        lambda x: soft_loss(x, teacher, temperature=3),
        lambda x: channel_loss(x, teacher, temperature=3),
        lambda x: attention_loss(attention_map(x), attention_map(teacher)),
    )
    for loss in losses:
        assert torch.autograd.gradcheck(loss, (student,))


@pytest.mark.parametrize("rank", [2, 3])
def test_a_network_has_nothing_to_learn_from_its_double(rank, small):
    batch = next(small.SmallBatches().stream(0, 1))
    if rank == 3:
        pixels, target = (
            each.unsqueeze(-1).expand(*each.shape, 8).contiguous() for each in (batch.pixels, batch.target)
        )
        batch = type(batch)(pixels, target, None, batch.cases)
    own, other = unet(0, rank), unet(1, rank)
    terms = taught(Past(teachers=(unet(0, rank),))).terms(own, batch)
    names = ("distill", "distill_channels", "distill_features")
    assert [float(terms[name]) for name in names] == pytest.approx([0.0] * 3, abs=1e-6)
    apart = taught(Past(teachers=(other,))).terms(own, batch)
    assert all(float(apart[name]) > 1e-4 for name in names)
    weighed = taught(Past(teachers=(other,)), weight=2.0, channels=0.5, features=0.0).terms(own, batch)
    assert float(weighed["distill"]) == pytest.approx(2 * float(apart["distill"]))
    assert float(weighed["distill_channels"]) == pytest.approx(0.5 * float(apart["distill_channels"]))
    assert "distill_features" not in weighed


def test_several_teachers_answer_with_the_mean_of_their_logits(small):
    batch = next(small.SmallBatches().stream(0, 1))
    own, teachers = unet(0), [unet(1), unet(2)]
    twice = taught(Past(teachers=(teachers[0], teachers[0]))).terms(own, batch)
    once = taught(Past(teachers=(teachers[0],))).terms(own, batch)
    assert {name: float(value) for name, value in twice.items()} == pytest.approx(
        {name: float(value) for name, value in once.items()}, rel=1e-5
    )
    both = taught(Past(teachers=tuple(teachers))).terms(own, batch)
    mean = sum(teacher(batch.pixels) for teacher in teachers) / 2
    assert float(both["distill"]) == pytest.approx(float(soft_loss(own(batch.pixels), mean, temperature=2)))
    with listen(own, features=True) as heard, listen(teachers[0], features=True) as one:
        own(batch.pixels), teachers[0](batch.pixels)
    with listen(teachers[1], features=True) as other:
        teachers[1](batch.pixels)
    (ours,), (first,), (second,) = heard, one, other
    size = torch.Size((8, 8))
    meant = (first.levels[size] + second.levels[size]) / 2
    assert float(both["distill_features"]) == pytest.approx(float(attention_loss(ours.levels[size], meant)))


def test_outputs_of_one_size_are_compared_whatever_their_stage(small):
    batch = next(small.SmallBatches().stream(0, 1))
    deeper = unet(
        1,
        widths=(4, 8, 8),
        blocks=(1,) * 3,
        decoder_blocks=(1, 1),
        kernels=((3, 3),) * 3,
        strides=((1, 1), (2, 2), (2, 2)),
    )
    coarse = unet(2, strides=((2, 2), (2, 2)))
    with listen(deeper, features=True) as heard:
        deeper(batch.pixels)
    assert [tuple(size) for size in heard[0].levels] == [(8, 8), (4, 4)]
    assert "distill_features" in taught(Past(teachers=(deeper,))).terms(coarse, batch)
    with pytest.raises(UsageError, match="decoder outputs of one size, and the two networks share none"):
        taught(Past(teachers=(coarse,))).terms(unet(0), batch)
    with pytest.raises(UsageError, match=r"this network has no decoder.*features 0"):
        taught(Past(teachers=(coarse,))).terms(small.small_network(), batch)
    assert not deeper._forward_hooks
    assert not deeper.decoder._forward_hooks


def test_images_without_a_label_take_their_share_and_teach_through_the_teacher_alone(small):
    class Blank:
        asked = ()

        def at(self, step):
            self.asked = (*self.asked, step)
            pixels = torch.full((2, 1, 8, 8), 7.0)
            unknown = torch.zeros(2, 8, 8, dtype=torch.bool)
            return type(batch)(pixels, unknown.long(), unknown, ("blank", "blank"))

    batch = next(small.SmallBatches().stream(0, 1))
    blank, own = Blank(), unet(0)
    past = Past(teachers=(unet(1),), unlabelled=blank)
    everything = taught(past, unlabelled=1.0)
    with listen(own, features=False) as heard:
        terms = everything.terms(own, batch)
    assert bool((heard[0].pixels == 7).all())
    assert float(terms["cross_entropy"]) == 0.0
    assert float(terms["distill"]) > 0
    everything.after_step(0.1)
    state = everything.state()
    resumed = taught(past, unlabelled=1.0)
    resumed.load(state)
    resumed.terms(own, batch)
    assert blank.asked == (0, 1)
    plain = {
        name: float(value) for name, value in taught(Past(teachers=past.teachers)).terms(own, batch).items()
    }
    none = taught(past, unlabelled=0.0).terms(own, batch)
    assert {name: float(value) for name, value in none.items()} == plain


def test_weights_of_0_are_training_alone_bit_for_bit(small, tmp_path):
    weights = []
    for name, terms in (("alone", ()), ("taught", (distill(weight=0.0, channels=0.0, features=0.0),))):
        past = Past(teachers=(small.small_network().requires_grad_(False).eval(),))
        objective = build_objective(ObjectivePlan(wrappers=terms), Layout(), past)
        task = small.small_task(objective=objective)
        fit(task, Run(tmp_path / name))
        weights.append(small.weights_of(task.network))
    assert small.differing(*weights) == []


def test_a_student_comes_nearer_to_its_teacher(small, tmp_path):
    torch.manual_seed(5)
    teacher = nn.Sequential(nn.Conv2d(1, 2, 3, padding=1)).requires_grad_(False).eval()
    pixels = torch.randn(4, 1, 8, 8, generator=torch.Generator().manual_seed(11))
    apart = []
    for weight in (0.0, 20.0):
        past = Past(teachers=(teacher,))
        task = small.small_task(objective=taught(past, weight=weight, channels=0.0, features=0.0))
        fit(task, Run(tmp_path / str(weight)))
        with torch.no_grad():
            apart.append(float(soft_loss(task.network(pixels), teacher(pixels), temperature=1)))
    assert apart[1] < 0.9 * apart[0]


def test_what_a_student_lacks_is_said():
    with pytest.raises(UsageError, match=r"'distill' learns from other models.*--distill STUDENT"):
        taught(Past())
    with pytest.raises(UsageError, match="'distill' has a channel_temperature of 0"):
        taught(Past(teachers=(nn.Identity(),)), channel_temperature=0.0)
    with pytest.raises(UsageError, match="the share of 'distill' to be between 0 and 1, got 2"):
        taught(Past(teachers=(nn.Identity(),)), unlabelled=2.0)
    with pytest.raises(UsageError, match=r"has no option 'feature'.*use 'features'"):
        taught(Past(teachers=(nn.Identity(),)), feature=2.0)
