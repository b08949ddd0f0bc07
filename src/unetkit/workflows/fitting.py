"""The training itself: network, layout, batches, validation by the predictor users get, and the loop."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field

import numpy as np
import torch
from torch import nn

from unetkit.data.labels import read_label
from unetkit.data.patches import Batches
from unetkit.errors import ResourceError
from unetkit.inference.predict import Predictor
from unetkit.learning.adabn import match_statistics
from unetkit.metrics.score import score_case
from unetkit.networks.unet import UNet, build
from unetkit.records.case import Case
from unetkit.records.figures import per_cent
from unetkit.records.plan import AugmentationPlan, Plan
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout, fastest_layout, keep_memory, pick_device, ran_out, use_threads
from unetkit.runtimes.pytorch import PytorchRuntime
from unetkit.spatial.slices import Slices
from unetkit.training.checkpoint import seconds_spent
from unetkit.training.loop import Outcome, Task, fit
from unetkit.training.objective import build_objective
from unetkit.workflows.readying import Ready
from unetkit.workflows.recalling import recall_past
from unetkit.workflows.starting import start_network
from unetkit.workflows.train import Wishes

LEAST_SHARE = 0.25
"""Share of a time budget that is trained however long reading and preparing took."""
SETTLING_STEPS = 8
"""Batches on which batch norms are settled that a file of weights had folded away."""
MATCHING_PATCHES = 256
"""Patches on which norm statistics are gathered anew; some hundreds tell a mean and a variance."""
VALIDATING_SHARE, VALIDATIONS = 0.15, 4
"""Share of a time budget that validations may take, and how many of them it has to be enough for."""
FITTING_SHARE = 0.02
"""Share of a time budget kept for fitting object sizes after the last step."""


@dataclass(frozen=True)
class Trained:
    """A network after its last step, and all that belongs to it.

    Args:
        ready: What it was trained on.
        network: With the weights to keep, in evaluation mode.
        device: Where it computed.
        layout: How.
        outcome: How the loop ended.
        seconds: Stage → seconds it took.
    """

    ready: Ready
    network: UNet
    device: torch.device
    layout: Layout
    outcome: Outcome
    seconds: dict[str, float] = field(default_factory=dict)

    @property
    def predictor(self) -> Predictor:
        """What users get."""
        plan = self.ready.plan
        runtime = PytorchRuntime(self.network, self.device, self.layout)
        return Predictor(runtime, plan.data, plan.preparation, plan.inference)


def train_network(ready: Ready, wishes: Wishes, *, started: float, progress: Progress) -> Trained:
    """Train, and keep the weights the plan selects.

    Args:
        ready: Plan and samples.
        wishes: Device, and whether to resume.
        started: ``time.monotonic()`` of the command's start; the time budget counts from there.
        progress: Who watches.
    """
    plan, run = ready.plan, ready.run
    network, batches, device, layout = _begun(ready, wishes, progress=progress)
    deadline = _deadline(plan, run, started, resume=wishes.resume, progress=progress)
    cases = spread(ready.held_out, plan.training.validate_cases)
    if deadline is not None:
        cases = _affordable(ready, network, device, layout, cases, until=deadline, progress=progress)
    task = Task(
        network=network,
        objective=build_objective(plan.objective, layout, recall_past(ready, device, layout)),
        batches=batches,
        training=plan.training,
        layout=layout,
        device=device,
        validate=validation(ready, network, device, layout, cases=cases),
    )
    begun = time.monotonic()
    with _short_of_memory(plan, run):
        outcome = fit(task, run, deadline=deadline, resume=wishes.resume, progress=progress)
    seconds = {**ready.seconds, "training": time.monotonic() - begun}
    progress.say(f"trained {outcome.step} steps")
    if not outcome.step:
        progress.say(
            "warning: the time budget was used up before the first step: the weights are those that training "
            "was to start from; give more --minutes"
        )
    return Trained(ready, network.eval(), device, layout, outcome, seconds)


def match_network(ready: Ready, wishes: Wishes, *, progress: Progress) -> Trained:
    """Train nothing: the network it starts from, with the norm statistics of the training cases.

    Args:
        ready: Plan and samples.
        wishes: Device, and whether to resume.
        progress: Who watches.

    Raises:
        UsageError: No norm of the network keeps statistics.
    """
    plan, begun = ready.plan, time.monotonic()
    network, _, device, layout = _begun(ready, wishes, progress=progress)
    still = _batches(ready, plan.augmentation.still, device)
    count = -(-MATCHING_PATCHES // plan.training.batch_size)
    with _short_of_memory(plan, ready.run):
        match_statistics(network, (still.at(step).pixels for step in range(count)), layout)
    progress.say(f"adabn: statistics of {count * plan.training.batch_size} patches; no weight was changed")
    seconds = time.monotonic() - begun
    return Trained(
        ready,
        network,
        device,
        layout,
        Outcome(0, None, seconds, "steps"),
        {**ready.seconds, "training": seconds},
    )


def _begun(ready: Ready, wishes: Wishes, *, progress: Progress) -> tuple[UNet, Batches, torch.device, Layout]:
    """The network with its first weights, placed where it computes, and what it is trained on."""
    plan, run = ready.plan, ready.run
    keep_memory()
    threads = use_threads()
    device = pick_device(wishes.device)
    torch.manual_seed(plan.training.seed)
    data = plan.data
    network = build(
        plan.network, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes)
    )
    batches = _batches(ready, plan.augmentation, device)
    images = (batches.at(step).pixels.cpu() for step in range(SETTLING_STEPS))
    start_network(network, plan, run, images=images, resume=wishes.resume, progress=progress)
    layout = _layout(network, plan, run, device, resume=wishes.resume)
    shown = f"{layout.precision}, {layout.memory_format}"
    progress.say(f"device: {device} with {threads} threads, {shown}")
    layout.place(network, device)
    return network, batches, device, layout


def _batches(ready: Ready, augmentation: AugmentationPlan, device: torch.device) -> Batches:
    """Patches of the training cases, as the plan's network sees them."""
    plan = ready.plan
    return Batches(
        ready.train,
        plan.training,
        augmentation,
        classes=len(plan.data.classes),
        device=device,
        slices=Slices.of(plan.data),
    )


