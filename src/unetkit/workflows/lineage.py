"""Where a version of a registry is from: the version it was trained from, and its data."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping, Sequence

from unetkit.records.chain import Link
from unetkit.records.registered import ADDED
from unetkit.records.run import Run
from unetkit.records.split import SplitFile
from unetkit.workflows.starting import read_start


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


def digest_of(values: Mapping[str, str]) -> str:
    """One hash over a table, whatever its order.

    Example:
        >>> digest_of({"a": "1", "b": "2"}) == digest_of({"b": "2", "a": "1"})
        True
    """
    return hashlib.sha256(json.dumps(dict(values), sort_keys=True).encode()).hexdigest()


def _split(run: Run) -> SplitFile | None:
    return SplitFile.from_json(run.split.read_bytes(), where=run.split) if run.split.is_file() else None
