"""Resume points: a kill, a full disk or a flipped bit never costs more than the steps since the last one."""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import safetensors.torch
from safetensors import SafetensorError
from torch import Tensor

from unetkit.errors import DataError
from unetkit.records.files import atomic, sweep, write_text
from unetkit.records.run import Run
from unetkit.training.guard import guard_weights
from unetkit.training.state import State, load_network

_SECONDS = 60.0
_COST = 50.0
"""By the clock, time between two resume points is at least this many times the time one takes."""


@dataclass(frozen=True)
class Found:
    """A resume point that was read.

    Args:
        tensors: By name, on the CPU.
        numbers: JSON values.
        file: The tensor file.
        refused: Newer resume points that were damaged, one sentence each.
    """

    tensors: dict[str, Tensor]
    numbers: dict[str, Any]
    file: Path
    refused: tuple[str, ...]


def write(folder: Path, name: str, tensors: Mapping[str, Tensor], numbers: Mapping[str, Any]) -> Path:
    """Save a resume point; until the very last rename the one before it is the valid one.

    The tensors go to a new file; then ``<name>.json``, which points to it by name and SHA-256, is
    replaced. The pair before it is kept as ``<name>.previous.json``; older tensor files are removed.

    Args:
        folder: The run's checkpoint folder.
        name: ``last`` or ``best``.
        tensors: By name, any device.
        numbers: JSON values with at least ``step``.

    Returns:
        The tensor file.

    Raises:
        ResourceError: The disk is full or may not be written; earlier resume points are intact.
    """
    data = safetensors.torch.save({key: _portable(tensor) for key, tensor in tensors.items()})
    digest = hashlib.sha256(data).hexdigest()
    # The digest in the name: one name never stands for two contents.
    file = folder / f"{name}-{numbers['step']:08d}-{digest[:8]}.safetensors"
    if not file.exists() or hashlib.sha256(file.read_bytes()).hexdigest() != digest:
        with atomic(file) as handle:
            handle.write(data)
    record = {"version": 1, "tensors": file.name, "sha256": digest, "numbers": dict(numbers)}
    pointer = _pointer(folder, name)
    if pointer.exists() and json.dumps(record["sha256"]) not in pointer.read_text(errors="replace"):
        write_text(_pointer(folder, f"{name}.previous"), pointer.read_text(errors="replace"))
    write_text(pointer, json.dumps({**record, "check": _check(record)}, indent=1) + "\n")
    _sweep_tensors(folder, name)
    return file


def read(folder: Path, name: str) -> Found | None:
    """The newest intact resume point.

    Args:
        folder: The run's checkpoint folder.
        name: ``last`` or ``best``.

    Returns:
        None when none was ever finished.

    Raises:
        DataError: There are resume points and every one is damaged.
    """
    refused: list[str] = []
    for pointer in (_pointer(folder, name), _pointer(folder, f"{name}.previous")):
        if not pointer.exists():
            continue
        try:
            record = _read_pointer(pointer)
            file = folder / Path(record["tensors"]).name
            return Found(_read_tensors(file, record["sha256"]), record["numbers"], file, tuple(refused))
        except DataError as damaged:
            refused.append(f"{damaged.where}: {damaged.problem}")
    if refused:
        raise DataError(
            f"no intact resume point is left ({'; '.join(refused)})",
            cure="start the run anew in another folder, or restore that folder from a backup",
            where=folder,
        )
    return None


def discard(folder: Path) -> None:
    """Remove every resume point, so that a new run can never fall back to an older one's."""
    for name in ("last", "best"):
        for path in (*folder.glob(f"{name}*.json"), *folder.glob(f"{name}-*.safetensors")):
            path.unlink()