@contextmanager
def _short_of_memory(plan: Plan, run: Run) -> Iterator[None]:
    """Memory that runs out in the block is answered with what to do, whoever says so and how."""
    try:
        yield
    except (MemoryError, RuntimeError) as wrong:
        if not ran_out(wrong):
            raise
        raise _needs_less(plan, run, wrong) from wrong


def _needs_less(plan: Plan, run: Run, wrong: Exception) -> ResourceError:
    said = (str(wrong).splitlines() or [type(wrong).__name__])[0]
    batch = plan.training.batch_size
    less = f"go on with --resume --set training.batch_size={max(1, batch // 2)}, or " if batch > 1 else ""
    return ResourceError(
        f"memory ran out while training with a budget of {plan.training.memory_gb:g} GB ({said})",
        cure=f"{less}train anew with a smaller --memory, or end what else takes memory and say --resume",
        where=run.folder,
    )


def _deadline(plan: Plan, run: Run, started: float, *, resume: bool, progress: Progress) -> float | None:
    """When training must be over; what earlier sessions took is gone.

    Where reading and preparing the data took nearly all of the budget, a share of it is trained all the
    same: a model that saw nothing helps nobody.
    """
    seconds = plan.training.minutes * 60
    if not seconds:
        return None
    least = time.monotonic() + LEAST_SHARE * seconds
    if to_fit(plan):
        seconds *= 1 - FITTING_SHARE
    deadline = started + max(0.0, seconds - (seconds_spent(run) if resume else 0.0))
    if resume or deadline >= least:
        return deadline
    late = (
        f"{per_cent(LEAST_SHARE, digits=0)} of the {plan.training.minutes:g} minutes are trained all the same"
    )
    progress.say(f"warning: checks and preparation took most of the time budget; {late}")
    return least


