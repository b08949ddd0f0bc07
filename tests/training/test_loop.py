"""The loop as a whole: resumed equals uninterrupted, and nothing spoils what was saved."""

from __future__ import annotations

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from unetkit.errors import (
    DataError,
    InterruptedRunError,
    PreemptedError,
    ResourceError,
    UnetkitError,
    UsageError,
)
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.checkpoint import Checkpoints, read, seconds_spent
from unetkit.training.loop import fit, seed_network

SECOND_RUNS = [
    {"optimizer": "adamw", "ema_decay": 0.9},
    {"optimizer": "sgd", "ema_decay": 0.0},
    {"optimizer": "sgd", "ema_decay": 0.9, "learning_rate": 0.001},
]


def stop_at(step: int, number: signal.Signals = signal.SIGTERM):
    """Something for ``SmallBatches(before=…)`` that asks the run to stop."""
    return lambda now: signal.raise_signal(number) if now == step else None


def train(small, folder: Path, *, resume: bool = False, batches=None, deadline=None, **values):
    task = small.small_task(small.training_plan(**values), batches=batches, validate=dice_of_the_network)
    outcome = fit(task, Run(folder), resume=resume, deadline=deadline)
    return outcome, small.weights_of(task.network)


def dice_of_the_network(network) -> dict[str, float]:
    """A made-up score that depends on the weights."""
    with torch.inference_mode():
        return {"dice": float(network(torch.ones(1, 1, 8, 8)).sigmoid().mean())}


@pytest.mark.parametrize("values", SECOND_RUNS)
@pytest.mark.parametrize("memory_format", ["contiguous", "channels_last"])
def test_interrupted_and_resumed_equals_uninterrupted_bit_for_bit(small, tmp_path, values, memory_format):
    def once(folder, *, resume=False, batches=None):
        training = small.training_plan(**values)
        task = small.small_task(training, batches=batches, layout=Layout("float32", memory_format))
        fit(task, Run(folder), resume=resume)
        return small.weights_of(task.network)

    whole = once(tmp_path / "whole")
    for step in (0, 4, 8):
        with pytest.raises(PreemptedError):
            once(tmp_path / "cut", resume=step > 0, batches=small.SmallBatches(stop_at(step)))
    resumed = small.SmallBatches()
    assert small.differing(whole, once(tmp_path / "cut", resume=True, batches=resumed)) == []
    assert resumed.handed == [9, 10, 11]


class Remembers:
    """An objective with a state that every later loss depends on, as a teacher's weights are."""

    def __init__(self, inner, *, forgetful=False):
        self._inner, self._forgetful = inner, forgetful
        self.pace: torch.Tensor | None = None

    def terms(self, network, batch):
        if self.pace is None:  # as a teacher is made: at the first step
            self.pace = torch.ones(2)
        terms = self._inner.terms(network, batch)
        total = torch.stack(list(terms.values())).sum()
        self.pace = 0.9 * self.pace + 0.1 * total.detach()
        return {name: term * self.pace[0] for name, term in terms.items()}

    def after_step(self, rate):
        self.pace = self.pace * 1.01

    def state(self):
        return {} if self.pace is None or self._forgetful else {"pace": self.pace}

    def load(self, tensors):
        self.pace = tensors.get("pace")


@pytest.mark.parametrize("forgetful", [False, True])
def test_what_an_objective_remembers_is_resumed(small, tmp_path, forgetful):
    def once(folder, *, resume=False, batches=None):
        task = small.small_task(batches=batches)
        task = replace(task, objective=Remembers(task.objective, forgetful=forgetful))
        fit(task, Run(folder), resume=resume)
        return small.weights_of(task.network)

    whole = once(tmp_path / "whole")
    for step in (2, 7):  # before the first resume point with a state, and after it
        with pytest.raises(PreemptedError):
            once(tmp_path / "cut", resume=step > 2, batches=small.SmallBatches(stop_at(step)))
    same = small.differing(whole, once(tmp_path / "cut", resume=True)) == []
    assert same is not forgetful  # the state matters: without it the resumed run is another one


def test_a_state_that_is_not_the_objectives_own_is_refused(small, tmp_path):
    task = small.small_task()
    fit(replace(task, objective=Remembers(task.objective)), Run(tmp_path))
    with pytest.raises(DataError, match=r"another objective's state \(pace\).*Do this: resume with the plan"):
        fit(small.small_task(), Run(tmp_path), resume=True)


