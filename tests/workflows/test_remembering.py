"""Which data a model can go on with, what is kept of it, and which weights matter."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect
from unetkit.data.prepare import Cache
from unetkit.errors import DataError, UsageError
from unetkit.learning.exemplars import MEMORY, MemoryFile
from unetkit.networks.store import load_model, read_plan
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.workflows.remembering import importance, of_training, old_cases, refuse_other, remember, weigh
from unetkit.workflows.update import planned

MODEL = DataPlan(rank=2, channels=("red", "green"), classes=("background", "scratch"), label_values=(0, 255))


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"channels": ("red",)}, r"the model takes 2 channels \(red, green\), this data has 1 \(red\)"),
        ({"channels": ("green", "red")}, "the model takes 2 channels"),
        (
            {"label_values": (0, 1)},
            r"the model knows the label values 0, 255, this data also has 1 \('scratch'\)",
        ),
        (
            {"classes": ("background", "dent")},
            "label value 255 is 'scratch' to the model and 'dent' in this data",
        ),
        ({"ignore_value": 7}, "this data ignores the label value 7, the model None"),
    ],
)
def test_data_of_another_kind_is_refused(change, told, tmp_path):
    with pytest.raises(DataError, match=told) as wrong:
        refuse_other(MODEL, MODEL.model_copy(update=change), where=tmp_path)
    assert wrong.value.where == str(tmp_path)
    assert wrong.value.cure


def test_data_with_fewer_classes_or_other_names_of_channels_will_do(tmp_path):
    refuse_other(MODEL, MODEL, where=tmp_path)
    bare = MODEL.model_copy(update={"classes": ("background",), "label_values": (0,)})
    refuse_other(MODEL, bare, where=tmp_path)
    refuse_other(MODEL, MODEL.model_copy(update={"channels": ("channel 0", "channel 1")}), where=tmp_path)


@pytest.fixture
def ready(finished, wafers, tmp_path):
    """What a training of two steps would have, as far as this room looks at it."""
    plan = planned(read_plan(finished / "model"), "replay")
    cache = Cache(tmp_path / "cache", plan.data, plan.preparation)
    cases = inspect(find_cases(wafers)).catalog.cases[:4]
    samples = tuple(cache.get(case) for case in cases)
    return SimpleNamespace(run=Run(tmp_path / "run"), plan=plan, cache=cache, trained_on=cases, train=samples)


def with_options(ready, **options):
    term = ready.plan.objective.wrappers[0].model_copy(update={"options": options})
    objective = ready.plan.objective.model_copy(update={"wrappers": (term,)})
    ready.plan = ready.plan.model_copy(update={"objective": objective})
    return ready


def test_old_cases_know_their_classes(finished, wafers):
    plan = read_plan(finished / "model")
    found = old_cases(wafers, plan.data, progress=Quiet())
    facts = {facts.id: facts for facts in inspect(find_cases(wafers)).facts}
    for each in found:
        values = {value for value, count in facts[each.case.id].label_counts.items() if count and value}
        assert {plan.data.label_values[number] for number in each.classes} == values
    assert {each.domain for each in found} == {wafers.stem}


def test_a_sample_tells_the_same_classes_as_its_file(ready, wafers, finished):
    plan = read_plan(finished / "model")
    old = {each.case.id: each.classes for each in old_cases(wafers, plan.data, progress=Quiet())}
    for each in of_training(ready, domain="x"):
        assert each.classes == old[each.case.id]


@pytest.mark.parametrize("herding", [0.0, 1.0])
def test_both_kinds_are_kept_within_the_budget(ready, finished, wafers, herding):
    new = of_training(ready, domain="new")
    old = old_cases(wafers, ready.plan.data, progress=Quiet())[4:]
    budget = sum(each.size for each in old[:4]) / 1e6
    remember(
        with_options(ready, budget_mb=budget, herding=herding), finished / "model", old, new, progress=Quiet()
    )
    record = MemoryFile.from_json((ready.run.memory / MEMORY).read_bytes(), where="m")
    files = [path for path in (ready.run.memory / "files").rglob("*") if path.is_file()]
    assert sum(path.stat().st_size for path in files) <= budget * 1e6
    domains = [each.domain for each in record.cases]
    assert abs(domains.count("new") - domains.count(wafers.stem)) <= 2
    assert record.how == ("herding" if herding else "random")
    assert [each.domain for each in old_cases(ready.run.memory, ready.plan.data, progress=Quiet())] == domains


def test_a_budget_too_small_for_any_old_case_is_refused(ready, finished, wafers):
    old = old_cases(wafers, ready.plan.data, progress=Quiet())
    with pytest.raises(DataError, match=r"no old case fits a memory of 1e-06 MB, .* larger budget_mb"):
        remember(with_options(ready, budget_mb=1e-6), finished / "model", old, (), progress=Quiet())


def test_importance_is_of_every_weight_and_comes_from_the_model_first(ready, finished, wafers, tmp_path):
    network, _ = load_model(finished / "model")
    found = importance(ready, network, ready.trained_on)
    assert found.keys() == dict(network.named_parameters()).keys()
    again = importance(ready, network, ready.trained_on)
    assert all(torch.equal(found[name], again[name]) for name in found)
    assert np.mean([float(tensor.max()) > 0 for tensor in found.values()]) > 0.5
    with pytest.raises(UsageError, match=r"this model does not say.*--memory"):
        weigh(ready, finished / "model", (), device="cpu", progress=Quiet())
    old = old_cases(wafers, ready.plan.data, progress=Quiet())
    weigh(ready, finished / "model", old, device="cpu", progress=Quiet())
    assert ready.run.importance.is_file()
