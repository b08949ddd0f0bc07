"""The model folder: a plan, weights, scores, a card, and a seal that says all of it is whole."""

from __future__ import annotations

import hashlib
import platform
import shutil
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

from pydantic import Field

from unetkit.errors import DataError, UsageError
from unetkit.networks.card import model_card
from unetkit.records.files import atomic, atomic_folder, sha256
from unetkit.records.plan import Plan
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores

if TYPE_CHECKING:
    from torch import Tensor, nn

    from unetkit.networks.unet import UNet

PLAN, WEIGHTS, SCORES, CARD, SEAL = (
    "plan.json",
    "weights.safetensors",
    "scores.json",
    "model_card.md",
    "model.json",
)
PREVIOUS = "previous"
"""Where the first stage of a cascade lies in the folder of the second: a model folder of its own."""
_COPIED = (PLAN, WEIGHTS, SEAL, SCORES, CARD)
_PACKAGES = ("unetkit", "torch", "numpy", "safetensors")
_RESTORE = "copy the model folder anew from where it was made, or train again"


R = TypeVar("R", bound=Saved)


class Seal(Saved):
    """What makes a folder a model: the hashes of its parts, and where they come from.

    Args:
        plan_sha256: Of ``plan.json``.
        weights_sha256: Of ``weights.safetensors``.
        parameters: Number of learned values.
        packages: Package (or ``python``) to version, at the time of saving.
        facts: What else is worth knowing, as label to text.
        previous_sha256: Of the ``model.json`` of the first stage, where this is the second one of a cascade.
    """

    version: int = 1
    plan_sha256: str
    weights_sha256: str
    parameters: int
    previous_sha256: str = ""
    packages: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, str] = Field(default_factory=dict)


@dataclass(frozen=True)
class Description:
    """What can be said of a model folder without loading its weights.

    Args:
        plan: The plan.
        scores: The scores, None when it was not measured.
        seal: Hashes, versions, facts.
        weight_bytes: Size of the weights file.
    """

    plan: Plan
    scores: Scores | None
    seal: Seal
    weight_bytes: int


def save_model(
    folder: Path,
    network: nn.Module,
    plan: Plan,
    *,
    scores: Scores | None = None,
    facts: Mapping[str, str] | None = None,
    previous: Path | None = None,
) -> None:
    """Write a model folder; every file is written whole before the first one takes its place.

    Args:
        folder: Where; made when missing.
        network: The network the plan describes.
        plan: The plan.
        scores: How good it was measured to be.
        facts: What else belongs on the card, as label to text.
        previous: Model folder of the first stage of a cascade, which is copied; None where there is none.

    Raises:
        UsageError: The plan is that of a second stage, and there is no first one, or the other way round.
        DataError: The first stage is damaged.
        ResourceError: The disk is full or the folder cannot be written; a model that was there is untouched.
    """
    import safetensors.torch

    if (plan.data.cascade == "full") != (previous is not None):
        raise UsageError(
            f"data.cascade is {plan.data.cascade}, and {'no' if previous is None else 'a'} first stage comes "
            "with it",
            cure="give the first stage of a cascade with its second one, and only there",
        )

    state = {name: value.detach().cpu().contiguous() for name, value in network.state_dict().items()}
    plan_bytes, weights = plan.to_json().encode(), safetensors.torch.save(state)
    facts = dict(facts or {})
    seal = Seal(
        plan_sha256=hashlib.sha256(plan_bytes).hexdigest(),
        weights_sha256=hashlib.sha256(weights).hexdigest(),
        parameters=sum(value.numel() for value in network.parameters()),
        packages=_versions(),
        facts=facts,
        previous_sha256="" if previous is None else copy_previous(previous, folder / PREVIOUS),
    )
    files = {SEAL: seal.to_json().encode(), CARD: model_card(plan, scores, facts).encode(), PLAN: plan_bytes}
    if scores is not None:
        files[SCORES] = scores.to_json().encode()
    files[WEIGHTS] = weights
    with ExitStack() as stack:  # entered in this order, so the seal takes its place last
        for name, content in files.items():
            file = stack.enter_context(atomic(folder / name))
            file.write(content)
            file.flush()
    if scores is None:
        (folder / SCORES).unlink(missing_ok=True)


def copy_previous(source: Path, target: Path) -> str:
    """Copy the first stage of a cascade into the folder of the second one, whole or not at all.

    Args:
        source: Its model folder.
        target: Where it goes.

    Returns:
        What names it: the SHA-256 of its ``model.json``.

    Raises:
        DataError: It is damaged.
        ResourceError: The disk is full or the folder cannot be written.
    """
    with atomic_folder(target) as part:
        for name in _COPIED:
            if (source / name).is_file():
                shutil.copyfile(source / name, part / name)
        read_model(part)  # what was hashed is what is written
        return sha256(part / SEAL)


def previous_folder(folder: Path) -> Path | None:
    """The first stage of a cascade, when it is the one the second stage was trained with.

    Args:
        folder: Of the second stage.

    Returns:
        Its model folder; None for a model that is alone.

    Raises:
        DataError: It is missing, or another one.
    """
    digest = read_seal(folder).previous_sha256
    if not digest:
        return None
    path = folder / PREVIOUS / SEAL
    if not path.is_file() or sha256(path) != digest:
        raise DataError(
            "the first stage of this cascade is missing or not the one that was saved (SHA-256 differs)",
            cure=_RESTORE,
            where=folder / PREVIOUS,
        )
    return path.parent


