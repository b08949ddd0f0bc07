import json
import time

import pytest
import torch

from unetkit.errors import ResourceError
from unetkit.records.case import Case
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime
from unetkit.workflows import fitting
from unetkit.workflows.fitting import FITTING_SHARE, _deadline, _layout, spread
from unetkit.workflows.train import train


def test_cases_are_spread_evenly():
    cases = tuple(Case(id=str(n), images=(), label=None, group="g") for n in range(10))
    assert [case.id for case in spread(cases, 4)] == ["0", "3", "6", "9"]
    assert spread(cases, 20) == cases
    assert spread(cases, 0) == ()


def test_the_budget_counts_from_the_start_of_the_command(tmp_path):
    plan, run, now = Plan.model_validate(EXAMPLE), Run(tmp_path), time.monotonic()
    assert _deadline(plan, run, now, resume=False, progress=Quiet()) is None
    timed = plan.with_values({"training.minutes": "2"})
    kept = timed.with_values({"inference.fit_cases": "0"})
    assert _deadline(kept, run, now, resume=False, progress=Quiet()) == now + 120
    assert _deadline(kept, run, 100.0, resume=True, progress=Quiet()) == 220.0  # nothing was spent yet
    assert _deadline(timed, run, now, resume=False, progress=Quiet()) == now + 120 * (1 - FITTING_SHARE)


def test_a_slow_start_still_leaves_a_quarter_of_the_budget_and_says_so(tmp_path):
    said: list[str] = []

    class Told(Quiet):
        def say(self, text):
            said.append(text)

    timed = Plan.model_validate(EXAMPLE).with_values({"training.minutes": "2"})
    now = time.monotonic()
    deadline = _deadline(timed, Run(tmp_path), now - 119, resume=False, progress=Told())
    assert deadline is not None
    assert 30 <= deadline - now < 40
    assert "25 % of the 2 minutes are trained all the same" in said[0]


def test_the_layout_is_noted_and_validation_is_by_the_predictor(finished):
    events = [json.loads(line) for line in (finished / "journal.jsonl").read_text().splitlines()]
    kinds = [event["event"] for event in events]
    assert kinds[0] == "layout"
    assert kinds[-1] == "finished"
    judged = [event for event in events if event["event"] == "validation"]
    assert judged
    assert all(0 <= event["dice"] <= 1 for event in judged)


@pytest.mark.parametrize(
    "wrong",
    [
        MemoryError(),
        torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB"),
        RuntimeError("DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes"),
    ],
)
def test_memory_that_runs_out_is_no_bug(wafers, tiny, tmp_path, monkeypatch, wrong):
    def fail(*_, **__):
        raise wrong

    monkeypatch.setattr(fitting, "fit", fail)
    with pytest.raises(ResourceError, match=r"memory ran out.*batch_size=1.*smaller --memory") as caught:
        train(wafers, tmp_path / "r", changes=tiny)
    assert caught.value.exit_code == 5
    assert caught.value.__cause__ is wrong


def test_other_errors_of_the_loop_stay_what_they_are(wafers, tiny, tmp_path, monkeypatch):
    def fail(*_, **__):
        raise RuntimeError("shapes differ")

    monkeypatch.setattr(fitting, "fit", fail)
    with pytest.raises(RuntimeError, match="shapes differ"):
        train(wafers, tmp_path / "r", changes=tiny)


def test_a_layout_that_is_asked_for_on_resume_is_used(tmp_path):
    run, network = Run(tmp_path), torch.nn.Identity()
    run.note("layout", device="cpu", precision="bfloat16", memory_format="channels_last")
    here, plan = torch.device("cpu"), Plan.model_validate(EXAMPLE)
    assert _layout(network, plan, run, here, resume=True).precision == "bfloat16"
    exact = plan.with_values({"training.precision": "float32", "training.memory_format": "contiguous"})
    assert _layout(network, exact, run, here, resume=True) == Layout("float32", "contiguous")


def test_a_budget_that_has_room_for_validations_looks_at_held_out_images(wafers, tiny, tmp_path, monkeypatch):
    looks = []

    def fit(task, run, **_):
        looks.append(task.validate)
        raise KeyboardInterrupt

    monkeypatch.setattr(fitting, "fit", fit)
    changes = {**tiny, "training.steps": "0", "training.minutes": "600", "inference.fit_cases": "0"}
    with pytest.raises(KeyboardInterrupt):
        train(wafers, tmp_path / "run", changes=changes)
    assert looks != [None]


def test_a_budget_that_has_no_room_for_validations_is_spent_on_learning(wafers, tiny, tmp_path, monkeypatch):
    said: list[str] = []

    class Told(Quiet):
        def say(self, text):
            said.append(text)

    class Slow(PytorchRuntime):
        def run(self, batch):
            time.sleep(0.05)
            return super().run(batch)

    monkeypatch.setattr(fitting, "PytorchRuntime", Slow)
    changes = {**tiny, "training.steps": "0", "training.minutes": "0.01", "inference.fit_cases": "0"}
    run = train(wafers, tmp_path / "run", changes=changes, progress=Told())
    events = [json.loads(line) for line in (run.folder / "journal.jsonl").read_text().splitlines()]
    assert not [event for event in events if event["event"] == "validation"]
    assert len([text for text in said if "predicting one held-out image takes about" in text]) == 1
    assert run.scores is not None
