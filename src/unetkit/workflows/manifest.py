"""What a run was made of and made with: versions, hashes, seed, device, command, times."""

from __future__ import annotations

import datetime
import platform
import sys
from collections.abc import Mapping
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from unetkit.planning.capacity import resident
from unetkit.records.files import sha256, write_text
from unetkit.records.manifest import Manifest
from unetkit.records.run import Run

PACKAGES = ("unetkit", "torch", "numpy", "scipy", "safetensors", "nibabel", "tifffile", "pillow", "pydantic")


def write_manifest(
    run: Run,
    *,
    source: Path,
    seed: int,
    device: str,
    threads: int,
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
        threads: Threads used on the CPU.
        layout: Number format and memory format.
        data: Case id → hash of its content.
        seconds: Stage → seconds.
    """
    kept = [run.plan, run.fingerprint, run.split, run.start, run.previous, *sorted(run.model.rglob("*"))]
    manifest = Manifest(
        created=datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        command=("unet", *sys.argv[1:]) if Path(sys.argv[0]).name in ("unet", "__main__.py") else ("python",),
        source=str(source),
        seed=seed,
        device=device,
        threads=threads,
        layout=layout,
        python=platform.python_version(),
        platform=f"{platform.system()} {platform.machine()}",
        packages=package_versions(PACKAGES),
        data=dict(data),
        files={str(path.relative_to(run.folder)): sha256(path) for path in kept if path.is_file()},
        seconds={name: round(value, 1) for name, value in seconds.items()},
        peak_memory_mb=round(peak_memory() / 2**20, 1),
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


def peak_memory() -> int:
    """Largest resident memory of this process so far, bytes; 0 where the system does not tell."""
    if (peak := resident("VmHWM")) is not None:
        return peak
    try:
        import resource
    except ImportError:
        return 0
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak * (1 if sys.platform == "darwin" else 2**10)