def _layout(network: nn.Module, plan: Plan, run: Run, device: torch.device, *, resume: bool) -> Layout:
    """The fastest layout, measured; a resumed run keeps its own, or its numbers would change."""
    if resume:
        for event in run.events("layout"):
            measured = (str(event["precision"]), str(event["memory_format"]))
            asked = (plan.training.precision, plan.training.memory_format)
            agree = all(want in ("auto", had) for want, had in zip(asked, measured, strict=True))
            if event.get("device") == device.type and agree:
                return Layout(*measured)
    training = plan.training
    shape = (training.batch_size, plan.data.input_channels, *training.patch_size)
    layout = fastest_layout(
        network,
        shape,
        device,
        training=True,
        wanted_precision=training.precision,
        wanted_format=training.memory_format,
    )
    run.note("layout", device=device.type, precision=layout.precision, memory_format=layout.memory_format)
    return layout


def validation(
    ready: Ready, network: nn.Module, device: torch.device, layout: Layout, *, cases: Sequence[Case]
) -> Callable[[nn.Module], dict[str, float]] | None:
    """What gives the Dice on some cases, by tiles, on the original grid: what a user would get.

    Args:
        ready: Plan and cache.
        network: What is judged; the answer looks at this one, whatever it is called with.
        device: Where it computes.
        layout: How.
        cases: Labelled cases; None is returned where there are none.
    """
    plan = ready.plan
    if not cases:
        return None
    runtime = PytorchRuntime(network, device, layout)
    predictor = Predictor(runtime, plan.data, plan.preparation, plan.inference)
    names = plan.data.classes[1:]

    def validate(_: nn.Module) -> dict[str, float]:
        found: dict[str, list[float]] = {name: [] for name in names}
        for case in cases:
            reference, known, grid = read_label(case, plan.data)
            labels = predictor.sample(ready.cache.get(case)).labels
            row = score_case(
                case.id,
                case.group,
                reference,
                labels,
                classes=names,
                known=known,
                spacing_mm=grid.spacing_mm,
                metrics=("dice",),
            )
            for name in names:
                value = row.values[name]["dice"]
                if value is not None:
                    found[name].append(value)
        means = {name: float(np.mean(values)) for name, values in found.items() if values}
        facts = {f"dice {name}": value for name, value in means.items()}
        return {"dice": float(np.mean(list(means.values()))), **facts} if means else {}

    return validate


def _affordable(
    ready: Ready,
    network: nn.Module,
    device: torch.device,
    layout: Layout,
    cases: tuple[Case, ...],
    *,
    until: float,
    progress: Progress,
) -> tuple[Case, ...]:
    """As many cases as a time budget has room for, judged by one of them: a large image takes seconds.

    Where there is no room for one, training goes on without looking: the budget is for learning, and every
    held-out case is measured after it.
    """
    if not cases:
        return cases
    plan = ready.plan
    begun = time.monotonic()
    shape = ready.cache.get(cases[0]).pixels.shape[1:]
    reading = time.monotonic() - begun
    runtime = PytorchRuntime(network, device, layout)
    boxes = Predictor(runtime, plan.data, plan.preparation, plan.inference).boxes(shape)
    tile = (side.stop - side.start for side in boxes[0])
    slices = Slices.of(plan.data)
    seen = tuple(tile) if slices is None else slices.in_plane(tuple(tile))
    given = np.zeros((1, plan.data.input_channels, *seen), np.float32)
    runtime.run(given)
    begun = time.monotonic()
    runtime.run(given)
    each = reading / VALIDATIONS + len(boxes) * (time.monotonic() - begun)
    room = VALIDATING_SHARE / VALIDATIONS * max(0.0, until - time.monotonic())
    if each <= room:
        return spread(cases, min(len(cases), int(room / each)))
    left = plan.training.minutes
    progress.say(
        f"note: predicting one held-out image takes about {each:.2g} s, too long to look at some while "
        f"training for {left:g} minutes; all are measured at the end"
    )
    return ()


def to_fit(plan: Plan) -> bool:
    """Whether training cases are to tell which objects are believed; what was set by hand stays."""
    inference = plan.inference
    return bool(inference.fit_cases) and not inference.minimum_pixels and not inference.largest_only


def spread(cases: tuple[Case, ...], count: int) -> tuple[Case, ...]:
    """At most ``count`` cases, evenly spread over all."""
    if len(cases) <= count:
        return cases
    return (
        tuple(cases[int(place)] for place in np.linspace(0, len(cases) - 1, count).round()) if count else ()
    )
