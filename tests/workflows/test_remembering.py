"""What is kept of the data a model learned from, and which weights matter."""

from __future__ import annotations

import json
import shutil
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from PIL import Image

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect
from unetkit.data.prepare import Cache
from unetkit.errors import DataError, UsageError
from unetkit.learning.exemplars import MEMORY, MemoryFile
from unetkit.networks.store import load_model, read_plan
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.workflows.remembering import importance, named_by, of_training, old_cases, remember, weigh
from unetkit.workflows.update import planned


@pytest.fixture
def ready(finished, wafers, tmp_path):
    """What a training of two steps would have, as far as this room looks at it."""
    plan = planned(read_plan(finished / "model"), "replay")
    cache = Cache(tmp_path / "cache", plan.data, plan.preparation)
    cases = inspect(find_cases(wafers)).catalog.cases[:4]
    samples = tuple(cache.get(case) for case in cases)
    shutil.copy(finished / "fingerprint.json", Run(tmp_path).fingerprint)
    return SimpleNamespace(run=Run(tmp_path), plan=plan, cache=cache, trained_on=cases, train=samples)


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
    found = of_training(ready, domain="x")
    for each in found:
        assert each.classes == old[each.case.id]
    every = frozenset(range(1, len(plan.data.classes)))
    assert {each.named for each in found} == {every} == {named_by(ready)}
    seen = Fingerprint.from_json(ready.run.fingerprint.read_bytes(), where="f")
    fewer = seen.model_copy(update={"classes": seen.classes[:2]})
    ready.run.fingerprint.write_text(fewer.to_json())
    assert named_by(ready) == frozenset({1})


def test_a_data_set_names_the_classes_it_states(finished, wafers, tmp_path):
    """Of a data set that states two classes fewer, the others may hide in the background."""
    data = read_plan(finished / "model").data
    kept = dict(zip(data.classes[:2], data.label_values[:2], strict=True))
    folder = shutil.copytree(wafers, tmp_path / "one")
    (folder / "dataset.json").write_text(json.dumps({"labels": kept}))
    for path in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == data.label_values[1], mask, 0).astype(np.uint8)).save(path)
    assert {each.named for each in old_cases(folder, data, progress=Quiet())} == {frozenset({1})}
    (folder / "dataset.json").unlink()  # without a name, the value says which class it is
    assert {each.named for each in old_cases(folder, data, progress=Quiet())} == {frozenset({1})}
    every = frozenset(range(1, len(data.classes)))
    assert {each.named for each in old_cases(wafers, data, progress=Quiet())} == {every}


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
    with pytest.raises(DataError, match=r"no old case fits a memory of 1e-06 MB, .*wrappers=\[.*") as refused:
        remember(with_options(ready, budget_mb=1e-6), finished / "model", old, (), progress=Quiet())
    word = refused.value.cure.partition("objective.wrappers=")[2].removesuffix("'")
    again = with_options(ready, **json.loads(word)[0]["options"])
    remember(again, finished / "model", old, (), progress=Quiet())


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
