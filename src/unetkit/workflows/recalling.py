"""What a training may look at beside its own data, read from the files of its run."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unetkit.spatial.slices import Slices
from unetkit.workflows.starting import read_start, refuse_changed
from unetkit.workflows.teaching import load_teachers, read_teachers, unlabelled_batches

if TYPE_CHECKING:
    import torch
    from torch import nn

    from unetkit.runtimes.devices import Layout
    from unetkit.training.objective import Past
    from unetkit.workflows.readying import Ready

SEED_APART = 1
"""The memory's batches follow from the plan's seed and this, so that they are not the training's own."""


def recall_past(ready: Ready, device: torch.device, layout: Layout) -> Past:
    """The earlier model, the importance of its weights, the memory and the teachers, as far as there are any.

    Which classes a case names is known of the training cases, where the plan asks for it, and of the memory.
    The plan holds names and numbers only: the earlier model is the one in ``start.json`` and the teachers
    those in ``teachers.json``, whose weights must still be those the run began with; the rest lies in it.

    Args:
        ready: Plan, run and cache.
        device: Where training computes.
        layout: How.

    Raises:
        DataError: A file has changed since it was written, or is damaged.
        UsageError: A teacher sees other pixels or has other classes.
    """
    from unetkit.data.patches import Batches
    from unetkit.learning.exemplars import MEMORY, recall
    from unetkit.learning.penalty import read_importance
    from unetkit.networks.store import load_model
    from unetkit.training.objective import Past
    from unetkit.workflows.remembering import named_by

    plan, run = ready.plan, ready.run
    if not plan.objective.wrappers:
        return Past()
    network, start = None, read_start(run)
    if start is not None and Path(start.source).is_dir():
        refuse_changed(start)
        network, _ = load_model(Path(start.source))
        layout.place(network.requires_grad_(False), device)
    importance = read_importance(run.importance) if run.importance.is_file() else {}
    memory, named = None, {}
    if any(term.name == "unbiased" for term in plan.objective.wrappers):
        named = dict.fromkeys((case.id for case in ready.trained_on), named_by(ready))
    if (run.memory / MEMORY).is_file():
        kept = recall(run.memory, plan.data, older=True)
        named |= {each.case.id: each.named & named.get(each.case.id, each.named) for each in kept}
        samples = [ready.cache.get(each.case) for each in kept]
        training = plan.training.model_copy(update={"seed": plan.training.seed + SEED_APART})
        classes = len(plan.data.classes)
        slices = Slices.of(plan.data)
        memory = Batches(samples, training, plan.augmentation, classes=classes, device=device, slices=slices)
    teachers: list[nn.Module] = []
    unlabelled = None
    if (taught := read_teachers(run)) is not None:
        teachers = load_teachers(taught, plan, device, layout)
        unlabelled = unlabelled_batches(taught, ready.source, ready.cache, plan, device)
    return Past(network, importance, memory, named, teachers, unlabelled)
