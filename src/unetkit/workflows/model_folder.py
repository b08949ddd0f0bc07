"""Where a model lies: itself, in a run, or the live one of a registry; trained, exported, or several."""

from __future__ import annotations

from pathlib import Path

from unetkit.errors import UsageError
from unetkit.networks.store import PREVIOUS
from unetkit.records.ensemble import MEMBERS
from unetkit.records.registered import LIVE, LOG, VERSIONS, live_folder
from unetkit.records.run import Run


def model_folder(folder: str | Path) -> Path:
    """The model folder that a person means: itself, the one inside a run, or the live one of a registry.

    It may be an exported one, or an ensemble. What is live is asked once: a promotion meanwhile changes
    nothing for whoever has been answered.

    Raises:
        UsageError: There is no model.
    """
    path = Path(folder)
    if (path / LIVE).is_file():
        return live_folder(path)
    if _is_registry(path):
        raise UsageError(
            "no version of this registry is live yet",
            cure=f"see 'unet registry list {path}', then: unet registry promote {path} NUMBER --golden DATA",
            where=path,
        )
    for candidate in (path, Run(path).model):
        if _is_trained(candidate) or is_exported(candidate) or is_ensemble(candidate):
            return candidate
    raise UsageError(
        "there is no model here (plan.json and weights.safetensors)",
        cure="name the folder that 'unet train --out' wrote, or the model folder in it",
        where=path,
    )


def trained_folder(folder: str | Path) -> Path:
    """The model folder that a person means, with the weights of one network to go on with.

    Raises:
        UsageError: There is no model, only an exported one, an ensemble, or a cascade.
    """
    path = model_folder(folder)
    if is_ensemble(path):
        raise several(path)
    if (path / PREVIOUS).is_dir():
        raise UsageError(
            "this model is a cascade of two networks, and this needs a single one",
            cure=f"predict, evaluate and monitor take it; name another model, or its first stage alone: "
            f"{path / PREVIOUS}",
            where=path,
        )
    if not _is_trained(path):
        raise UsageError(
            "this model was exported: it predicts, and holds no weights to go on with",
            cure="name the model folder it was exported from",
            where=path,
        )
    return path


def several(folder: Path) -> UsageError:
    """The error where an ensemble was named and a single network is needed.

    Args:
        folder: The ensemble's.
    """
    return UsageError(
        "this model is an ensemble, and this needs a single network",
        cure=f"name one of its members, such as {folder / MEMBERS / '0'}",
        where=folder,
    )


def is_model(folder: Path) -> bool:
    """Whether a folder is a model folder, a run that holds one, or a registry."""
    return (
        (folder / LIVE).is_file()
        or _is_registry(folder)
        or any(
            (each / "weights.safetensors").is_file() or is_exported(each) or is_ensemble(each)
            for each in (folder, Run(folder).model)
        )
    )


def is_exported(folder: Path) -> bool:
    """Whether a folder is what ``unet export`` wrote: a plan and a network without weights of its own."""
    files = ("model.json", "plan.json")
    return all((folder / name).is_file() for name in files) and not _is_trained(folder) and _networks(folder)


def is_ensemble(folder: Path) -> bool:
    """Whether a folder is what ``unet ensemble`` wrote: a plan, and networks that answer together."""
    return (folder / MEMBERS).is_dir() and all(
        (folder / name).is_file() for name in ("model.json", "plan.json")
    )


def engine_folder(run: Path) -> Path | None:
    """The exported model inside a run, which ``compress`` puts there where a network counts in eight bits.

    It is the one to predict with: torch only plays through what it would answer.

    Args:
        run: The run's folder.
    """
    inside = sorted(run.iterdir()) if run.is_dir() else []
    return next((each for each in inside if each.is_dir() and is_exported(each)), None)


def _is_registry(folder: Path) -> bool:
    return (folder / LOG).is_file() and (folder / VERSIONS).is_dir()


def _is_trained(folder: Path) -> bool:
    return (folder / "weights.safetensors").is_file() and (folder / "plan.json").is_file()


def _networks(folder: Path) -> bool:
    return any(path.is_file() for path in folder.glob("network.*"))