def test_a_run_cut_off_between_resume_points_takes_its_steps_again(small, tmp_path):
    _, whole = train(small, tmp_path / "whole", validate_steps=5)

    def pull_the_plug(step):
        if step == 8:
            raise KeyError

    with pytest.raises(KeyError):
        train(small, tmp_path / "cut", batches=small.SmallBatches(pull_the_plug), validate_steps=5)
    resumed = small.SmallBatches()
    outcome, weights = train(small, tmp_path / "cut", resume=True, batches=resumed, validate_steps=5)
    assert resumed.handed == [6, 7, 8, 9, 10, 11]
    assert small.differing(whole, weights) == []
    assert outcome.step == 12


def test_dropout_and_averages_matter_to_the_tests_above(small, tmp_path):
    _, one = train(small, tmp_path / "a")
    _, two = train(small, tmp_path / "b", seed=4)
    _, three = train(small, tmp_path / "c", ema_decay=0.0)
    assert small.differing(one, two)
    assert small.differing(one, three)


def test_resuming_a_finished_run_changes_nothing(small, tmp_path):
    first, weights = train(small, tmp_path)
    batches = small.SmallBatches()
    again, same = train(small, tmp_path, resume=True, batches=batches)
    assert small.differing(weights, same) == []
    assert batches.handed == []
    assert (again.step, again.best, again.reason) == (first.step, first.best, "steps")


def test_resuming_a_run_that_never_saved_starts_it(small, tmp_path):
    _, whole = train(small, tmp_path / "whole")
    _, weights = train(small, tmp_path / "new", resume=True)
    assert small.differing(whole, weights) == []


def test_a_new_run_never_falls_back_to_an_older_ones_resume_points(small, tmp_path):
    train(small, tmp_path, steps=3)
    with pytest.raises(PreemptedError):
        train(small, tmp_path, batches=small.SmallBatches(stop_at(0)))
    assert read(tmp_path / "checkpoints", "last").numbers["step"] == 1
    assert read(tmp_path / "checkpoints", "best") is None


def test_more_steps_may_be_asked_for_on_resume(small, tmp_path):
    train(small, tmp_path, steps=6)
    outcome, _ = train(small, tmp_path, resume=True, steps=9)
    assert outcome.step == 9
    outcome, _ = train(small, tmp_path, resume=True, steps=4)
    assert outcome.step == 9


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork and SIGKILL")
def test_killed_at_random_moments_it_ends_with_the_same_bits(tmp_path):
    command = [sys.executable, str(Path(__file__).parent / "kill_loop.py"), str(tmp_path), "--kills", "6"]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    answer = subprocess.run(command, capture_output=True, text=True, env=environment, timeout=120)
    assert answer.returncode == 0, answer.stderr
    found = json.loads(answer.stdout)
    assert found["same"] is True
    assert (found["unreadable"], found["lost"]) == (0, 0)
    assert found["kills"] >= 4  # a machine that stalls may let a child finish before its turn


@pytest.mark.parametrize(
    ("number", "error", "code"),
    [(signal.SIGTERM, PreemptedError, 75), (signal.SIGINT, InterruptedRunError, 130)],
)
def test_a_signal_saves_and_says_how_to_go_on(small, run, number, error, code):
    before = {heard: signal.getsignal(heard) for heard in (signal.SIGTERM, signal.SIGINT)}
    batches = small.SmallBatches(stop_at(4, number))
    with pytest.raises(error, match=rf"asked to stop \({number.name}\).*at step 5.*--resume") as caught:
        train(small, run.folder, batches=batches)
    assert caught.value.exit_code == code
    assert read(run.checkpoints, "last").numbers["step"] == 5
    assert batches.closed
    assert {heard: signal.getsignal(heard) for heard in before} == before
    assert [row["signal"] for row in run.events("stopped")] == [number.name]


def test_a_second_signal_while_saving_is_harmless(small, run, monkeypatch):
    save = Checkpoints.save

    def impatient(points, state):
        if state.step == 5:
            signal.raise_signal(signal.SIGTERM)
            signal.raise_signal(signal.SIGINT)
        save(points, state)
        if state.step == 5:
            signal.raise_signal(signal.SIGINT)

    monkeypatch.setattr(Checkpoints, "save", impatient)
    with pytest.raises(PreemptedError, match="SIGTERM"):
        train(small, run.folder, batches=small.SmallBatches(stop_at(4)))
    assert read(run.checkpoints, "last").numbers["step"] == 5


