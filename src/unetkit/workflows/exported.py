"""An exported model in the hand: read its folder, check that it is whole, run it; torch is never imported."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path
from typing import TypeVar

from unetkit.errors import DataError, ResourceError, UsageError
from unetkit.lookup import names, pick
from unetkit.records.exported import Exported
from unetkit.records.plan import Plan
from unetkit.records.saved import Saved
from unetkit.runtimes import RUNTIMES, FileRuntime

RECORD, PLAN = "model.json", "plan.json"
_ALSO_CALLED = {"torch": "pytorch"}
_RESTORE = "copy the exported folder anew from where it was made, or export the model again"

R = TypeVar("R", bound=Saved)


def file_runtime(name: str) -> type[FileRuntime]:
    """The row of ``RUNTIMES`` that runs files.

    Args:
        name: Its name.

    Raises:
        UsageError: There is no such runtime, or it runs no files.
    """
    name = _ALSO_CALLED.get(name, name)
    row = pick("runtime", RUNTIMES, name)
    if not hasattr(row, "export"):
        known = [other for other in names("runtime", RUNTIMES) if other != name]
        raise UsageError(
            f"the runtime '{name}' runs model folders as they are, there is nothing to export",
            cure=f"predict with the model folder itself, or export to one of: {', '.join(known)}",
        )
    return row


def read_exported(folder: Path) -> tuple[Exported, Plan]:
    """Read what an exported folder says of itself, and its plan; the network is not read.

    Args:
        folder: What ``unet export`` wrote.

    Raises:
        DataError: A file is missing, damaged or not the one that was written.
    """
    record = _record(Exported, folder / RECORD, _read(folder / RECORD))
    plan = _record(Plan, folder / PLAN, _whole(folder, PLAN, record.files))
    return record, plan


def open_exported(folder: Path, *, device: str = "auto") -> tuple[FileRuntime, Plan]:
    """Make an exported network ready.

    Args:
        folder: What ``unet export`` wrote.
        device: ``auto``, or the kind of device that its runtime computes on.

    Raises:
        DataError: A file is missing, damaged or not the one that was written.
        MissingPackageError: The runtime is not installed.
        ResourceError: Another device was asked for.
    """
    record, plan = read_exported(folder)
    try:
        runtime = file_runtime(record.runtime)
    except UsageError as wrong:
        raise type(wrong)(wrong.problem, cure=wrong.cure, where=folder / RECORD) from wrong
    if device not in ("auto", runtime.DEVICE):
        raise ResourceError(
            f"the runtime '{record.runtime}' computes on the {runtime.DEVICE}, '{device}' was asked for",
            cure="leave --device out, or predict with the model folder it was exported from",
            where=folder,
        )
    return runtime.load({name: _whole(folder, name, record.files) for name in runtime.FILES}), plan


def _whole(folder: Path, name: str, files: Mapping[str, str]) -> bytes:
    """The content of a file, after its hash was found to be the one that was written down."""
    content = _read(folder / name)
    if hashlib.sha256(content).hexdigest() != files.get(name):
        raise DataError(
            "this file is not the one that was exported (SHA-256 differs)", cure=_RESTORE, where=folder / name
        )
    return content


def _record(kind: type[R], path: Path, content: bytes) -> R:
    try:
        return kind.from_json(content, where=path)
    except UsageError as wrong:
        raise DataError(wrong.problem, cure=wrong.cure, where=wrong.where) from wrong


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise DataError(
            f"this exported model is not whole: it holds no {path.name}", cure=_RESTORE, where=path.parent
        ) from None
    except OSError as wrong:
        raise DataError(f"cannot read this file ({wrong.strerror})", cure=_RESTORE, where=path) from wrong
