"""A stage of a compression: another network learns what the model knows, from labels and from the model."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from unetkit.errors import UsageError
from unetkit.records.files import sha256
from unetkit.records.plan import NetworkPlan, Plan
from unetkit.workflows.stages import Chain
from unetkit.workflows.train import TrainedRun

DISTILL = json.dumps([{"name": "distill"}])


@dataclass(frozen=True)
class Distilling:
    """Teach another network.

    Args:
        student: Name of a network as ``--network`` takes it, or a file with a plan.
    """

    student: str

    @property
    def words(self) -> str:
        """What it does."""
        return f"taught to {self.student}"

    @property
    def asked(self) -> dict[str, Any]:
        """The student, and what a file says of it."""
        path = Path(self.student)
        return {"student": self.student, "sha256": sha256(path) if path.is_file() else ""}

    @property
    def trainings(self) -> int:
        """One."""
        return 1

    def planned(self, plan: Plan) -> Plan:
        """The student's plan, see ``student_plan``.

        Args:
            plan: Of the teacher.
        """
        return student_plan(plan, self.student)

    def work(self, chain: Chain, model: Path) -> TrainedRun:
        """Train the student under its teachers, or go on.

        Args:
            chain: What all stages work with; its teachers teach.
            model: Folder of the model that decides on everything but the network.

        Raises:
            UsageError: There is no such student, or it is for other data.
            PreemptedError: It was asked to stop.
        """
        from unetkit.networks.store import read_plan

        own = read_plan(model)
        plan = self.planned(own)
        sizes = [_parameters(each) for each in (own, plan)]
        chain.progress.say(
            f"student {self.student}: {sizes[1] / 1e6:.3g} M parameters of {sizes[0] / 1e6:.3g} M"
        )
        if sizes[1] >= sizes[0]:
            chain.progress.say("warning: the student is no smaller than its teacher")
        return chain.train("taught", plan)


def student_plan(teacher: Plan, student: str | Path) -> Plan:
    """The plan of a network that learns from a model: it sees the same pixels and the same cases.

    Of a named network everything but the network is as in the teacher's plan; the patch is grown to what the
    network's stride asks. Of a plan network, losses, augmentation and training are its own.

    Args:
        teacher: The model's plan.
        student: Name of a network, or a file with a plan.

    Raises:
        UsageError: There is no such network, or it is for other data.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> plan = student_plan(Plan.model_validate(EXAMPLE), "residual")
        >>> plan.network.encoder, plan.objective.wrappers[0].name
        ('residual', 'distill')
    """
    path = Path(student)
    if path.suffix == ".json" or path.is_file():
        plan = _of_file(teacher, path)
    else:
        plan = _of_name(teacher, str(student))
    changes = {"objective.wrappers": DISTILL}
    if plan.inference.fit_cases:  # the student has specks of its own
        changes |= {"inference.minimum_pixels": "[]", "inference.largest_only": "[]"}
    plan = plan.with_values(changes, reason="For a student: it learns from another model.")
    _parameters(plan)  # a network that cannot be built is met here
    return plan


def _of_file(teacher: Plan, path: Path) -> Plan:
    from unetkit.workflows.asked import DIVISION, saved_plan

    own = saved_plan(path)
    for key in ("rank", "channels", "classes", "label_values"):
        mine, theirs = getattr(own.data, key), getattr(teacher.data, key)
        if mine != theirs:
            raise UsageError(
                f"the student's plan has other {key.replace('_', ' ')} than the model: expected {theirs}, "
                f"got {mine}",
                cure="plan on the data that the model was trained on",
                where=path,
            )
    flat = teacher.flat()
    own = own.with_values(
        {key: json.dumps(flat[key]) for key in DIVISION}, reason="As the teacher's: the same cases."
    )
    reasons = {**own.reasons, "preparation": "As the teacher's: both see the same pixels."}
    return own.model_copy(
        update={"data": teacher.data, "preparation": teacher.preparation, "reasons": reasons}
    )


def _of_name(teacher: Plan, name: str) -> Plan:
    from unetkit.planning.named import completed, find, fitted

    wanted, rank = find(name), teacher.data.input_rank
    if wanted.rank not in (0, rank):
        raise UsageError(f"'{name}' is for {wanted.rank} axes, the model has {rank}", cure="choose another")
    whole = teacher.network if wanted.whole is None else wanted.whole(rank)
    network: NetworkPlan = completed(whole, wanted.parts)
    sizes = {"patch_size": fitted(teacher.training.patch_size, network)}
    tile = fitted(teacher.inference.tile_size, network)
    training = teacher.training.model_copy(
        update={**sizes, "pretrained": "none", "freeze_blocks": 0, "unfreeze_share": 0.0, "layer_decay": 1.0}
    )
    kept = {key: why for key, why in teacher.reasons.items() if not key.startswith("network")}
    return teacher.model_copy(
        update={
            "network": network,
            "training": training,
            "inference": teacher.inference.model_copy(update={"tile_size": tile}),
            "reasons": {**kept, "network": wanted.why},
        }
    )


def _parameters(plan: Plan) -> int:
    from unetkit.planning.count import count

    data = plan.data
    return count(
        plan.network,
        rank=data.input_rank,
        in_channels=data.input_channels,
        classes=len(data.classes),
        patch=plan.training.patch_size,
    ).parameters
