"""The loop, read from top to bottom: a batch, its losses, one step of the optimiser, and what hangs on it."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Protocol

import torch
from torch import nn

from unetkit.data.patches import Batch
from unetkit.records.plan import TrainingPlan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.checkpoint import Checkpoints
from unetkit.training.diary import Diary
from unetkit.training.guard import guard_step
from unetkit.training.horizon import Clock
from unetkit.training.objective import Objective
from unetkit.training.optimizer import clip, learning_rate, set_learning_rate
from unetkit.training.signals import Signals
from unetkit.training.state import State
from unetkit.training.validation import Judge, Validate


class Stream(Protocol):
    """Where batches come from (``data.patches.Batches``): each depends on seed and step alone."""

    def stream(self, start: int, stop: int | None) -> Iterator[Batch]:
        """The batches of steps ``start`` to ``stop`` (None: without end); closed when no longer needed."""
        ...


@dataclass(frozen=True)
class Task:
    """What is trained, on what, and how.

    Args:
        network: Trained in place; ends with the weights to keep.
        objective: What is minimised.
        batches: What it is minimised on.
        training: The plan's slice.
        layout: Number type and memory format.
        device: Where to compute.
        validate: Network → ``{"dice": …}`` or Scores, by the predictor users get; None: never.
    """

    network: nn.Module
    objective: Objective
    batches: Stream
    training: TrainingPlan
    layout: Layout
    device: torch.device
    validate: Validate | None = None


@dataclass(frozen=True)
class Outcome:
    """How a training ended.

    Args:
        step: Steps done.
        best: Best validation Dice, None where nothing was validated.
        seconds: Time spent over all sessions, s.
        reason: ``steps`` or ``budget``.
    """

    step: int
    best: float | None
    seconds: float
    reason: str


def fit(
    task: Task,
    run: Run,
    *,
    deadline: float | None = None,
    resume: bool = False,
    progress: Progress | None = None,
) -> Outcome:
    """Train, and leave the weights to keep in ``task.network``, in evaluation mode.

    With ``training.steps`` the result is the same bit for bit, however often the run is killed and resumed
    (CPU, same number of threads). Without, the schedule is fitted to ``deadline``, again and again.

    Args:
        task: What to train.
        run: Where journal and resume points go.
        deadline: ``time.monotonic()`` seconds at which training, validation included, is over; for
            ``training.steps`` 0 only.
        resume: Go on from the newest resume point.
        progress: Who watches.

    Raises:
        PreemptedError: SIGTERM (or SIGINT, as its subclass) came; the state was saved.
        DataError: A batch holds values that are not finite, or no resume point is intact.
        ResourceError: The disk is full; the resume point before is intact.
        UnetkitError: A loss is not finite.
    """
    training, progress = task.training, progress or Quiet()
    clock = Clock(training, deadline)
    points = Checkpoints(run, training.checkpoint_steps)
    judge = Judge(task.validate, training, run, progress, timed=clock.deadline is not None)

    network = task.layout.place(task.network, task.device).train()
    state = State.fresh(network, training, task.objective)
    points.open(state, resume=resume)
    state.horizon = clock.begin(state.horizon, state.step)
    diary = Diary(run, progress, state)
    stream = task.batches.stream(state.step, training.steps or None)

    with Signals(run) as signals, diary.watch(stream) as batches:
        due = judge.due(state)  # a run that was killed while it validated does so now, at the same step
        while True:
            if due:
                seconds = judge.judge(state, points, interrupt=signals.check)
                clock.set_aside(seconds)
                diary.set_aside(seconds)
            closing = judge.last_cost(state) + points.seconds
            if reason := clock.over(state.horizon, state.step, reserve=closing):
                break
            batch = next(batches)
            seed_network(task.device, training.seed, state.step)
            state.freezing.settle(state.progress)
            rate = set_learning_rate(state.optimizer, learning_rate(training, state.progress))

            terms = task.objective.terms(network, batch)
            loss = torch.stack(list(terms.values())).sum()
            loss.backward()
            norm = clip(network.parameters(), training.clip_norm, loss)
            guard_step(norm, batch, terms, run=run, step=state.step)
            state.optimizer.step()
            state.optimizer.zero_grad(set_to_none=True)
            task.objective.after_step(rate)
            state.average.update(state.step)
            state.step += 1

            diary.step(state, terms, rate=rate, norm=norm, borrowed=batch.borrowed)
            reserve = judge.to_come(state, clock.left) + points.seconds
            if bent := clock.tick(state.horizon, state.step, reserve=reserve):
                state.horizon = bent
                diary.counted(bent)
            due = judge.due(state)
            if due or signals.asked or points.due(state.step):
                points.save(state)
            signals.check(state.step)

        if task.validate and state.judged_step != state.step:
            points.save(state)
            judge.judge(state, points, interrupt=signals.check)
        points.save(state)
        signals.check(state.step)

    diary.finished(state, reason)
    state.average.exchange()
    if training.select == "best":
        points.load_best(state)
    network.eval()
    return Outcome(state.step, state.best, state.seconds, reason)


def seed_network(device: torch.device, seed: int, step: int) -> int:
    """Seed what is random inside the network (dropout) for one step.

    Args:
        device: Where the network computes.
        seed: The plan's seed.
        step: Counted from 0.

    Returns:
        The step's own seed, 63 bits.

    Example:
        >>> here = torch.device("cpu")
        >>> seed_network(here, 0, 1) == seed_network(here, 0, 1) != seed_network(here, 0, 2)
        True
    """
    own = int.from_bytes(hashlib.blake2b(f"{seed}/{step}".encode(), digest_size=8).digest(), "big") >> 1
    if device.type == "cpu":
        torch.default_generator.manual_seed(own)  # torch.manual_seed takes 0.12 ms to tell absent devices
    else:
        torch.manual_seed(own)
    return own