def test_a_signal_during_validation_ends_it_at_the_next_forward_pass(small, run):
    forwards = []

    def slow_validation(network):
        for _ in range(100):
            network(torch.zeros(1, 1, 8, 8))
            forwards.append(1)
            signal.raise_signal(signal.SIGTERM)
        return {"dice": 1.0}

    task = small.small_task(small.training_plan(validate_steps=4), validate=slow_validation)
    with pytest.raises(PreemptedError, match="step 4"):
        fit(task, run)
    assert len(forwards) == 1
    assert read(run.checkpoints, "last").numbers["step"] == 4
    whole = small.small_task(small.training_plan(validate_steps=4), validate=dice_of_the_network)
    fit(whole, Run(run.folder.parent / "whole"))
    resumed = small.small_task(small.training_plan(validate_steps=4), validate=dice_of_the_network)
    fit(resumed, run, resume=True)
    assert small.differing(small.weights_of(whole.network), small.weights_of(resumed.network)) == []


def test_a_loop_in_another_thread_leaves_signals_alone(small, tmp_path):
    results = []
    worker = threading.Thread(target=lambda: results.append(train(small, tmp_path)))
    worker.start()
    worker.join(60)
    assert results[0][0].step == 12


def test_nan_pixels_stop_within_the_step_and_are_named(small, run):
    def poison(step, pixels):
        if step == 7:
            pixels[1, 0, 2, 2] = float("nan")
        return pixels

    task = small.small_task(batches=small.SmallBatches(change=poison))
    with pytest.raises(DataError, match=r"^case-7-b: pixels are NaN or infinite in the batch of step 7"):
        fit(task, run)
    saved = read(run.checkpoints, "last")
    assert saved.numbers["step"] == 6
    assert all(bool(tensor.isfinite().all()) for tensor in saved.tensors.values())
    assert next(run.events("not_finite"))["cases"] == ["case-7-b"]


@pytest.mark.parametrize("part", ["loss", "gradient"])
def test_a_loss_or_gradient_that_is_not_finite_stops_and_names_the_cases(small, run, part):
    class Spoilt:
        def __init__(self):
            self.inner, self.step = small.small_task().objective, 0

        def terms(self, network, batch):
            terms = self.inner.terms(network, batch)
            if self.step == 4:
                factor = torch.tensor(float("inf")) if part == "loss" else None
                terms["odd"] = factor if part == "loss" else _Poison.apply(next(iter(terms.values())))
            return terms

        def after_step(self, rate):
            self.step += 1

        def state(self):
            return {}

    task = small.small_task(objective=Spoilt())
    with pytest.raises(
        UnetkitError, match=r"case-4-a, case-4-b: the loss or its gradient is not finite at step 4"
    ):
        fit(task, run)
    assert all(bool(weight.isfinite().all()) for weight in task.network.parameters())
    assert read(run.checkpoints, "last").numbers["step"] == 3


class _Poison(torch.autograd.Function):
    """A fine value with a gradient of NaN."""

    @staticmethod
    def forward(ctx, value):
        return value.clone()

    @staticmethod
    def backward(ctx, gradient):
        return gradient * float("nan")


def test_weights_that_are_not_finite_are_never_saved(small, run):
    task = small.small_task(small.training_plan(optimizer="sgd", learning_rate=1e38, clip_norm=0.0))
    with pytest.raises(UnetkitError, match="not finite"):
        fit(task, run)
    saved = read(run.checkpoints, "last")
    assert all(bool(tensor.isfinite().all()) for name, tensor in saved.tensors.items() if "network" in name)


def test_a_full_disk_keeps_the_resume_point_before_and_training_goes_on_from_it(small, run):
    _, hard = resource.getrlimit(resource.RLIMIT_FSIZE)

    def fill(step):
        if step == 7:
            resource.setrlimit(resource.RLIMIT_FSIZE, (3000, hard))

    try:
        with pytest.raises(ResourceError, match=r"no room left to write.*free space") as caught:
            train(small, run.folder, batches=small.SmallBatches(fill), validate_steps=100)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (hard, hard))
    assert caught.value.exit_code == 5
    assert read(run.checkpoints, "last").numbers["step"] == 6
    assert not list(run.checkpoints.glob(".part-*"))
    _, whole = train(small, run.folder.parent / "whole", validate_steps=100)
    _, resumed = train(small, run.folder, resume=True, validate_steps=100)
    assert small.differing(whole, resumed) == []


