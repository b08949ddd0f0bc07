"""Where a model lies: the folder itself, the one inside a run, or the live one of a registry."""

from __future__ import annotations

from pathlib import Path

from unetkit.errors import UsageError
from unetkit.records.registered import LIVE, live_folder
from unetkit.records.run import Run


def model_folder(folder: str | Path) -> Path:
    """The model folder that a person means: itself, the one inside a run, or the live one of a registry.

    What is live is asked once: a promotion meanwhile changes nothing for whoever has been answered.

    Raises:
        UsageError: There is no model.
    """
    path = Path(folder)
    if (path / LIVE).is_file():
        return live_folder(path)
    for candidate in (path, Run(path).model):
        if (candidate / "weights.safetensors").is_file() and (candidate / "plan.json").is_file():
            return candidate
    raise UsageError(
        "there is no model here (plan.json and weights.safetensors)",
        cure="name the folder that 'unet train --out' wrote, or the model folder in it",
        where=path,
    )


def is_model(folder: Path) -> bool:
    """Whether a folder is a model folder, a run that holds one, or a registry with a live one."""
    return (folder / LIVE).is_file() or any(
        (each / "weights.safetensors").is_file() for each in (folder, Run(folder).model)
    )
