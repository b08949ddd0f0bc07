"""What a run was made of and made with: versions, hashes, seed, device, command, times."""

from __future__ import annotations

import datetime
import os
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unetkit.records.files import sha256, write_text
from unetkit.records.run import Run
from unetkit.records.saved import Saved

PACKAGES = ("unetkit", "torch", "numpy", "scipy", "safetensors", "nibabel", "tifffile", "pillow", "pydantic")


class Manifest(Saved):
    """``manifest.json`` of a run.

    Args:
        created: When the run ended, UTC, ISO 8601.
        command: The words of the command, or ``python`` when called from code.
        source: The data set as it was named.
        seed: Of every random number.
        device: What trained.
        threads: Threads used on the CPU.
        layout: Number format and memory format, as measured at the start.
        python: Version of Python.
        platform: Operating system and processor.
        packages: Package → version.
        data: Case id → SHA-256 of its pixels and label.
        files: File of the run → SHA-256.
        seconds: Stage → seconds it took.
        peak_memory_mb: Largest resident memory of the process, MB; 0 where the system does not tell.
    """

    version: int = 1
    created: str
    command: tuple[str, ...]
    source: str
    seed: int
    device: str
    threads: int
    layout: str
    python: str
    platform: str
    packages: dict[str, str]
    data: dict[str, str]
    files: dict[str, str]
    seconds: dict[str, float]
    peak_memory_mb: float = 0.0


def write_manifest(
    run: Run,
    *,
    source: Path,
    seed: int,
    device: str,
    layout: str,
    data: Mapping[str, str],
    seconds: Mapping[str, float],
) -> Manifest:
    """Hash what the run wrote and note what it was made with.

    Args:
        run: The finished run.
        source: The data set.
        seed: Of the training.
        device: What trained.
        layout: Number format and memory format.
        data: Case id → hash of its content.
        seconds: Stage → seconds.
    """
    kept = [run.plan, run.fingerprint, run.split, run.start, *sorted(run.model.glob("*"))]
    manifest = Manifest(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=("unet", *sys.argv[1:]) if Path(sys.argv[0]).name in ("unet", "__main__.py") else ("python",),
        source=str(source),
        seed=seed,
        device=device,
        threads=thread_limit(),
        layout=layout,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=package_versions(PACKAGES),
        data=dict(data),
        files={str(path.relative_to(run.folder)): sha256(path) for path in kept if path.is_file()},
        seconds={name: round(value, 1) for name, value in seconds.items()},
        peak_memory_mb=peak_memory_mb(),
    )
    write_text(run.manifest, manifest.to_json())
    return manifest


def package_versions(names: tuple[str, ...]) -> dict[str, str]:
    """Installed versions, read without importing anything; a package that is absent is left out."""
    found: dict[str, str] = {}
    for name in names:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found


def thread_limit() -> int:
    """Processors this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


def peak_memory_mb() -> float:
    """Largest resident memory so far, MB; 0 where the system does not tell."""
    try:
        import resource
    except ImportError:
        return 0.0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return round(peak / (2**20 if sys.platform == "darwin" else 2**10), 1)