def test_an_unwritable_folder_shows_before_the_first_step(small, tmp_path):
    (tmp_path / "run").write_text("a file where the folder should be")
    batches = small.SmallBatches()
    with pytest.raises(ResourceError, match="cannot write this file"):
        fit(small.small_task(batches=batches), Run(tmp_path / "run"))
    assert batches.handed == []


def test_a_flipped_bit_falls_back_to_the_resume_point_before_and_says_so(small, run):
    _, whole = train(small, run.folder.parent / "whole")
    with pytest.raises(PreemptedError):
        train(small, run.folder, batches=small.SmallBatches(stop_at(9)))
    newest = read(run.checkpoints, "last").file
    data = bytearray(newest.read_bytes())
    data[-5] ^= 1
    newest.write_bytes(data)
    _, weights = train(small, run.folder, resume=True)
    assert small.differing(whole, weights) == []
    refused = [row["reason"] for row in run.events("checkpoint_refused")]
    assert len(refused) == 1
    assert "SHA-256 does not match" in refused[0]
    assert newest.name in refused[0]


@pytest.fixture
def wall(monkeypatch):
    """A clock on the wall that only moves when a test moves it."""
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    return now


def passing(wall, seconds):
    """Something for ``SmallBatches(before=…)``: a batch takes its time."""

    def pass_time(step):
        wall[0] += seconds(step)

    return pass_time


def test_a_time_budget_ends_on_time_with_the_schedule_done(small, run, wall):
    def validate(network):
        wall[0] += 3.0
        return {"dice": 0.5}

    batches = small.SmallBatches(before=passing(wall, lambda step: 5.0 if step == 0 else 0.7))
    training = small.training_plan(steps=0, checkpoint_steps=0)
    outcome = fit(small.small_task(training, batches=batches, validate=validate), run, deadline=1180.0)
    assert 1178.0 <= wall[0] <= 1180.7
    assert outcome.reason == "budget"
    assert outcome.step == pytest.approx((180 - 5 - 8 * 3) / 0.7, abs=3)
    assert next(run.events("finished"))["progress"] > 0.985
    assert read(run.checkpoints, "last").numbers["horizon"][0] == pytest.approx(outcome.step, abs=3)
    counts = [row["steps"] for row in run.events("horizon")]
    assert len(counts) >= 12
    assert counts[3] == pytest.approx((180 - 5) / 0.7, rel=0.05)  # after three steps, before any validation
    progress = [row["progress"] for row in run.events("validation")]
    assert len(progress) == 8
    assert progress == pytest.approx([part / 8 for part in range(1, 9)], abs=0.02)
    assert len(list(run.events("checkpoint"))) >= 8


def test_a_budget_that_is_over_takes_no_step(small, run):
    task = small.small_task(small.training_plan(steps=0))
    assert fit(task, run, deadline=time.monotonic() - 1).step == 0


def test_a_wrong_estimate_cannot_overrun_the_deadline(small, run, wall):
    batches = small.SmallBatches(before=passing(wall, lambda step: 0.1 if step < 40 else 3.0))
    task = small.small_task(small.training_plan(steps=0), batches=batches)
    outcome = fit(task, run, deadline=1060.0)
    assert 1057.0 <= wall[0] <= 1063.0
    assert outcome.step == pytest.approx(40 + 56 / 3, abs=1)


def test_a_budget_goes_on_after_a_resume(small, run, wall):
    training = small.training_plan(steps=0, checkpoint_steps=0)

    def until(step):
        slow = passing(wall, lambda now: 1.0)
        stop = stop_at(step)
        return small.SmallBatches(before=lambda now: (slow(now), stop(now)))

    with pytest.raises(PreemptedError):
        fit(small.small_task(training, batches=until(30)), run, deadline=1100.0)
    before = read(run.checkpoints, "last").numbers
    assert seconds_spent(run) == pytest.approx(31.0)
    wall[0] += 5000.0  # the queue gives the machine back much later
    task = small.small_task(training, batches=until(-1))
    outcome = fit(task, run, deadline=wall[0] + 100.0 - seconds_spent(run), resume=True)
    assert outcome.step == pytest.approx(100, abs=3)
    assert outcome.seconds == pytest.approx(100, abs=3)
    first = next(run.events("horizon"))
    rows = list(run.events("horizon"))
    after = rows[rows.index(next(row for row in rows if row["step"] > before["step"]))]
    assert first["progress"] < after["progress"] == pytest.approx(32 / 100, abs=0.03)  # no jump


