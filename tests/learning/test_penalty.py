"""Fisher and pull against per-sample gradients of torch.func, against scipy, and in their two limits."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from scipy.optimize import minimize_scalar
from torch import nn

from unetkit.data.patches import Batch
from unetkit.errors import DataError, PreemptedError, UsageError
from unetkit.learning.penalty import (
    Pull,
    accumulated,
    fisher,
    normalised,
    read_importance,
    save_importance,
)
from unetkit.records.plan import ObjectivePlan, WrapperTerm
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.loop import fit
from unetkit.training.objective import Past, build_objective


def past_of(network: nn.Module, **parts) -> Past:
    return Past(network.requires_grad_(False).eval(), **parts)


def ones(network: nn.Module) -> dict[str, torch.Tensor]:
    return {name: torch.ones_like(weight) for name, weight in network.named_parameters()}


def wrapped(past: Past, *terms: WrapperTerm):
    return build_objective(ObjectivePlan(wrappers=terms), Layout(), past)


def ewc(strength: float) -> WrapperTerm:
    return WrapperTerm(name="ewc", options={"strength": strength})


def trained(small, folder, *terms: WrapperTerm, past: Past | None = None, batches=None, resume=False):
    objective = None if past is None else wrapped(past, *terms)
    task = small.small_task(small.training_plan(ema_decay=0.9), objective=objective, batches=batches)
    fit(task, Run(folder), resume=resume)
    return task.network


def images(count: int, known: bool) -> Batch:
    generator = torch.Generator().manual_seed(4)
    pixels = torch.randn(count, 1, 8, 8, generator=generator)
    mask = torch.rand(count, 8, 8, generator=generator) > 0.3 if known else None
    target = (pixels[:, 0] > 0.2).long()
    return Batch(pixels, target, mask, tuple(map(str, range(count))))


@pytest.mark.parametrize("known", [False, True])
def test_fisher_is_the_mean_of_squared_per_sample_gradients(small, known):
    network, batch = small.small_network().eval(), images(5, known)
    weights = {name: weight.detach() for name, weight in network.named_parameters()}
    mask = torch.ones(5, 8, 8, dtype=torch.bool) if batch.known is None else batch.known

    def surprise(weights, pixels, target, mask):
        logits = torch.func.functional_call(network, weights, (pixels[None],))
        return (F.cross_entropy(logits, target[None], reduction="none")[0] * mask).sum() / mask.sum()

    each = torch.func.vmap(torch.func.grad(surprise), in_dims=(None, 0, 0, 0))(
        weights, batch.pixels, batch.target, mask
    )
    found = fisher(network, [batch], Layout())
    assert found.keys() == weights.keys()
    for name, gradients in each.items():
        torch.testing.assert_close(found[name], (gradients**2).mean(0), rtol=1e-4, atol=1e-9)
    # it does not depend on how images are put into batches, as the square of a batch's mean would
    singles = [
        Batch(
            batch.pixels[n : n + 1], batch.target[n : n + 1], None if not known else mask[n : n + 1], ("a",)
        )
        for n in range(5)
    ]
    for name, tensor in fisher(network, singles, Layout()).items():
        torch.testing.assert_close(tensor, found[name])
        assert not torch.allclose(each[name].mean(0) ** 2, found[name], rtol=0.05)


def test_fisher_leaves_the_network_as_it_was(small):
    network = small.small_network()
    before = small.weights_of(network)
    fisher(network, [images(2, False)], Layout())
    assert small.differing(before, small.weights_of(network)) == []
    assert all(weight.grad is None for weight in network.parameters())
    with pytest.raises(DataError, match=r"no labelled image says which weights matter.*--memory"):
        fisher(network, [], Layout())


def test_the_penalty_by_hand(small):
    network, old = small.small_network(), small.small_network()
    importance = {name: torch.rand_like(weight) for name, weight in network.named_parameters()}
    objective = wrapped(past_of(old, importance=importance), ewc(30.0))
    with torch.no_grad():
        for weight in network.parameters():
            weight.add_(0.1 * torch.randn_like(weight))
    terms = objective.terms(network, images(2, False))
    mean = np.concatenate([tensor.numpy().ravel() for tensor in importance.values()]).mean()
    anchors = dict(old.named_parameters())
    by_hand = sum(
        float((importance[name].numpy() / mean * (weight.detach() - anchors[name]).numpy() ** 2).sum())
        for name, weight in network.named_parameters()
    )
    assert float(terms["ewc"]) == pytest.approx(30.0 / 2 * by_hand, rel=1e-5)
    assert set(terms) == {"dice", "cross_entropy", "ewc"}


@pytest.mark.parametrize("strength", [0.5, 20.0, 3000.0])
def test_the_pull_minimises_the_penalty_and_the_way_back(strength):
    """As scipy finds the minimum of ``strength / 2 · F (x − anchor)² + (x − stepped)² / (2 · rate)``."""
    anchor, stepped, rate, share = 0.7, -0.4, 0.01, 2.5

    class One(nn.Module):
        def __init__(self, value):
            super().__init__()
            self.x = nn.Parameter(torch.tensor([value]))

    class Nothing:
        def terms(self, network, batch):
            return {}

        def after_step(self, rate):
            self.rate = rate

    network, inner = One(stepped), Nothing()
    pull = Pull(
        inner, {"x": torch.tensor([anchor])}, {"x": torch.tensor([share])}, strength=strength, name="p"
    )
    pull.terms(network, images(1, False))
    pull.after_step(rate)
    best = minimize_scalar(
        lambda x: strength / 2 * share * (x - anchor) ** 2 + (x - stepped) ** 2 / (2 * rate), tol=1e-12
    )
    assert network.x.item() == pytest.approx(best.x, abs=1e-5)
    assert inner.rate == rate


def test_strength_0_is_fine_tuning_bit_for_bit(small, tmp_path):
    plain = trained(small, tmp_path / "plain")
    past = past_of(small.small_network(), importance=ones(small.small_network()))
    for name in ("ewc", "l2sp"):
        term = WrapperTerm(name=name, options={"strength": 0.0})
        held = trained(small, tmp_path / name, term, past=past)
        assert small.differing(small.weights_of(plain), small.weights_of(held)) == []


def test_an_endless_strength_moves_no_weight(small, tmp_path):
    start = dict(small.small_network().named_parameters())
    past = past_of(small.small_network(), importance=ones(small.small_network()))
    for name in ("ewc", "l2sp"):
        term = WrapperTerm(name=name, options={"strength": 1e30})
        held = trained(small, tmp_path / name, term, past=past)
        assert all(torch.equal(weight, start[key]) for key, weight in held.named_parameters())


def test_between_the_limits_more_strength_is_less_way(small, tmp_path):
    """Left to the optimiser this is not so: Adam answers a hundredfold penalty with the same step."""
    start = dict(small.small_network().named_parameters())
    past = past_of(small.small_network(), importance=ones(small.small_network()))

    def way(strength):
        held = trained(small, tmp_path / f"{strength:g}", ewc(strength), past=past)
        return sum(((weight - start[name]) ** 2).sum().item() for name, weight in held.named_parameters())

    ways = [way(strength) for strength in (0.0, 1.0, 30.0, 1000.0, 1e5)]
    assert ways == sorted(ways, reverse=True)
    assert ways[-1] < 1e-3 * ways[0]


def test_a_weight_that_does_not_matter_is_free(small, tmp_path):
    importance = {
        name: torch.ones_like(weight) * float(not name.startswith("4."))
        for name, weight in small.small_network().named_parameters()
    }
    start = dict(small.small_network().named_parameters())
    past = past_of(small.small_network(), importance=importance)
    held = trained(small, tmp_path / "r", ewc(1e30), past=past)
    moved = {name for name, weight in held.named_parameters() if not torch.equal(weight, start[name])}
    assert moved == {"4.weight", "4.bias"}


def test_everything_at_once_is_resumed_bit_for_bit(small, tmp_path, old_batches, stop_at):
    past = past_of(small.small_network(), importance=ones(small.small_network()), memory=old_batches)
    terms = (WrapperTerm(name="replay"), WrapperTerm(name="lwf"), ewc(10.0))
    whole = trained(small, tmp_path / "whole", *terms, past=past)
    batches = small.SmallBatches(before=stop_at(7))
    with pytest.raises(PreemptedError):
        trained(small, tmp_path / "cut", *terms, past=past, batches=batches)
    cut = trained(small, tmp_path / "cut", *terms, past=past, resume=True)
    assert small.differing(small.weights_of(whole), small.weights_of(cut)) == []
    plain = trained(small, tmp_path / "plain")
    assert small.differing(small.weights_of(whole), small.weights_of(plain))


def test_importance_adds_up_over_tasks():
    first, second = {"a": torch.tensor([4.0, 0.0])}, {"a": torch.tensor([1.0, 3.0]), "b": torch.tensor([8.0])}
    once = accumulated({}, first)
    assert once["a"].tolist() == [2.0, 0.0]
    twice = accumulated(once, second)
    assert twice["a"].tolist() == pytest.approx([0.95 * 2.0 + 0.25, 0.75])
    assert twice["b"].tolist() == [2.0]
    with pytest.raises(DataError, match="no weight matters to the labels"):
        normalised({"a": torch.zeros(3)})


def test_importance_is_a_file_of_plain_numbers(tmp_path):
    path = tmp_path / "importance.safetensors"
    save_importance(path, {"a.b": torch.tensor([[0.5, 2.0]])})
    assert read_importance(path)["a.b"].tolist() == [[0.5, 2.0]]
    save_importance(path, {"a": torch.tensor([-1.0])})
    with pytest.raises(DataError, match=r"'a' is no importance: expected numbers of 0 or more"):
        read_importance(path)


def test_what_is_missing_is_said(small):
    network = small.small_network()
    with pytest.raises(UsageError, match=r"'l2sp' keeps a model near an earlier one.*unet update"):
        wrapped(Past(), WrapperTerm(name="l2sp"))
    with pytest.raises(UsageError, match=r"'ewc' must know which weights matter.*--method lwf"):
        wrapped(past_of(network), WrapperTerm(name="ewc"))
    with pytest.raises(UsageError, match=r"'l2sp' has no option 'strenght'. Do this: use 'strength'"):
        wrapped(past_of(network), WrapperTerm(name="l2sp", options={"strenght": 1.0}))
    with pytest.raises(UsageError, match=r"expected 'strength' .* a number of 0 or more, got -1"):
        wrapped(past_of(network), WrapperTerm(name="l2sp", options={"strength": -1.0}))
    with pytest.raises(UsageError, match=r"there is no wrapper 'ewk'.*use 'ewc'"):
        wrapped(past_of(network), WrapperTerm(name="ewk"))
    strange = wrapped(past_of(nn.Linear(2, 2)), WrapperTerm(name="l2sp"))
    with pytest.raises(DataError, match="none of this network is in it"):
        strange.terms(network, images(1, False))
