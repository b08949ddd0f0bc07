"""``screen.json`` of a model folder: the first look that was measured for a model, ready to be asked for."""

from __future__ import annotations

from pathlib import Path

from unetkit.errors import DataError, UsageError
from unetkit.records.files import sha256, write_text
from unetkit.records.registered import NOTE
from unetkit.records.saved import Saved
from unetkit.workflows.screen import ScreenResult

SCREEN = "screen.json"
"""Its name."""

_SEAL = "model.json"
_KEYS = {"inference.screen_factor", "inference.screen_thresholds"}


class ScreenFile(Saved):
    """What ``unet screen --keep`` found.

    Args:
        model_sha256: Of ``model.json``: thresholds are those of one model.
        source: The data set it was measured on, as it was named.
        result: What was found; ``result.values`` is what turns it on.
    """

    version: int = 1
    model_sha256: str
    source: str
    result: ScreenResult


def refuse_kept(folder: Path) -> None:
    """Refuse a folder into which nothing may be written.

    Args:
        folder: The model folder.

    Raises:
        UsageError: It is a version of a registry.
    """
    if (folder / NOTE).is_file():
        raise UsageError(
            "a version of a registry never changes, and its first look is a part of it",
            cure="keep it in the run the version was added from, and add that as a new version",
            where=folder,
        )


def keep_screen(folder: Path, result: ScreenResult, *, source: str) -> Path:
    """Write what was found into the model folder.

    Args:
        folder: The model folder.
        result: What was found.
        source: On which data set, in words.

    Raises:
        UsageError: It is a version of a registry.
        ResourceError: The disk is full or may not be written.
    """
    refuse_kept(folder)
    file = ScreenFile(model_sha256=sha256(folder / _SEAL), source=source, result=result)
    write_text(folder / SCREEN, file.to_json())
    return folder / SCREEN


def kept_screen(folder: Path) -> dict[str, str]:
    """The values of the plan that turn on the first look that was kept.

    Args:
        folder: The model folder.

    Raises:
        UsageError: None was kept.
        DataError: It is that of another model, or damaged.
    """
    path = folder / SCREEN
    if not path.is_file():
        raise UsageError(
            "no first look was measured for this model",
            cure="measure it on labelled cases that the model never saw: unet screen MODEL DATA --keep",
            where=folder,
        )
    again = "measure it anew: unet screen MODEL DATA --keep"
    try:
        file = ScreenFile.from_json(path.read_bytes(), where=path)
    except UsageError as wrong:
        raise DataError(wrong.problem, cure=again, where=path) from wrong
    if set(file.result.values) != _KEYS:
        raise DataError("this first look is not whole", cure=again, where=path)
    if file.model_sha256 != sha256(folder / _SEAL):
        raise DataError("this first look is that of another model (SHA-256 differs)", cure=again, where=path)
    return dict(file.result.values)
