"""The folder of an ensemble: its own plan, and its members as copies, each known by its hashes."""

from __future__ import annotations

import platform
import shutil
from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.errors import DataError
from unetkit.inference.predict import Predictor
from unetkit.networks.card import model_card
from unetkit.networks.store import (
    CARD,
    PLAN,
    PREVIOUS,
    SCORES,
    SEAL,
    WEIGHTS,
    copy_previous,
    previous_folder,
    read_record,
    read_seal,
    sealed_plan,
)
from unetkit.records.ensemble import MEMBERS, EnsembleFile, Member
from unetkit.records.files import atomic_folder, sha256, write_text
from unetkit.records.plan import InferencePlan, Plan
from unetkit.records.scores import Scores
from unetkit.workflows.manifest import package_versions
from unetkit.workflows.seen import copy_seen

_PACKAGES = ("unetkit", "torch", "numpy", "safetensors")
_COPIED = (PLAN, WEIGHTS, SEAL)
_OWN = ("minimum_pixels", "largest_only")
_RESTORE = "copy the folder of the ensemble anew from where it was made, or put it together again"


@dataclass(frozen=True)
class EnsembleDescription:
    """What can be said of an ensemble without loading a weight.

    Args:
        file: Members, versions, facts.
        plan: Its own plan.
        scores: How good it was measured to be, None when it was not.
    """

    file: EnsembleFile
    plan: Plan
    scores: Scores | None


def write_ensemble(
    folder: Path,
    members: Sequence[tuple[str, Path]],
    plan: Plan,
    *,
    scores: Scores | None = None,
    facts: Mapping[str, str] | None = None,
) -> EnsembleFile:
    """Copy some models into one folder that predicts their mean; it appears whole or not at all.

    Args:
        folder: Where; one that is there makes way.
        members: The name of the run that each member comes from, and its model folder.
        plan: The ensemble's own plan.
        scores: How good it was measured to be.
        facts: What else belongs on the card, as label to text.

    Raises:
        DataError: A member is damaged.
        ResourceError: The disk is full or cannot be written; what was there is untouched.
    """
    facts = dict(facts or {})
    with atomic_folder(folder) as part:
        rows = tuple(_copy(run, source, part, number) for number, (run, source) in enumerate(members))
        write_text(part / PLAN, plan.to_json())
        write_text(part / CARD, model_card(plan, scores, facts))
        if scores is not None:
            write_text(part / SCORES, scores.to_json())
        file = EnsembleFile(
            members=rows,
            plan_sha256=sha256(part / PLAN),
            packages={"python": platform.python_version(), **package_versions(_PACKAGES)},
            facts=facts,
        )
        write_text(part / SEAL, file.to_json())
    return file


def _copy(run: str, source: Path, part: Path, number: int) -> Member:
    """One member's files, read once: what is hashed is what is written."""
    name = f"{MEMBERS}/{number}"
    (part / name).mkdir(parents=True)
    for file in _COPIED:
        shutil.copyfile(source / file, part / name / file)
    copy_seen(source, part / name)
    seal = read_seal(part / name)
    if (first := previous_folder(source)) is not None:
        copy_previous(first, part / name / PREVIOUS)
    digest = sha256(part / name / WEIGHTS)
    sealed_plan(part / name, seal.plan_sha256)
    if digest != seal.weights_sha256:
        raise DataError(
            "these weights are not the ones that were saved (SHA-256 differs)",
            cure="copy the model folder anew from where it was made, or train again",
            where=source / WEIGHTS,
        )
    return Member(
        folder=name,
        run=run,
        plan_sha256=seal.plan_sha256,
        weights_sha256=digest,
        weight_bytes=(part / name / WEIGHTS).stat().st_size,
        parameters=seal.parameters,
        previous_sha256=seal.previous_sha256,
    )


def read_ensemble(folder: Path) -> tuple[EnsembleFile, Plan]:
    """Read what an ensemble says of itself, and its plan; torch is not needed and no weight is read.

    Raises:
        DataError: A file is missing, damaged or not the one that was written, or a member is another one.
    """
    file = read_record(EnsembleFile, folder / SEAL)
    plan = sealed_plan(folder, file.plan_sha256)
    for member in file.members:
        seal = read_seal(folder / member.folder)
        found = (seal.plan_sha256, seal.weights_sha256, seal.previous_sha256)
        if found != (member.plan_sha256, member.weights_sha256, member.previous_sha256):
            raise DataError(
                f"expected the member with the weights {member.weights_sha256[:12]}…, "
                f"got one with {seal.weights_sha256[:12]}…",
                cure=_RESTORE,
                where=folder / member.folder,
            )
    return file, plan


def describe_ensemble(folder: Path) -> EnsembleDescription:
    """Say what an ensemble holds; torch is not needed, and no weight is read.

    Raises:
        DataError: As ``read_ensemble``.
    """
    file, plan = read_ensemble(folder)
    scores = read_record(Scores, folder / SCORES) if (folder / SCORES).is_file() else None
    return EnsembleDescription(file, plan, scores)


class Ready:
    """Makes one member's predictor ready; keeps it, or loads it anew for every image.

    What is done to the mean of all members is not done to a single one: objects are believed or not in the
    ensemble's answer. A random field, where the ensemble's plan asks for one, is each member's own.

    Args:
        load: Gives the member's predictor.
        inference: The ensemble's.
        keep: Whether to keep what was loaded.
        asked: Values of the inference that every member takes from the ensemble's, such as ``tile_size``.
    """

    def __init__(
        self,
        load: Callable[[], Predictor],
        inference: InferencePlan,
        *,
        keep: bool,
        asked: Collection[str] = (),
    ) -> None:
        self._load = load
        own = ("crf_", "guided_")
        fields = (key for key in InferencePlan.model_fields if key.startswith(own) or key in asked)
        self._update = {key: getattr(inference, key) for key in fields} | dict.fromkeys(_OWN, ())
        self._keep, self._asked = keep, frozenset(asked)
        self._kept: Predictor | None = None

    def __call__(self) -> Predictor:
        """The member's predictor."""
        if self._kept is not None:
            return self._kept
        found = self._load()
        inference = found.inference.model_copy(update=self._update)
        ready = found.with_inference(inference)
        if self._keep:
            self._kept = ready
        return ready

    def changed(self, inference: InferencePlan, asked: Collection[str]) -> Ready:
        """The same member, not loaded yet, that takes more values from the ensemble's inference.

        Args:
            inference: The ensemble's, with other values.
            asked: Which ones were asked for.
        """
        return Ready(self._load, inference, keep=self._keep, asked=self._asked | set(asked))
