"""What a training looks back on is read from its run, and must be what it was."""

from __future__ import annotations

import dataclasses
import json
import shutil
from types import SimpleNamespace

import pytest
import torch

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect
from unetkit.data.prepare import Cache
from unetkit.errors import DataError
from unetkit.learning.exemplars import Candidate, keep
from unetkit.learning.penalty import save_importance
from unetkit.networks.store import read_plan
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import Past
from unetkit.workflows.growing import grown
from unetkit.workflows.recalling import recall_past
from unetkit.workflows.starting import asked_start
from unetkit.workflows.update import planned

HERE = torch.device("cpu")


@pytest.fixture
def ready(finished, wafers, tmp_path):
    """A run that started from a copy of a model and kept three cases, one of them new."""
    model = shutil.copytree(finished / "model", tmp_path / "model")
    plan = planned(read_plan(model), "replay")
    run = Run(tmp_path / "run")
    write_text(run.start, asked_start(model).to_json())
    cases = inspect(find_cases(wafers)).catalog.cases[:3]
    kept = [Candidate(case, domain, frozenset({1}), 1) for case, domain in zip(cases, "aab", strict=True)]
    keep(run.memory, kept, plan.data, budget_bytes=9, seed=0, how="random", newest="b")
    return SimpleNamespace(run=run, plan=plan, cache=Cache(tmp_path / "cache", plan.data, plan.preparation))


def test_model_memory_and_importance_come_from_the_run(ready):
    save_importance(ready.run.importance, {"a": torch.ones(2)})
    past = recall_past(ready, HERE, Layout())
    assert not past.network.training
    assert not any(weight.requires_grad for weight in past.network.parameters())
    assert past.importance["a"].tolist() == [1.0, 1.0]
    cases = {case for step in range(20) for case in past.memory.at(step).cases}
    assert len(cases) == 2
    assert all(case.startswith("a-") for case in cases)  # the newest domain is in the batches already


def test_which_classes_a_case_names_is_known_where_the_plan_asks(ready, finished, wafers):
    """A name that stands for a case of both names what both name."""
    cases = inspect(find_cases(wafers)).catalog.cases
    ready.trained_on = (cases[5], dataclasses.replace(cases[6], id=f"a-{cases[0].id}"))
    assert recall_past(ready, HERE, Layout()).named[f"a-{cases[0].id}"] == frozenset({1, 2, 3})
    seen = Fingerprint.from_json((finished / "fingerprint.json").read_bytes(), where="f")
    some = seen.model_copy(update={"classes": (seen.classes[0], seen.classes[2])})
    ready.run.fingerprint.write_text(some.to_json())
    ready.plan = grown(ready.plan, ready.plan.data, "replay")
    named = recall_past(ready, HERE, Layout()).named
    assert named == {
        cases[5].id: frozenset({2}),
        f"a-{cases[0].id}": frozenset({2}),
        f"a-{cases[1].id}": frozenset({1, 2, 3}),
    }


def test_a_plan_without_wrappers_looks_back_on_nothing(ready):
    ready.plan = planned(ready.plan, "finetune")
    assert recall_past(ready, HERE, Layout()) == Past()


def test_another_model_in_its_place_is_refused(ready, tmp_path):
    seal = tmp_path / "model" / "model.json"
    seal.write_text(json.dumps({**json.loads(seal.read_text()), "weights_sha256": "0" * 64}))
    with pytest.raises(DataError, match="they have changed since"):
        recall_past(ready, HERE, Layout())
