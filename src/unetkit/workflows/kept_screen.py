"""``screen.json`` of a model folder: the first look that was measured for a model, ready to be asked for."""

from __future__ import annotations

from pathlib import Path

from unetkit.records.files import write_text
from unetkit.records.sealed import Sealed
from unetkit.workflows.screen import ScreenResult
from unetkit.workflows.sealed import Wording, read_sealed, refuse_registered, seal_of

SCREEN = "screen.json"
"""Its name."""

_KEYS = {"inference.screen_factor", "inference.screen_thresholds"}
_AGAIN = "measure it anew: unet screen MODEL DATA --keep"
_WORDS = Wording(
    name="first look",
    missing="no first look was measured for this model",
    first="measure it on labelled cases that the model never saw: unet screen MODEL DATA --keep",
    again=_AGAIN,
    other=_AGAIN,
    elsewhere="keep it in the run the version was added from, and add that as a new version",
)


class ScreenFile(Sealed):
    """What ``unet screen --keep`` found: thresholds are those of one model.

    Args:
        result: What was found; ``result.values`` is what turns it on.
    """

    result: ScreenResult


def refuse_kept(folder: Path) -> None:
    """Refuse a folder into which nothing may be written.

    Args:
        folder: The model folder.

    Raises:
        UsageError: It is a version of a registry.
    """
    refuse_registered(folder, _WORDS)


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
    file = ScreenFile(model_sha256=seal_of(folder), source=source, result=result)
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
    file = read_sealed(
        ScreenFile, folder / SCREEN, _WORDS, whole=lambda file: set(file.result.values) == _KEYS
    )
    return dict(file.result.values)
