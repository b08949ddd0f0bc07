"""Where a model lies: the folder itself, or the one inside a run."""

from __future__ import annotations

from pathlib import Path

from unetkit.errors import UsageError
from unetkit.records.run import Run


def model_folder(folder: str | Path) -> Path:
    """The model folder that a person means: itself, or the one inside a run.

    Raises:
        UsageError: There is no model.
    """
    path = Path(folder)
    for candidate in (path, Run(path).model):
        if (candidate / "weights.safetensors").is_file() and (candidate / "plan.json").is_file():
            return candidate
    raise UsageError(
        "there is no model here (plan.json and weights.safetensors)",
        cure="name the folder that 'unet train --out' wrote, or the model folder in it",
        where=path,
    )


def is_model(folder: Path) -> bool:
    """Whether a folder is a model folder or a run that holds one."""
    return any((each / "weights.safetensors").is_file() for each in (folder, Run(folder).model))
