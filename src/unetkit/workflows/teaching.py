"""Who teaches a training, and on which images without a label: written into its run, read from there."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from pydantic import Field

from unetkit.data.catalog import Catalog, find_cases
from unetkit.data.formats import files_of
from unetkit.errors import DataError, UsageError
from unetkit.networks.store import describe
from unetkit.records.case import Case
from unetkit.records.files import sha256, write_text
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.spatial.slices import Slices
from unetkit.workflows.model_folder import is_ensemble, model_folder, trained_folder

if TYPE_CHECKING:
    import torch
    from torch import nn

    from unetkit.data.prepare import Cache
    from unetkit.runtimes.devices import Layout
    from unetkit.training.objective import Memory

SEED_APART = 2
"""Batches without labels follow from the plan's seed and this, so that they are not the training's own."""


class Teacher(Saved):
    """A model whose answers are a second target.

    Args:
        source: The model folder.
        weights_sha256: Of its weights.
    """

    source: str
    weights_sha256: str


class TeachersFile(Saved):
    """``teachers.json`` of a run.

    Args:
        teachers: Who teaches.
        unlabelled: Case id of each image without a label that takes part → SHA-256 of each of its files.
    """

    version: int = 1
    teachers: tuple[Teacher, ...]
    unlabelled: dict[str, str] = Field(default_factory=dict)


def asked_teachers(models: Sequence[str | Path]) -> tuple[Teacher, ...]:
    """The teachers that were asked for; their weights are not read into networks yet.

    Args:
        models: As for ``teacher_folders``.

    Raises:
        UsageError: There is no model, or only an exported one.
        DataError: A model is damaged.
    """
    folders = [each for model in models for each in teacher_folders(model)]
    return tuple(
        Teacher(source=str(each), weights_sha256=describe(each).seal.weights_sha256) for each in folders
    )


def teacher_folders(model: str | Path) -> tuple[Path, ...]:
    """The model folder of a teacher, or those of every network of an ensemble.

    Args:
        model: A model folder, an ensemble, or a run that holds one.

    Raises:
        UsageError: There is no model, or only an exported one, or it is a cascade.
        DataError: An ensemble is damaged.
    """
    from unetkit.workflows.ensemble_folder import read_ensemble  # which asks who taught its members

    place = model_folder(model)
    if not is_ensemble(place):
        return (trained_folder(place),)
    return tuple(trained_folder(place / member.folder) for member in read_ensemble(place)[0].members)


def read_teachers(run: Run) -> TeachersFile | None:
    """Who teaches a run; None where nobody does."""
    return (
        TeachersFile.from_json(run.teachers.read_bytes(), where=run.teachers)
        if run.teachers.is_file()
        else None
    )


def note_teachers(run: Run, teachers: Sequence[Teacher], catalog: Catalog, *, held_out: Sequence[str]) -> int:
    """Write down who teaches a run, and on which images without a label.

    An image of a group of which a case is held out takes no part: its scores would no longer tell how the
    model does on groups it has never seen.

    Args:
        run: The run.
        teachers: Who teaches.
        catalog: The data set.
        held_out: Ids of held-out cases.

    Returns:
        How many images without a label take part.
    """
    apart = {case.group for case in catalog.cases if case.id in set(held_out)}
    chosen = [
        case for case in catalog.unlabelled if case.group not in apart and case.split in (None, "train")
    ]
    file = TeachersFile(teachers=tuple(teachers), unlabelled={case.id: _digest(case) for case in chosen})
    write_text(run.teachers, file.to_json())
    return len(chosen)


def refuse_other_teachers(run: Run, models: Sequence[str | Path]) -> None:
    """Refuse to go on with a run under other teachers than it began with.

    Raises:
        UsageError: Other models were asked for.
    """
    if not models:
        return
    own = read_teachers(run)
    had = [each.weights_sha256 for each in own.teachers] if own else []
    if had != [each.weights_sha256 for each in asked_teachers(models)]:
        raise UsageError(
            "a resumed run keeps its teachers, and others were asked for",
            cure="leave them out, or train anew in another folder",
            where=run.folder,
        )


def load_teachers(file: TeachersFile, plan: Plan, device: torch.device, layout: Layout) -> list[nn.Module]:
    """The teachers as frozen networks, on the device.

    Args:
        file: What the run wrote down.
        plan: The student's plan.
        device: Where training computes.
        layout: How.

    Raises:
        DataError: A teacher's weights have changed since.
        UsageError: A teacher expects other pixels or has other classes than the student.
    """
    from unetkit.networks.store import load_model

    networks: list[nn.Module] = []
    for teacher in file.teachers:
        folder = Path(teacher.source)
        if describe(folder).seal.weights_sha256 != teacher.weights_sha256:
            raise DataError(
                "these weights are not those the run learns from: they have changed since",
                cure="put them back, or train anew (--overwrite) with these",
                where=folder,
            )
        network, own = load_model(folder)
        refuse_unlike(own, plan, where=folder)
        layout.place(network.requires_grad_(False), device)
        networks.append(network)
    return networks


def refuse_unlike(teacher: Plan, student: Plan, *, where: Path) -> None:
    """Refuse a teacher that cannot be shown what the student sees, or that answers in other classes.

    Args:
        teacher: Its plan.
        student: The student's plan.
        where: The teacher's folder.

    Raises:
        UsageError: They do not go together.
    """
    for key in ("rank", "channels", "slice_axis", "context_slices", "classes", "label_values"):
        mine, theirs, word = getattr(student.data, key), getattr(teacher.data, key), key.replace("_", " ")
        if mine != theirs:
            raise UsageError(
                f"a teacher and its student share their {word}: expected {mine}, got {theirs}",
                cure="name a teacher that was trained on the same kind of data",
                where=where,
            )
    if teacher.preparation != student.preparation:
        raise UsageError(
            "this teacher was trained on pixels that were prepared in another way (spacing, normalisation)",
            cure="name teachers of one plan, such as those of several seeds or folds",
            where=where,
        )


def unlabelled_batches(
    file: TeachersFile, source: Path, cache: Cache, plan: Plan, device: torch.device
) -> Memory | None:
    """Patches of the images without a label; None where there are none.

    Args:
        file: What the run wrote down.
        source: The data set.
        cache: Where prepared samples lie.
        plan: The student's plan.
        device: Where training computes.

    Raises:
        DataError: An image is gone, or has changed since.
    """
    from unetkit.data.patches import Batches

    if not file.unlabelled:
        return None
    by_id = {case.id: case for case in find_cases(source).unlabelled}
    for id, digest in file.unlabelled.items():
        if id not in by_id or _digest(by_id[id]) != digest:
            raise DataError(
                f"the image without a label '{id}' is not what this run was started with",
                cure="put it back, or train anew in another folder",
                where=source,
            )
    samples = [cache.get(by_id[id]) for id in file.unlabelled]
    training = plan.training.model_copy(update={"seed": plan.training.seed + SEED_APART})
    return Batches(
        samples,
        training,
        plan.augmentation,
        classes=len(plan.data.classes),
        device=device,
        slices=Slices.of(plan.data),
    )


def _digest(case: Case) -> str:
    """SHA-256 of each file of an image."""
    parts = [part for path in case.images for part in files_of(path)]
    return " ".join(sha256(part) for part in parts)
