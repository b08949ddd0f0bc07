"""How often memory is shown, where, and that nothing else of a batch changes."""

from __future__ import annotations

from collections import Counter

import numpy as np
import pytest
import torch
from torch import nn

from unetkit.data.patches import Batch, Batches
from unetkit.errors import UsageError
from unetkit.learning.replay import exchanged, exchanged_places
from unetkit.records.augmentation import AugmentationPlan
from unetkit.records.case import Grid, Sample
from unetkit.records.plan import ObjectivePlan, WrapperTerm
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.loop import fit
from unetkit.training.objective import Past, build_objective


@pytest.mark.parametrize(("size", "share"), [(1, 0.5), (2, 0.5), (4, 0.3), (7, 0.9), (3, 1.0), (5, 0.0)])
def test_memory_has_its_share_at_every_place(size, share):
    steps = 2000
    counts = Counter(place for step in range(steps) for place in exchanged_places(step, size, share))
    assert counts.total() == round(steps * size * share)
    for place in range(size):  # four standard deviations of a fair draw
        assert counts[place] / steps == pytest.approx(
            share, abs=4 * (share * (1 - share) / steps) ** 0.5 + 1e-9
        )
    sizes = {len(exchanged_places(step, size, share)) for step in range(50)}
    assert max(sizes) - min(sizes) <= 1


def two(offset: float, known: bool, *, soft: bool = False) -> Batch:
    pixels = torch.arange(3 * 16.0).reshape(3, 1, 4, 4) + offset
    target = torch.full((3, 4, 4), int(offset), dtype=torch.long)
    if soft:
        target = torch.full((3, 2, 4, 4), offset)
    mask = torch.zeros(3, 4, 4, dtype=torch.bool) if known else None
    return Batch(pixels, target, mask, tuple(f"{offset:g}-{n}" for n in range(3)))


@pytest.mark.parametrize("soft", [False, True])
@pytest.mark.parametrize(("new_known", "old_known"), [(False, False), (True, False), (False, True)])
def test_only_the_places_are_exchanged(soft, new_known, old_known):
    new, old = two(0.0, new_known, soft=soft), two(1.0, old_known, soft=soft)
    mixed = exchanged(new, old, (0, 2))
    for place, origin in enumerate((old, new, old)):
        assert torch.equal(mixed.pixels[place], origin.pixels[place])
        assert torch.equal(mixed.target[place], origin.target[place])
        assert mixed.cases[place] == origin.cases[place]
        if new_known or old_known:
            expected = torch.ones(4, 4, dtype=torch.bool) if origin.known is None else origin.known[place]
            assert torch.equal(mixed.known[place], expected)
    assert (mixed.known is None) == (not new_known and not old_known)


def test_the_memory_is_asked_for_the_step_and_remembers_it(small, old_batches):
    plan = ObjectivePlan(wrappers=(WrapperTerm(name="replay"),))
    objective = build_objective(plan, Layout(), Past(memory=old_batches))
    network, stream = small.small_network(), small.SmallBatches().stream(0, 9)
    for _ in range(3):
        objective.terms(network, next(stream))
        objective.after_step(0.1)
    assert old_batches.asked == [0, 1, 2]
    again = build_objective(plan, Layout(), Past(memory=old_batches))
    again.load(objective.state())
    again.terms(network, next(stream))
    assert old_batches.asked[-1] == 3


def test_share_0_is_fine_tuning(small, old_batches):
    batch, network = next(small.SmallBatches().stream(0, 1)), small.small_network().eval()
    term = WrapperTerm(name="replay", options={"share": 0.0})
    objective = build_objective(ObjectivePlan(wrappers=(term,)), Layout(), Past(memory=old_batches))
    plain = build_objective(ObjectivePlan(), Layout()).terms(network, batch)
    found = objective.terms(network, batch)
    assert found.keys() == plain.keys()
    assert all(torch.equal(found[name], plain[name]) for name in plain)
    assert old_batches.asked == []


def test_old_cases_are_drawn_alike(small):
    """The memory's own batches: every kept case as often as the others."""
    random = np.random.default_rng(0)
    samples = [
        Sample(f"{domain}-{n}", random.normal(size=(1, 8, 8)).astype(np.float32), Grid.plain(2))
        for domain in ("a", "b")
        for n in range(3)
    ]
    training = small.training_plan(patch_size=(8, 8), batch_size=2)
    off = dict.fromkeys(("rotation", "scaling", "noise", "blur", "brightness", "contrast", "gamma"), 0.0)
    still = AugmentationPlan(low_resolution=0.0, **off)
    batches = Batches(samples, training, still, classes=2, device=torch.device("cpu"))
    counts = Counter(case for step in range(300) for case in batches.at(step).cases)
    assert len(counts) == 6
    assert all(abs(count - 100) < 4 * (600 * 5 / 36) ** 0.5 for count in counts.values())


def test_what_is_missing_is_said(old_batches):
    with pytest.raises(
        UsageError, match=r"'replay' shows old examples again, and there is no memory.*--memory"
    ):
        build_objective(ObjectivePlan(wrappers=(WrapperTerm(name="replay"),)), Layout())
    term = WrapperTerm(name="replay", options={"share": 1.5})
    with pytest.raises(UsageError, match=r"between 0 and 1, got 1.5"):
        build_objective(ObjectivePlan(wrappers=(term,)), Layout(), Past(memory=old_batches))


def test_what_fine_tuning_forgets_is_kept(small, tmp_path):
    """Old pictures have bright objects; in the new ones, shifted far away, objects are dark.

    Both at once take filters of either sign: the six of the small network, of which dropout takes whole ones
    away, were measured to hold the old pictures and 0.73 of the new ones, sixteen without dropout hold both.
    """

    def wide():
        torch.manual_seed(0)
        return nn.Sequential(nn.Conv2d(1, 16, 1), nn.BatchNorm2d(16), nn.ReLU(), nn.Conv2d(16, 2, 1))

    class Old:
        def at(self, step):
            return next(small.SmallBatches().stream(5000 + step, None))

    def accuracy(network, change):
        pixels = torch.randn(20, 1, 8, 8, generator=torch.Generator().manual_seed(1))
        with torch.no_grad():
            labels = network(change(0, pixels)).argmax(1)
        return ((pixels[:, 0] > 0.3).long() == labels).float().mean().item()

    def same(step, pixels):
        return pixels

    def inverted(step, pixels):
        return 4 - pixels

    training = small.training_plan(steps=250, checkpoint_steps=0, learning_rate=0.02)
    start = wide()
    fit(small.small_task(training, network=start), Run(tmp_path / "start"))
    found = {}
    for name, terms in (("finetune", ()), ("replay", (WrapperTerm(name="replay"),))):
        objective = build_objective(ObjectivePlan(wrappers=terms), Layout(), Past(memory=Old()))
        network = wide()
        network.load_state_dict(start.state_dict())
        batches = small.SmallBatches(change=inverted)
        fit(
            small.small_task(training, network=network, objective=objective, batches=batches),
            Run(tmp_path / name),
        )
        found[name] = accuracy(network, same), accuracy(network, inverted)
    background = 0.62  # what saying nothing gets
    assert min(accuracy(start, same), found["finetune"][1]) > 0.95
    assert max(accuracy(start, inverted), found["finetune"][0]) < background
    assert min(found["replay"]) > 0.93
