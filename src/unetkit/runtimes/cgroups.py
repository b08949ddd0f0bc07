"""Control groups of Linux: what a container allows this process, whatever the machine has."""

from __future__ import annotations

import os
from pathlib import Path

CGROUPS = Path("/sys/fs/cgroup")
"""Where control groups are mounted."""

MEMBERSHIP = Path("/proc/self/cgroup")
"""The file that says to which groups this process belongs."""


def group_folders(controller: str, *, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> list[Path]:
    """Folders that may hold a limit for this process: its groups and every group above (versions 1 and 2).

    Args:
        controller: ``cpu`` or ``memory``.
        cgroups: Where control groups are mounted.
        membership: The file that says to which groups this process belongs.

    Returns:
        Folders; some may not exist.
    """
    try:
        rows = [line.split(":", 2) for line in membership.read_text().splitlines()]
    except OSError:
        rows = []
    folders = [cgroups, cgroups / controller]
    for row in rows:
        if len(row) != 3 or (row[1] and controller not in row[1].split(",")):
            continue
        for root in (cgroups / row[1], cgroups / controller) if row[1] else (cgroups, cgroups / "unified"):
            inner = root / row[2].strip("/")
            folders += [inner, *(above for above in inner.parents if above.is_relative_to(root))]
    return list(dict.fromkeys(folders))


def thread_count(*, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP) -> int:
    """How many threads this process may really use: affinity and the container's quota.

    Left alone, engines count the cores of the host; inside a container with a quota of 2 on a host of 64
    their threads then wait for one another.

    Args:
        cgroups: Where control groups are mounted.
        membership: The file that says to which groups this process belongs.

    Returns:
        At least 1; a quota of 1.5 cores counts as 1.

    Example:
        >>> thread_count() >= 1
        True
    """
    affinity = getattr(os, "sched_getaffinity", None)
    cores = len(affinity(0)) if affinity else os.cpu_count() or 1
    folders = group_folders("cpu", cgroups=cgroups, membership=membership)
    quotas = [quota for folder in folders if (quota := _quota(folder)) is not None]
    return max(1, int(min([float(cores), *quotas])))


def engine_threads() -> int:
    """Threads for an engine that asks nobody: ``thread_count``, or fewer where ``OMP_NUM_THREADS`` says so.

    Torch follows that variable by itself; what lies beside it should not take more.
    """
    asked = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    return min(thread_count(), int(asked)) if asked.isdecimal() and int(asked) else thread_count()


def _quota(folder: Path) -> float | None:
    """Cores a control group allows, None when it sets no limit."""
    try:
        if (folder / "cpu.max").is_file():
            quota, period = (folder / "cpu.max").read_text().split()[:2]
        else:
            quota = (folder / "cpu.cfs_quota_us").read_text().strip()
            period = (folder / "cpu.cfs_period_us").read_text().strip()
        cores = float(quota) / float(period)
    except (OSError, ValueError, ZeroDivisionError):
        return None  # no such file, or the word "max": no limit here
    return cores if cores > 0 else None
