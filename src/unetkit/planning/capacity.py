"""How much memory a training step may take here: what is free, not what is built in."""

from __future__ import annotations

from pathlib import Path

from unetkit.runtimes.cgroups import CGROUPS, MEMBERSHIP, group_folders

_MEMINFO = Path("/proc/meminfo")
_STATUS = Path("/proc/self/status")
_UNKNOWN_GB = 4.0
_FLOOR_SHARE, _SHARE, _RESERVE_GB = 0.25, 0.9, 0.75


def default_memory_gb(device: str = "cpu") -> float:
    """Memory a training step may take on a device, GB (1e9 bytes).

    Nine tenths of what is free, less a reserve for the driver, the loader and the system.

    Args:
        device: ``cpu``, ``cuda``, ``cuda:1``, …

    Reference:
        BiaPy's budget: max(0.9 · memory - 0.75 GiB, 0.25 · memory).

    Example:
        >>> default_memory_gb("cpu") > 0
        True
    """
    free = _free_on_accelerator(device) if device.startswith("cuda") else free_memory()
    gb = _UNKNOWN_GB if free is None else free / 1e9
    return max(_SHARE * gb - _RESERVE_GB, _FLOOR_SHARE * gb)


def free_memory(
    *, meminfo: Path = _MEMINFO, cgroups: Path = CGROUPS, membership: Path = MEMBERSHIP
) -> int | None:
    """Bytes this process may still take: the machine's free memory or the container's, whichever is less.

    Args:
        meminfo: The kernel's account of memory.
        cgroups: Where control groups are mounted.
        membership: The file that says to which groups this process belongs.

    Returns:
        None where the system does not say (no Linux).
    """
    folders = group_folders("memory", cgroups=cgroups, membership=membership)
    rooms = [_available(meminfo), *map(_room, folders)]
    known = [room for room in rooms if room is not None]
    return max(0, min(known)) if known else None


def resident(key: str, *, status: Path = _STATUS) -> int | None:
    """Bytes of this process that are in memory, from the kernel's account of it.

    Args:
        key: ``VmRSS``: now; ``VmHWM``: at most so far, which begins anew with every program, while
            ``getrusage`` hands a child the peak of whoever started it.
        status: The account.

    Returns:
        None where the system keeps none (no Linux).
    """
    return _row(status, key)


def _available(meminfo: Path) -> int | None:
    return _row(meminfo, "MemAvailable")


def _row(account: Path, key: str) -> int | None:
    """Bytes of one row in kB."""
    try:
        rows = dict(line.split(":", 1) for line in account.read_text().splitlines() if ":" in line)
        return int(rows[key].split()[0]) * 1024
    except (OSError, KeyError, ValueError, IndexError):
        return None


def _room(folder: Path) -> int | None:
    """Bytes a control group has left, page cache counted as free; None when it sets no limit."""
    for limit_name, used_name, cache_key in (
        ("memory.max", "memory.current", "file"),
        ("memory.limit_in_bytes", "memory.usage_in_bytes", "total_cache"),
    ):
        try:
            limit = int((folder / limit_name).read_text())
            used = int((folder / used_name).read_text())
        except (OSError, ValueError):
            continue  # no such file, or the word "max": no limit here
        return limit - max(0, used - _cached(folder / "memory.stat", cache_key))
    return None


def _cached(stat: Path, key: str) -> int:
    try:
        rows = dict(line.split() for line in stat.read_text().splitlines())
        return int(rows[key])
    except (OSError, KeyError, ValueError):
        return 0


def _free_on_accelerator(device: str) -> int | None:
    import torch

    if not torch.cuda.is_available():
        return None
    return torch.cuda.mem_get_info(torch.device(device))[0]