class Checkpoints:
    """When to save a run's state, and how to get it back.

    Args:
        run: The run.
        every_steps: Steps between two resume points, 0: by the clock.
    """

    def __init__(self, run: Run, every_steps: int) -> None:
        self.seconds = 0.0
        self._run = run
        self._every_steps = every_steps
        self._saved = time.monotonic()

    def open(self, state: State, *, resume: bool) -> None:
        """Start a run or go on with one: bring ``state`` to its newest resume point.

        A new run writes one at once, so that an unwritable folder shows before any time is spent.

        Args:
            state: Changed in place.
            resume: Whether to go on; a run without any resume point yet starts from the beginning.

        Raises:
            DataError: Every resume point is damaged, or it belongs to another network.
            ResourceError: The disk is full or may not be written.
        """
        folder = self._run.checkpoints
        if folder.is_dir():
            sweep(folder)
        found = read(folder, "last") if resume else None
        if found is None:
            discard(folder)
            self._run.note("resumed" if resume else "started", step=0)
            self.save(state)
            return
        for reason in found.refused:
            self._run.note("checkpoint_refused", reason=reason)
        state.load(found.tensors, found.numbers, where=str(found.file))
        self._run.note("resumed", step=state.step, seconds=round(state.seconds, 2))

    def due(self, step: int) -> bool:
        """Whether a resume point is due after ``step`` steps."""
        if self._every_steps:
            return step % self._every_steps == 0
        return time.monotonic() - self._saved >= max(_SECONDS, _COST * self.seconds)

    def save(self, state: State) -> None:
        """Write the resume point ``last``.

        Raises:
            UnetkitError: A weight is not finite; the resume point before is kept.
            ResourceError: The disk is full; the resume point before is kept.
        """
        started = time.monotonic()
        guard_weights(state.network, state.step)
        write(self._run.checkpoints, "last", state.tensors(), state.numbers())
        self._saved = time.monotonic()
        self.seconds = self._saved - started
        self._run.note("checkpoint", step=state.step, seconds=round(self.seconds, 4))

    def save_best(self, state: State) -> None:
        """Write the network as it is now (its averages in place) as ``best``."""
        write(self._run.checkpoints, "best", state.network.state_dict(), state.numbers())

    def load_best(self, state: State) -> None:
        """Put the weights of the best validation into the network, if there ever was one."""
        found = read(self._run.checkpoints, "best")
        if found is not None:
            load_network(state.network, found.tensors, where=str(found.file))


def seconds_spent(run: Run) -> float:
    """Time that earlier sessions of a run's training took, s, as its newest resume point knows it.

    Args:
        run: The run; 0 when it has no resume point.
    """
    found = read(run.checkpoints, "last")
    return 0.0 if found is None else float(found.numbers["seconds"])


def _pointer(folder: Path, name: str) -> Path:
    return folder / f"{name}.json"


def _portable(tensor: Tensor) -> Tensor:
    """On the CPU, in the order safetensors writes."""
    return tensor.detach().to("cpu").contiguous()


def _check(record: Mapping[str, Any]) -> str:
    body = {key: value for key, value in record.items() if key != "check"}
    return hashlib.sha256(json.dumps(body, sort_keys=True).encode()).hexdigest()


def _read_pointer(pointer: Path) -> dict[str, Any]:
    try:
        record = json.loads(pointer.read_bytes())
    except ValueError:
        raise _damaged("is not valid JSON", pointer) from None
    if not isinstance(record, dict) or record.get("check") != _check(record):
        raise _damaged("was changed after it was written (its checksum does not match)", pointer)
    return record


def _read_tensors(file: Path, digest: str) -> dict[str, Tensor]:
    if not file.exists():
        raise _damaged("is missing", file)
    data = file.read_bytes()
    if hashlib.sha256(data).hexdigest() != digest:
        raise _damaged("was changed after it was written (its SHA-256 does not match)", file)
    try:
        return safetensors.torch.load(data)
    except SafetensorError as wrong:
        raise _damaged(f"is not a safetensors file ({wrong})", file) from None


def _damaged(problem: str, where: Path) -> DataError:
    return DataError(problem, cure="restore it from a backup, or start the run anew", where=where)


def _sweep_tensors(folder: Path, name: str) -> None:
    """Remove tensor files that no pointer names any more."""
    pointers = [_pointer(folder, name), _pointer(folder, f"{name}.previous")]
    named = "".join(pointer.read_text(errors="replace") for pointer in pointers if pointer.exists())
    for file in folder.glob(f"{name}-*.safetensors"):
        if file.name not in named:
            file.unlink(missing_ok=True)
