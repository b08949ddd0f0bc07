"""``doctor``: one block about this machine, to read or to paste."""

from __future__ import annotations

import os
import platform
import re
import shutil
import sys
from importlib.metadata import PackageNotFoundError, requires, version
from importlib.util import find_spec
from pathlib import Path

from unetkit.data.formats import SUFFIXES
from unetkit.planning.capacity import free_memory
from unetkit.records.saved import Saved
from unetkit.workflows.manifest import PACKAGES, package_versions

LEAST_DISK_GB = 2.0
LEAST_MEMORY_GB = 2.0
_EXTRA = re.compile(r"(?P<package>[\w.-]+).*extra == [\"'](?P<extra>[\w.-]+)[\"']")
"""A requirement in the metadata of a package, such as ``pydicom>=3; extra == 'dicom'``."""


class DoctorResult(Saved):
    """What was found.

    Args:
        facts: Name → what it is.
        problems: What will or may fail, with the cure; empty when all is well.
    """

    facts: dict[str, str]
    problems: tuple[str, ...]


def doctor(*, full: bool = False) -> DoctorResult:
    """Look at the machine; without ``full`` nothing heavy is imported.

    Args:
        full: Also import torch and list devices.

    Example:
        >>> "Python" in doctor().facts
        True
    """
    facts = {
        "unetkit": _version("unetkit"),
        "Python": f"{platform.python_version()} ({sys.executable})",
        "system": f"{platform.system()} {platform.release()} {platform.machine()}",
        **{name: number for name, number in package_versions(PACKAGES).items() if name != "unetkit"},
        "processors": f"{_usable()} usable of {os.cpu_count()}",
        "OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS", "not set"),
    }
    problems: list[str] = []
    memory = free_memory()
    if memory is not None:
        free = memory / 1e9
        facts["free memory"] = f"{free:.1f} GB"
        if free < LEAST_MEMORY_GB:
            problems.append(f"only {free:.1f} GB of memory are free: train with --memory {free * 0.7:.1f}")
    disk = shutil.disk_usage(Path.cwd())
    facts["disk here"] = f"{disk.free / 1e9:.1f} GB free of {disk.total / 1e9:.1f} GB"
    if disk.free < LEAST_DISK_GB * 1e9:
        problems.append(
            f"only {disk.free / 1e9:.1f} GB are free on this disk: train with --out on another one"
        )
    facts["formats"] = " ".join(SUFFIXES)
    facts["compressed TIFF"] = (
        "JPEG, JPEG 2000, zstd …"
        if find_spec("imagecodecs")
        else "LZW and deflate only (pip install 'unetkit[tiff]' for more)"
    )
    facts |= _extras()
    if "torch" not in facts:
        problems.append("torch is not installed: pip install torch")
    elif full:
        facts |= _torch_facts()
    return DoctorResult(facts=facts, problems=tuple(problems))


def _extras() -> dict[str, str]:
    """What each extra of the package brings, and what of it is not installed."""
    try:
        needed = requires("unetkit") or []
    except PackageNotFoundError:
        return {}
    packages: dict[str, list[str]] = {}
    for row in needed:
        if found := _EXTRA.match(row):
            packages.setdefault(found["extra"], []).append(found["package"])
    facts = {}
    for extra, names in sorted(packages.items()):
        there = package_versions(tuple(names))
        lacking = [name for name in names if name not in there]
        have = ", ".join(f"{name} {number}" for name, number in there.items())
        lack = f"lacks {', '.join(lacking)} (pip install 'unetkit[{extra}]')" if lacking else ""
        facts[f"extra {extra}"] = "; ".join(filter(None, (have, lack)))
    return facts


def _usable() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def _version(name: str) -> str:
    try:
        return version(name)
    except PackageNotFoundError:
        return "not installed"


def _torch_facts() -> dict[str, str]:
    import torch

    from unetkit.runtimes.devices import keep_memory, thread_count

    facts = {
        "torch threads": f"{torch.get_num_threads()} (quota {thread_count()})",
        "memory switch": "set" if keep_memory() else "not available here",
        "CUDA": torch.version.cuda or "not in this build of torch",
    }
    for index in range(torch.cuda.device_count()):
        device = torch.cuda.get_device_properties(index)
        facts[f"cuda:{index}"] = f"{device.name}, {device.total_memory / 1e9:.0f} GB"
    return facts
