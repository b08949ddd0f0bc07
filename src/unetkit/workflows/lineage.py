"""Where a version of a registry is from: the version it was trained from, and every image it has learned."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence
from pathlib import Path

from unetkit.records.chain import Link
from unetkit.records.registered import ADDED, NOTE, NoteFile, version_folder
from unetkit.records.run import Run
from unetkit.records.split import SplitFile
from unetkit.workflows.starting import read_start

SHOWN = 16
"""Characters of a hash that are kept of each image: enough to know it again."""


def parent_of(run: Run, links: Sequence[Link]) -> int | None:
    """The version whose weights a run started from; None where it is not in the registry.

    Args:
        run: The run that made a model.
        links: The registry's log.
    """
    start = read_start(run)
    if start is None:
        return None
    for link in links:
        weights = link.facts.get("files", {}).get("weights.safetensors")
        if link.event == ADDED and weights == start.weights_sha256:
            return int(link.facts["version"])
    return None


def data_digest(run: Run) -> str:
    """One hash over everything a run was trained on; empty where the run is not there."""
    split = _split(run)
    if split is None:
        return ""
    return digest_of({id: f"{split.digests.get(id)} {split.label_digests.get(id)}" for id in split.train})


def learned_images(run: Run, registry: Path, parent: int | None) -> tuple[str, ...]:
    """The hash of every image that a model was trained on, by itself or as the version it started from.

    Args:
        run: The run that made it.
        registry: Its folder.
        parent: The version it started from.
    """
    split = _split(run)
    found = (
        set() if split is None else {split.digests[id][:SHOWN] for id in split.train if id in split.digests}
    )
    return tuple(
        sorted(found.union(() if parent is None else known_images(version_folder(registry, parent))))
    )


def known_images(folder: Path) -> frozenset[str]:
    """The hashes that a version's folder keeps of the images it has learned; none for any other folder.

    Args:
        folder: A model folder.
    """
    note = folder / NOTE
    if not note.is_file():
        return frozenset()
    return frozenset(NoteFile.from_json(note.read_bytes(), where=note).learned)


def has_learned(folder: Path, digests: Mapping[str, str]) -> bool:
    """Whether a version of a registry was trained on any of these images.

    Args:
        folder: Its folder.
        digests: Case id to the hash of its pixels.
    """
    known = known_images(folder)
    return any(digest[:SHOWN] in known for digest in digests.values())


def digest_of(values: Mapping[str, str]) -> str:
    """One hash over a table, whatever its order.

    Example:
        >>> digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})
        True
    """
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()


def _split(run: Run) -> SplitFile | None:
    return SplitFile.from_json(run.split.read_bytes(), where=run.split) if run.split.is_file() else None
