"""``manifest.json`` of a run: versions, hashes, seed, device, command, times."""

from __future__ import annotations

from unetkit.records.saved import Saved


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
