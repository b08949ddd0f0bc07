"""``plan``: from a data set to every decision about its training, each with its reason."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Unpack

from unetkit.planning import rules
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.train import PlanSettings, Wishes

if TYPE_CHECKING:
    from unetkit.planning.named import Wanted


class PlanResult(Saved):
    """A plan and what it was made from.

    Args:
        plan: The plan.
        fingerprint: What the training cases are.
        path: Where the plan was written, None when it was not.
    """

    plan: Plan
    fingerprint: Fingerprint
    path: Path | None = None


def decide(
    fingerprint: Fingerprint,
    data: DataPlan,
    *,
    minutes: float,
    memory_gb: float,
    device: str,
    wanted: Wanted | None = None,
    spacing_mm: Sequence[float] = (),
) -> Plan:
    """Make a plan for this data on this machine; the machine's speed is measured for about a second.

    Args:
        fingerprint: What the training cases are.
        data: Rank, channels and classes.
        minutes: Time budget, 0 for none.
        memory_gb: Memory budget, 0 for none.
        device: Whose speed counts.
        wanted: The network that was asked for; None for the planner's own.
        spacing_mm: The spacing that was asked for; empty: by the rules.
    """
    from unetkit.planning.rate import measure_rate

    cost = measure_rate(device, rank=data.input_rank)
    return rules.plan(
        fingerprint,
        data,
        minutes=minutes,
        memory_gb=memory_gb,
        device=device,
        cost=cost,
        wanted=wanted,
        spacing_mm=spacing_mm,
    )


def plan(
    source: str | Path,
    *,
    out: str | Path | None = None,
    progress: Progress | None = None,
    **settings: Unpack[PlanSettings],
) -> PlanResult:
    """Decide everything about one training.

    The data is split as ``train`` splits it and only the training cases are measured: nothing in a plan
    comes from a case on which the model is scored. Memory is counted; ``train`` also makes a real step.

    Args:
        source: The data set.
        out: Also write the plan there.
        progress: Who watches.
        settings: See ``PlanSettings``.

    Raises:
        DataError: The data set is refused.
        UsageError: A setting is wrong, a key of ``changes`` is unknown or a value does not fit.
        ResourceError: Not even the smallest patch fits into the memory.
    """
    from unetkit.workflows.readying import fitted, look

    wishes, watch = Wishes.of(settings, verb="plan"), progress or Quiet()
    seen = look(Path(source), wishes, progress=watch)
    made = fitted(seen.plan, wishes, progress=watch, step=False)
    if out is not None:
        write_text(Path(out), made.to_json())
    return PlanResult(plan=made, fingerprint=seen.fingerprint, path=None if out is None else Path(out))
