"""Before an update trains: which old cases are kept, and which weights matter to them."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unetkit.data.catalog import find_cases
from unetkit.data.formats import files_of
from unetkit.data.inspect import inspect, raise_if_refused
from unetkit.data.naming import named_as
from unetkit.errors import DataError, UsageError
from unetkit.learning.exemplars import MEMORY, Candidate, choose, keep, recall
from unetkit.records.case import Case
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress
from unetkit.spatial.slices import Slices
from unetkit.workflows.growing import named_ids, refuse_other
from unetkit.workflows.readying import Ready
from unetkit.workflows.run_folder import safe_name

if TYPE_CHECKING:
    from torch import Tensor

    from unetkit.networks.unet import UNet

MEGABYTE = 1_000_000
FISHER_IMAGES = 64
"""Patches whose gradients say which weights matter."""
IMPORTANCE = "importance.safetensors"
"""In a model folder: which of its weights matter to what it has learned, for the next update with EWC."""


def old_cases(memory: Path, data: DataPlan, *, progress: Progress) -> tuple[Candidate, ...]:
    """What ``--memory`` names: a memory that an update kept, or a data set.

    Args:
        memory: The folder, the run that holds a memory, or a CSV.
        data: Classes and channels of the model.
        progress: Who watches.

    Raises:
        DataError: It is empty, damaged, or has other channels or classes.
    """
    for folder in (memory, memory / "memory"):
        if (folder / MEMORY).is_file():
            return recall(folder, data)
    inspection = named_as(inspect(find_cases(memory), progress=progress), data)
    raise_if_refused(inspection)
    assert inspection.data is not None  # refused otherwise
    refuse_other(data, inspection.data, where=memory)
    counts = {facts.id: facts.label_counts for facts in inspection.facts}
    found, named = [], named_ids(data, inspection.data)
    for case in inspection.catalog.cases:
        values = counts.get(case.id, {})
        classes = frozenset(
            number for number, value in enumerate(data.label_values) if number and values.get(value)
        )
        found.append(Candidate(case, domain_of(memory), classes, _size(case), named))
    return tuple(found)


def domain_of(source: Path) -> str:
    """The name of a data set: that of its folder, or of its CSV."""
    return safe_name(source.resolve().stem or "data")


def remember(
    ready: Ready, model: Path, old: Sequence[Candidate], new: Sequence[Candidate], *, progress: Progress
) -> None:
    """Keep old and new cases in the run's memory, within the plan's budget; a resumed run has its own.

    Args:
        ready: Plan and run.
        model: The earlier model's folder; herding looks at the cases through its eyes.
        old: What ``--memory`` named.
        new: The training cases of the new data.
        progress: Told what was kept.

    Raises:
        DataError: Not one old case fits the budget.
    """
    from unetkit.learning.replay import DEFAULTS
    from unetkit.training.objective import options_of

    run, plan = ready.run, ready.plan
    if (run.memory / MEMORY).is_file():
        return
    term = next(term for term in plan.objective.wrappers if term.name == "replay")
    options = options_of(term, DEFAULTS)
    budget, seed = round(options["budget_mb"] * MEGABYTE), round(options["seed"])
    every = [*old, *new]
    features = _features(ready, model, every) if options["herding"] else None
    chosen = choose(every, budget, seed=seed, features=features)
    newest = new[0].domain if new else ""
    if not any(each.domain != newest for each in chosen):
        least = min((each.size for each in old), default=0)
        raise DataError(
            f"no old case fits a memory of {budget / MEGABYTE:g} MB, the smallest takes "
            f"{least / MEGABYTE:.3g} MB",
            cure='give \'replay\' a larger one: --set \'objective.wrappers=[{"name":"replay","options":'
            f'{{"budget_mb":{10 * math.ceil(least / MEGABYTE)}}}}}]\'',
            where=run.memory,
        )
    how = "herding" if options["herding"] else "random"
    keep(run.memory, chosen, plan.data, budget_bytes=budget, seed=seed, how=how, newest=newest)
    size = sum(each.size for each in chosen) / MEGABYTE
    counts = {each.domain: sum(one.domain == each.domain for one in chosen) for each in chosen}
    told = ", ".join(f"{count} of {domain}" for domain, count in counts.items())
    progress.say(f"memory: {told}, {size:.3g} of {budget / MEGABYTE:g} MB, chosen by {how}, seed {seed}")


def weigh(ready: Ready, model: Path, old: Sequence[Candidate], *, device: str, progress: Progress) -> None:
    """Write down which weights of the earlier model matter; a resumed run has its own.

    Args:
        ready: Plan, run and cache.
        model: The earlier model's folder; what it says itself counts before the old cases are asked.
        old: What ``--memory`` named.
        device: Where to compute.
        progress: Told where it is from.

    Raises:
        UsageError: Neither the model says so nor is there an old case.
    """
    from unetkit.learning.penalty import read_importance, save_importance
    from unetkit.networks.store import load_model
    from unetkit.runtimes.devices import pick_device

    run = ready.run
    if run.importance.is_file():
        return
    if (model / IMPORTANCE).is_file():
        save_importance(run.importance, read_importance(model / IMPORTANCE))
        progress.say("ewc: the model itself says which weights matter")
        return
    if not old:
        raise UsageError(
            "'ewc' must know which weights matter to what the model has learned, and this model does not say",
            cure="name data it knows with --memory (looked at once, not kept), or choose --method lwf",
            where=model,
        )
    network, _ = load_model(model)
    cases = [each.case for each in old]
    save_importance(run.importance, importance(ready, network.to(pick_device(device)), cases))
    progress.say(f"ewc: which weights matter was measured on {len(cases)} old cases; none of them is kept")


def importance(ready: Ready, network: UNet, cases: Sequence[Case]) -> dict[str, Tensor]:
    """The Fisher information of a network on patches of some cases, neither augmented nor mixed.

    Args:
        ready: Plan and cache.
        network: On its device.
        cases: Labelled cases.
    """
    from unetkit.data.patches import Batches
    from unetkit.learning.penalty import fisher
    from unetkit.runtimes.devices import Layout

    plan = ready.plan
    batches = Batches(
        [ready.cache.get(case) for case in cases],
        plan.training,
        plan.augmentation.still,
        classes=len(plan.data.classes),
        device=next(network.parameters()).device,
        slices=Slices.of(plan.data),
    )
    count = -(-FISHER_IMAGES // plan.training.batch_size)
    return fisher(network, (batches.at(step) for step in range(count)), Layout())


def _features(ready: Ready, model: Path, every: Sequence[Candidate]) -> np.ndarray:
    """What the earlier model's encoder makes of the middle of each case, coarsest stage, mean over pixels."""
    from unetkit.inference.embedding import embed
    from unetkit.networks.store import load_model

    network, plan = load_model(model)
    slices, size = Slices.of(plan.data), plan.training.patch_size
    return np.stack([embed(network, ready.cache.get(each.case), size, slices=slices) for each in every])


def of_training(ready: Ready, *, domain: str) -> tuple[Candidate, ...]:
    """The cases that were trained on, with what a memory asks of them.

    One large image that was cut into parts cannot be kept in part; there is no candidate then.

    Args:
        ready: Cases and samples.
        domain: Where they are from.
    """
    found, named = [], named_by(ready)
    for case, sample in zip(ready.trained_on, ready.train, strict=True):
        if case.label is None or case.region is not None:
            continue
        classes = frozenset(value for value, places in sample.foreground.items() if value and len(places))
        found.append(Candidate(case, domain, classes, _size(case), named))
    return tuple(found)


def named_by(ready: Ready) -> frozenset[int]:
    """Ids of the foreground classes that the new data names (its fingerprint says); others may hide in it.

    Args:
        ready: Plan and run.
    """
    path, every = ready.run.fingerprint, ready.plan.data.classes
    known = Fingerprint.from_json(path.read_bytes(), where=path).classes
    return frozenset(number for number, name in enumerate(every) if number and name in known)


def _size(case: Case) -> int:
    """Bytes of a case's files."""
    files = case.images if case.label is None else (*case.images, case.label)
    return sum(file.stat().st_size for path in files for file in files_of(path))
