"""The stages of a compression: each makes a smaller model of a model, and the next goes on from there."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, Protocol

from unetkit.errors import PreemptedError
from unetkit.networks.store import read_plan
from unetkit.records.case import Case
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.spatial.slices import Slices
from unetkit.workflows.train import TrainedRun, Wishes, train

if TYPE_CHECKING:
    import torch

    from unetkit.data.patches import Batch

CASES, BATCHES = 32, 8
"""Training cases, and batches of their patches, that a stage looks at before it decides what goes."""


class Stage(Protocol):
    """Makes a smaller model of a model; a frozen dataclass of what was asked for."""

    @property
    def words(self) -> str:
        """What it does, for a title: ``50% of the channels cut``."""
        ...

    @property
    def asked(self) -> dict[str, Any]:
        """What was asked for, as JSON values: other values start the work anew."""
        ...

    @property
    def trainings(self) -> int:
        """How often it trains at most; the time budget is shared out among all trainings."""
        ...

    def planned(self, plan: Plan) -> Plan:
        """The plan of what it would make of a model with this plan.

        Raises:
            UsageError: It cannot be done to such a model.
        """
        ...

    def work(self, chain: Chain, model: Path) -> TrainedRun | None:
        """Do it, or go on with it; everything lies in ``chain.folder``.

        Returns:
            The last training; None where nothing had to be done.

        Raises:
            PreemptedError: It was asked to stop; what was done is kept.
        """
        ...


@dataclass(frozen=True)
class Chain:
    """What every stage works with.

    Args:
        first: Folder of the model that is there.
        source: The data set.
        folder: Where everything lies until the gate is passed.
        progress: Who watches.
        teachers: Models to learn from in every training; none: labels alone.
        minutes: Time budget of each training; 0 for the plan's own length.
        changes: Dotted key to a value of the plan, for every training.
        device: ``auto``, ``cpu``, ``cuda`` …
        done: Name → training that is finished, in order; filled by ``train``.
    """

    first: Path
    source: Path
    folder: Path
    progress: Progress
    teachers: tuple[Path, ...] = ()
    minutes: float = 0.0
    changes: Mapping[str, str] | None = field(default_factory=dict)
    device: str = "auto"
    done: dict[str, TrainedRun] = field(default_factory=dict)

    def train(self, name: str, plan: Plan, *, init: Path | None = None) -> TrainedRun:
        """Train, or go on training; a training that is finished is only read.

        Args:
            name: Of the run in ``folder``.
            plan: What to train.
            init: The model to start from; None: as the plan says.

        Raises:
            PreemptedError: It was asked to stop; what was done is kept.
        """
        try:
            self.done[name] = train(
                self.source,
                self.folder / name,
                progress=self.progress,
                plan=plan,
                init=init,
                minutes=self.minutes,
                changes=self.changes,
                device=self.device,
                resume=True,
                cache=self.cache,
                teachers=self.teachers,
            )
        except PreemptedError as stopped:
            raise type(stopped)(
                stopped.problem, cure="run the same command again to go on", where=self.folder
            ) from stopped
        return self.done[name]

    def batches(self, device: torch.device, count: int = BATCHES) -> list[Batch]:
        """Patches of training cases, neither augmented nor mixed; the same ones each time.

        Args:
            device: Where they are wanted.
            count: How many batches.
        """
        from unetkit.data.patches import Batches
        from unetkit.data.prepare import Cache

        plan = read_plan(self.first)
        cache = Cache(self.cache, plan.data, plan.preparation)
        made = Batches(
            [cache.get(case) for case in self._training_cases],
            plan.training,
            plan.augmentation.still,
            classes=len(plan.data.classes),
            device=device,
            slices=Slices.of(plan.data),
        )
        return [made.at(step) for step in range(count)]

    @property
    def cache(self) -> Path:
        """Where prepared samples lie, for all trainings of the chain."""
        return self.folder / "cache"

    @cached_property
    def _training_cases(self) -> Sequence[Case]:
        """Some of the cases that every training of the chain trains on."""
        from unetkit.workflows.fitting import spread
        from unetkit.workflows.readying import look

        wishes = Wishes(plan=read_plan(self.first), changes=self.changes)
        seen = look(self.source, wishes, progress=Quiet())
        return spread(tuple(seen.cases(seen.split.train)), CASES)
