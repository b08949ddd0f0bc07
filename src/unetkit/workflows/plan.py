"""``plan``: from a data set to every decision about its training, each with its reason."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect, raise_if_refused
from unetkit.planning import rules
from unetkit.planning.measure import measure
from unetkit.records.files import write_text
from unetkit.records.fingerprint import Fingerprint
from unetkit.records.plan import DataPlan, Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved


class PlanResult(Saved):
    """A plan and what it was made from.

    Args:
        plan: The plan.
        fingerprint: What the data is.
        path: Where the plan was written, None when it was not.
    """

    plan: Plan
    fingerprint: Fingerprint
    path: Path | None = None


def decide(
    fingerprint: Fingerprint, data: DataPlan, *, minutes: float, memory_gb: float, device: str
) -> Plan:
    """Make a plan for this data on this machine; the machine's speed is measured for about a second.

    Args:
        fingerprint: What the data is.
        data: Rank, channels and classes.
        minutes: Time budget, 0 for none.
        memory_gb: Memory budget, 0 for none.
        device: Whose speed counts.
    """
    from unetkit.planning.rate import measure_rate

    cost = measure_rate(device, rank=data.rank)
    return rules.plan(fingerprint, data, minutes=minutes, memory_gb=memory_gb, cost=cost)


def plan(
    source: str | Path,
    *,
    minutes: float = 0.0,
    memory_gb: float = 0.0,
    changes: Mapping[str, str] | None = None,
    device: str = "auto",
    out: str | Path | None = None,
    progress: Progress | None = None,
) -> PlanResult:
    """Decide everything about one training.

    Args:
        source: The data set.
        minutes: Time budget of the training, 0 for none.
        memory_gb: Memory budget, 0 for none.
        changes: Dotted key to a value, as ``--set`` takes them.
        device: Whose speed counts.
        out: Also write the plan there.
        progress: Who watches.

    Raises:
        DataError: The data set is refused.
        UsageError: A key of ``changes`` is unknown or a value does not fit.
    """
    watch = progress or Quiet()
    inspection = inspect(find_cases(Path(source)), progress=watch)
    raise_if_refused(inspection)
    fingerprint = measure(inspection)
    assert inspection.data is not None  # refused otherwise
    made = decide(fingerprint, inspection.data, minutes=minutes, memory_gb=memory_gb, device=device)
    made = made.with_values(changes or {})
    if out is not None:
        write_text(Path(out), made.to_json())
    return PlanResult(plan=made, fingerprint=fingerprint, path=None if out is None else Path(out))