def read_plan(folder: Path) -> Plan:
    """Read the plan of a model folder; torch is not needed.

    Raises:
        DataError: The folder is not a model, or its plan was changed or cannot be read.
    """
    return sealed_plan(folder, read_seal(folder).plan_sha256)


def describe(folder: Path) -> Description:
    """Say what a model folder holds; torch is not needed, and the weights are not read.

    Raises:
        DataError: The folder is not a model, or a part of it was changed or cannot be read.
    """
    seal = read_seal(folder)
    plan = sealed_plan(folder, seal.plan_sha256)
    scores = read_record(Scores, folder / SCORES) if (folder / SCORES).exists() else None
    weights = folder / WEIGHTS
    if not weights.is_file():
        raise _missing(weights)
    return Description(plan, scores, seal, weights.stat().st_size)


def read_model(folder: Path) -> tuple[dict[str, Tensor], Plan]:
    """Read the weights of a model folder as they are, without a network, and its plan.

    Raises:
        DataError: The folder is not a model, or a part of it was changed or cannot be read.
    """
    seal = read_seal(folder)
    plan = sealed_plan(folder, seal.plan_sha256)
    return _weights(folder / WEIGHTS, seal), plan


def load_model(folder: Path, *, prune_level: int = 0) -> tuple[UNet, Plan]:
    """Load a model folder, on the CPU.

    Nothing in it can run code, and nothing larger than its weights is allocated.

    Args:
        folder: What ``save_model`` wrote.
        prune_level: Levels of a nested decoder to keep, see ``prune.pruned``; 0 for all.

    Returns:
        The network in eval mode, and its plan.

    Raises:
        DataError: The folder is not a model, was changed after saving, or its plan and weights do not fit.
        UsageError: The model cannot be pruned to that level.
    """
    import torch

    from unetkit.networks.prune import pruned
    from unetkit.networks.unet import build

    state, plan = read_model(folder)
    data = plan.data
    try:
        with torch.device("meta"):  # shapes only: the memory is the file's
            network = build(
                plan.network, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes)
            )
    except UsageError as wrong:
        raise DataError(wrong.problem, cure=wrong.cure, where=folder / PLAN) from wrong
    _compare(network.state_dict(), state, where=folder / WEIGHTS)
    network.load_state_dict(state, assign=True)
    if prune_level:
        network = pruned(network, prune_level)
        plan = plan.model_copy(update={"network": network.plan})
    return network.eval(), plan


def _compare(wanted: Mapping[str, Tensor], got: Mapping[str, Tensor], *, where: Path) -> None:
    """Refuse weights that are not the planned network's, naming the first that differs."""
    cure = "use the plan and the weights of one and the same model"
    for name, tensor in wanted.items():
        if name not in got:
            raise DataError(
                f"the weights lack '{name}', which the plan's network has", cure=cure, where=where
            )
        for kind, mine, theirs in (
            ("shape", list(tensor.shape), list(got[name].shape)),
            ("type", tensor.dtype, got[name].dtype),
        ):
            if mine != theirs:
                problem = f"the weights' '{name}' has {kind} {theirs}, the plan's network expects {mine}"
                raise DataError(problem, cure=cure, where=where)
    for name in got:
        if name not in wanted:
            raise DataError(
                f"the weights hold '{name}', which the plan's network lacks", cure=cure, where=where
            )


def _weights(path: Path, seal: Seal) -> dict[str, Tensor]:
    import safetensors
    import safetensors.torch

    content = _read(path)
    if hashlib.sha256(content).hexdigest() != seal.weights_sha256:
        raise DataError(
            "these weights are not the ones that were saved (SHA-256 differs)", cure=_RESTORE, where=path
        )
    try:
        return safetensors.torch.load(content)
    except safetensors.SafetensorError as wrong:
        raise DataError(f"not a safetensors file ({wrong})", cure=_RESTORE, where=path) from wrong


def read_seal(folder: Path) -> Seal:
    """What makes a folder a model.

    Raises:
        DataError: The folder is not there, or is no model.
    """
    if not folder.is_dir():
        raise DataError(
            "there is no such model folder", cure="name a folder that unet train wrote", where=folder
        )
    return read_record(Seal, folder / SEAL)


def sealed_plan(folder: Path, digest: str) -> Plan:
    """The plan in a folder, when it is the one that was saved.

    Args:
        folder: Of a model.
        digest: The SHA-256 that was written down.

    Raises:
        DataError: It is missing or was changed.
    """
    content = _read(folder / PLAN)
    if hashlib.sha256(content).hexdigest() != digest:
        raise DataError(
            "this plan is not the one that was saved (SHA-256 differs)", cure=_RESTORE, where=folder / PLAN
        )
    return read_record(Plan, folder / PLAN, content)


def read_record(kind: type[R], path: Path, content: bytes | None = None) -> R:
    """A saved record; whatever is wrong with it is the folder's fault, not the user's words'.

    Args:
        kind: Which record.
        path: Its file.
        content: What is in it, where that was read already.

    Raises:
        DataError: The file is missing or no such record.
    """
    try:
        return kind.from_json(_read(path) if content is None else content, where=path)
    except UsageError as wrong:
        raise DataError(wrong.problem, cure=wrong.cure, where=wrong.where) from wrong


def _read(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except FileNotFoundError:
        raise _missing(path) from None
    except OSError as wrong:
        raise DataError(f"cannot read this file ({wrong.strerror})", cure=_RESTORE, where=path) from wrong


def _missing(path: Path) -> DataError:
    return DataError(
        f"not a model folder: it holds no {path.name}",
        cure="name a folder that unet train wrote",
        where=path.parent,
    )


def _versions() -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in _PACKAGES:
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
