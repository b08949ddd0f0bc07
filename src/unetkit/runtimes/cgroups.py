"""Control groups of Linux: what a container allows this process, whatever the machine has."""

from __future__ import annotations

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
