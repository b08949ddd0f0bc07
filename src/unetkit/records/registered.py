"""What a registry of models writes down: versions, what is live, and how a promotion was decided."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Literal

from pydantic import Field

from unetkit.records.chain import Link
from unetkit.records.saved import Saved

LIVE, LOG, VERSIONS, NOTE = "live.json", "log.jsonl", "versions", "registered.json"
"""Names inside a registry; ``registered.json`` lies in each version's folder."""

ADDED, GOLDEN, REFUSED, PROMOTED, ROLLED_BACK = "added", "golden", "refused", "promoted", "rolled_back"
"""Events of its log."""

Stage = Literal["candidate", "live", "retired"]


class LiveFile(Saved):
    """``live.json``: which version is live, and the line of the log that made it so.

    Args:
        number: The version.
        record: The hash of that line.
    """

    version: int = 1
    number: int
    record: str


class NoteFile(Saved):
    """``registered.json`` of a version: when it came.

    Args:
        number: The version.
        after: Hash of the log's last line at that time.
    """

    version: int = 1
    number: int
    after: str


class Version(Saved):
    """One model of a registry.

    Args:
        number: Counted from 1.
        stage: ``candidate`` (never live), ``live``, ``retired`` (was live).
        added: When, UTC.
        folder: Its model folder.
        parent: The version it was trained from, None where that is not in the registry or unknown.
        source: Where it was copied from.
        dice: Class, or ``mean``, to Dice on its own held-out cases; empty where it was not measured.
        data_sha256: Over the hashes of everything it was trained on; empty where its run is not there.
        files: File to SHA-256.
    """

    number: int
    stage: Stage
    added: str
    folder: str
    parent: int | None
    source: str
    dice: dict[str, float] = Field(default_factory=dict)
    data_sha256: str = ""
    files: dict[str, str] = Field(default_factory=dict)


class SetResult(Saved):
    """Two models on one golden set.

    Args:
        name: The set.
        must_find: Whether it is a list of objects to be found; its Dice decides nothing then.
        cases: Cases that both have a score for.
        groups: Their groups, which are the units of every test.
        live: Mean Dice of the live model, None where nothing is live.
        candidate: Mean Dice of the candidate.
        difference: Mean of candidate − live over cases.
        low: Lower end of its 95 % interval (groups resampled).
        high: Upper end.
        bound: Lower end of its one-sided 95 % interval, which decides; None with too few groups.
        needed: Groups that would show what the difference seems to be; None where these do, or none would.
        p_value: Of the two-sided Wilcoxon signed-rank test.
        missed_live: Objects that the live model missed entirely (cases with none of a class found, where
            objects were not told apart).
        missed_candidate: Those that the candidate missed.
        refused: Why this set does not let the candidate pass; empty where it does.
    """

    name: str
    must_find: bool = False
    cases: int
    groups: int = 0
    live: float | None
    candidate: float | None
    difference: float | None = None
    low: float | None = None
    high: float | None = None
    bound: float | None = None
    needed: int | None = None
    p_value: float | None = None
    missed_live: int = 0
    missed_candidate: int = 0
    refused: str = ""


class Decision(Saved):
    """Whether a candidate may go live, and why.

    Args:
        number: The candidate.
        live: The live version it was compared with, None where nothing was live.
        margin: Dice that a set's ``bound`` may lie below 0.
        sets: One per golden set.
        refused: Every reason against it; empty: it passes.
    """

    number: int
    live: int | None
    margin: float
    sets: tuple[SetResult, ...]
    refused: tuple[str, ...]


class Verified(Saved):
    """A registry that was found whole.

    Args:
        versions: How many models.
        lines: Lines of the log.
        head: Hash of the last one; keep it elsewhere, and ``--head`` finds a log that was cut or replaced.
        live: What is live.
        unfinished: What a killed command left; the next one that writes makes it good.
    """

    versions: int
    lines: int
    head: str
    live: int | None
    unfinished: tuple[str, ...] = ()


class Published(Saved):
    """A registry's versions in MLflow.

    Args:
        uri: Where.
        name: Of the registered model.
        live: The version that its alias ``live`` points to, by our number; None where nothing is live.
        versions: Our number to MLflow's.
    """

    uri: str
    name: str
    live: int | None
    versions: dict[int, str]


def version_folder(registry: Path, number: int) -> Path:
    """Where a version lies."""
    return registry / VERSIONS / f"{number:04d}"


def read_live(registry: Path) -> LiveFile | None:
    """What is live; None where nothing is.

    Raises:
        UsageError: The file cannot be read.
    """
    path = registry / LIVE
    return LiveFile.from_json(path.read_bytes(), where=path) if path.is_file() else None


def live_folder(registry: Path) -> Path:
    """The model folder of what is live; it never changes, and stays when another version goes live.

    Args:
        registry: With a ``live.json``.
    """
    live = read_live(registry)
    assert live is not None  # asked for registries that have one
    return version_folder(registry, live.number)


def numbers(links: Sequence[Link]) -> tuple[int, ...]:
    """Every version that was added."""
    return tuple(link.facts["version"] for link in links if link.event == ADDED)


def switches(links: Sequence[Link]) -> list[Link]:
    """Lines that made a version live."""
    return [link for link in links if link.event in (PROMOTED, ROLLED_BACK)]


def lives(links: Sequence[Link]) -> list[int]:
    """What was live before what, the live version last; a rollback takes the last one off."""
    stack: list[int] = []
    for link in switches(links):
        if link.event == ROLLED_BACK:
            stack.pop()
        else:
            stack.append(link.facts["version"])
    return stack


def stages(links: Sequence[Link]) -> dict[int, Stage]:
    """The stage of every version."""
    found: dict[int, Stage] = dict.fromkeys(numbers(links), "candidate")
    for link in switches(links):
        found[link.facts["version"]] = found[link.facts.get("instead_of", link.facts["version"])] = "retired"
    if stack := lives(links):
        found[stack[-1]] = "live"
    return found


def must_find_sources(links: Sequence[Link]) -> frozenset[str]:
    """The golden sets that are lists of objects to be found."""
    return frozenset(
        link.facts["source"] for link in links if link.event == GOLDEN and link.facts.get("must_find")
    )


def golden_digests(links: Sequence[Link]) -> dict[str, str]:
    """Every golden set that was named, and the hash of its cases."""
    return {link.facts["source"]: link.facts["contents"] for link in links if link.event == GOLDEN}
