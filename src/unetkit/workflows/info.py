"""``info``: what can be chosen, or what a model is; read from tables and headers, torch is never imported."""

from __future__ import annotations

from pathlib import Path

from unetkit.data.formats import FORMATS, SUFFIXES
from unetkit.inference.ensemble import BYTES_PER_SHARE
from unetkit.lookup import names
from unetkit.metrics import METRICS
from unetkit.networks.store import describe, previous_folder
from unetkit.records.plan import Plan
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores
from unetkit.workflows.ensemble_folder import describe_ensemble
from unetkit.workflows.exported import PLAN, read_exported
from unetkit.workflows.model_folder import is_ensemble, is_exported, model_folder

TABLES = {
    "encoder": "unetkit.networks.encoders:ENCODERS",
    "bottleneck": "unetkit.networks.bottlenecks:BOTTLENECKS",
    "fusion": "unetkit.networks.fusions:FUSIONS",
    "decoder": "unetkit.networks.decoders:DECODERS",
    "loss": "unetkit.losses:LOSSES",
    "objective": "unetkit.training.objective:OBJECTIVES",
    "optimizer": "unetkit.training.optimizer:OPTIMIZERS",
    "wrapper": "unetkit.training.objective:WRAPPERS",
    "runtime": "unetkit.runtimes:RUNTIMES",
    "dataset_kind": "unetkit.data.exchange:KINDS",
}
"""Tables of families that are open; most live in modules that need torch, so they are read as text."""


class InfoResult(Saved):
    """What can be chosen."""

    families: dict[str, tuple[str, ...]]
    suffixes: tuple[str, ...]


class ModelInfo(Saved):
    """What a model is.

    Args:
        folder: The model folder.
        plan: Its plan; of an ensemble that of its first member, with what is done to the mean.
        parameters: Numbers in its weights, of all members or of both stages of a cascade together.
        weights_mb: Size of these weights, or of the exported network, MB.
        facts: What its card says.
        packages: Versions it was made with.
        scores: Class → mean Dice on the cases it was measured on; empty when it was not.
        measured_on: What those cases were to it.
    """

    folder: Path
    plan: Plan
    parameters: int
    weights_mb: float
    facts: dict[str, str]
    packages: dict[str, str]
    scores: dict[str, float | None]
    measured_on: str


def info(model: str | Path | None = None) -> InfoResult | ModelInfo:
    """List every name a plan may use, or describe a model.

    Args:
        model: A model folder or a run; None for the lists.

    Raises:
        UsageError: There is no model in the folder.
        DataError: The folder was changed or is damaged.

    Example:
        >>> "unet" in info().families["decoder"]
        True
    """
    if model is not None:
        return _model(Path(model))
    families = {family: names(family, _table(place)) for family, place in TABLES.items()}
    families |= {"format": names("format", FORMATS), "metric": names("metric", METRICS)}
    return InfoResult(families=families, suffixes=tuple(SUFFIXES))


def _table(place: str) -> dict[str, str]:
    """A table of strings, read from its file's syntax tree: importing the module would import torch."""
    import ast
    from importlib.util import find_spec

    module, _, wanted = place.partition(":")
    folder = Path(find_spec("unetkit").origin or "").parent  # pyright: ignore[reportOptionalMemberAccess]
    path = folder.joinpath(*module.split(".")[1:])
    file = path / "__init__.py" if path.is_dir() else path.with_suffix(".py")
    for node in ast.parse(file.read_text(encoding="utf-8")).body:
        targets = node.targets if isinstance(node, ast.Assign) else [getattr(node, "target", None)]
        if any(isinstance(target, ast.Name) and target.id == wanted for target in targets):
            value = getattr(node, "value", None)
            if isinstance(value, ast.Dict):
                keys = [key.value for key in value.keys if isinstance(key, ast.Constant)]
                return {str(key): "" for key in keys}
    return {}


def _model(folder: Path) -> ModelInfo:
    place = model_folder(folder)
    if is_exported(place):
        return _exported(place)
    if is_ensemble(place):
        return _ensemble(place)
    found = describe(place)
    first = previous_folder(place)
    stages = [found] if first is None else [describe(first), found]
    return ModelInfo(
        folder=place,
        plan=found.plan,
        parameters=sum(each.seal.parameters for each in stages),
        weights_mb=round(sum(each.weight_bytes for each in stages) / 1e6, 3),
        facts=found.seal.facts,
        packages=found.seal.packages,
        scores=_dice(found.scores),
        measured_on=found.scores.split if found.scores else "",
    )


def _dice(scores: Scores | None) -> dict[str, float | None]:
    return {name: row["dice"].mean for name, row in scores.summary.items() if "dice" in row} if scores else {}


def _ensemble(place: Path) -> ModelInfo:
    found = describe_ensemble(place)
    members = found.file.members
    listed = ", ".join(f"{one.run or one.folder} ({one.weights_sha256[:12]})" for one in members)
    return ModelInfo(
        folder=place,
        plan=found.plan,
        parameters=sum(one.parameters for one in members),
        weights_mb=round(sum(one.weight_bytes for one in members) / 1e6, 3),
        facts={
            **found.file.facts,
            "members": f"{len(members)}: {listed}",
            "memory": "all members while they fit a quarter of what is free, else one at a time; and "
            f"{BYTES_PER_SHARE * len(found.plan.data.classes)} bytes per pixel of an image",
        },
        packages=found.file.packages,
        scores=_dice(found.scores),
        measured_on=found.scores.split if found.scores else "",
    )


def _exported(place: Path) -> ModelInfo:
    record, plan = read_exported(place)
    size = sum((place / name).stat().st_size for name in record.files if name != PLAN)
    return ModelInfo(
        folder=place,
        plan=plan,
        parameters=record.parameters,
        weights_mb=round(size / 1e6, 3),
        facts={**record.facts, "exported for": record.runtime},
        packages=record.packages,
        scores=record.dice,
        measured_on=record.measured_on,
    )