def test_neither_steps_nor_budget_is_refused(small, run):
    with pytest.raises(UsageError, match="neither a number of steps nor a time budget"):
        fit(small.small_task(small.training_plan(steps=0)), run)


def test_the_journal_tells_the_story(small, run):
    train(small, run.folder, validate_steps=6)
    events = [row["event"] for row in run.events()]
    assert events[0] == "started"
    assert events[-1] == "finished"
    first = next(run.events("step"))
    assert first["step"] == 1
    assert set(first["terms"]) == {"dice", "cross_entropy"}
    assert first["loss"] == pytest.approx(sum(first["terms"].values()), abs=2e-6)
    assert 0 <= first["data_wait_share"] <= 1
    assert [row["step"] for row in run.events("step")] == [1, 12]
    assert [row["step"] for row in run.events("validation")] == [6, 12]
    assert {0, 3, 6, 9, 12} <= {row["step"] for row in run.events("checkpoint")}


def test_progress_adds_up_to_the_whole(small, run):
    class Watcher:
        done, total, over = 0.0, None, False

        def begin(self, task, total=None, *, done=0.0):
            self.total, self.done = total, done

        def advance(self, amount=1.0, /, **shown):
            self.done += amount

        def end(self):
            self.over = True

        def say(self, text):
            raise AssertionError(text)

    watcher = Watcher()
    fit(small.small_task(), run, progress=watcher)
    assert watcher.total == 1.0
    assert watcher.done == pytest.approx(1.0)
    assert watcher.over


def test_the_best_weights_are_kept_when_the_plan_selects_them(small, run):
    seen = []

    def falling(network):
        seen.append(small.weights_of(network))
        return {"dice": 1.0 / len(seen)}

    task = small.small_task(small.training_plan(validate_steps=4, select="best"), validate=falling)
    outcome = fit(task, run)
    assert outcome.best == 1.0
    assert len(seen) == 3
    assert small.differing(seen[0], small.weights_of(task.network)) == []
    assert not task.network.training


def test_a_kill_during_validation_changes_nothing_about_the_best_weights(small, run):
    values = {"validate_steps": 4, "select": "best"}
    whole = small.small_task(small.training_plan(**values), validate=dice_of_the_network)
    fit(whole, Run(run.folder.parent / "whole"))

    def killed(network):
        raise KeyError

    with pytest.raises(KeyError):
        fit(small.small_task(small.training_plan(**values), validate=killed), run)
    assert read(run.checkpoints, "last").numbers["step"] == 4
    resumed = small.small_task(small.training_plan(**values), validate=dice_of_the_network)
    fit(resumed, run, resume=True)
    assert [row["step"] for row in run.events("validation")] == [4, 8, 12]
    assert small.differing(small.weights_of(whole.network), small.weights_of(resumed.network)) == []


def test_the_last_weights_are_the_average_that_was_validated(small, run):
    seen = []
    task = small.small_task(validate=lambda network: seen.append(small.weights_of(network)) or {"dice": 0.1})
    fit(task, run)
    assert small.differing(seen[-1], small.weights_of(task.network)) == []


def test_dropout_is_seeded_by_the_step():
    here = torch.device("cpu")
    seeds = {seed_network(here, seed, step) for seed in range(20) for step in range(200)}
    assert len(seeds) == 4000
    assert all(0 <= seed < 2**63 for seed in seeds)


def test_the_loop_itself_costs_little(small, run):
    def seconds(steps):
        """CPU time of the loop, and of its forward and backward passes alone."""
        task = small.small_task(small.training_plan(steps=steps, checkpoint_steps=0))
        started = time.process_time()
        fit(task, run)
        whole = time.process_time() - started
        network, batches = small.small_network(), list(small.SmallBatches().stream(0, steps))
        started = time.process_time()
        for batch in batches:
            torch.stack(list(task.objective.terms(network, batch).values())).sum().backward()
        return whole, time.process_time() - started

    def share():
        """What a step of the loop takes in passes, forward and backward, of a network of four layers."""
        (much, passes), (little, few) = seconds(120), seconds(20)
        return ((much - little) - (passes - few)) / (passes - few)

    # Measured 0.5, the optimiser's step included; the rest is for coverage and busy machines, slow or fast.
    assert min(share() for _ in range(3)) < 3
