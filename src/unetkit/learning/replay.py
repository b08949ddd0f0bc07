"""Old examples among the new ones: a share of every batch comes from memory."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.records.plan import WrapperTerm
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import Memory, Objective, Past, joined_states, load_inner, options_of

DEFAULTS = {"share": 0.5, "budget_mb": 100.0, "herding": 0.0, "seed": 0.0}
"""Options of ``replay``: share of a batch, size of the memory, how it is chosen (see ``exemplars``)."""


class Exchanging:
    """An objective that sees other examples in place of some of those of a batch.

    A batch keeps its size, so that a step costs what it did. Which places are exchanged changes from step to
    step, and each of them with the same probability: the places where patches are centred on a class are
    exchanged for places where the memory's patches are.

    Args:
        inner: What computes the losses.
        memory: Where the other examples come from.
        share: Of the patches of a batch, 0 to 1.
    """

    def __init__(self, inner: Objective, memory: Memory, *, share: float) -> None:
        self._inner, self._memory, self._share, self._step = inner, memory, share, 0

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of what is wrapped, on the batch with some places exchanged."""
        places = exchanged_places(self._step, batch.pixels.shape[0], self._share)
        if places:
            batch = exchanged(batch, self._memory.at(self._step), places)
        return self._inner.terms(network, batch)

    def after_step(self, rate: float) -> None:
        """Go on to the memory's next batch."""
        self._inner.after_step(rate)
        self._step += 1

    def state(self) -> dict[str, Tensor]:
        """How many steps were made."""
        return joined_states(self._inner, {"step": torch.tensor(self._step)})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what ``state`` gave."""
        self._step = int(load_inner(self._inner, tensors)["step"])


class Replay(Exchanging):
    """Old examples in place of some of the new ones.

    Args:
        inner: What computes the losses.
        term: Option ``share`` (0.5) of the patches; the other options of ``DEFAULTS`` say what is kept.
        layout: Not needed.
        past: The memory.

    Raises:
        UsageError: There is no memory, or the share is above 1.

    Reference:
        Rolnick et al., Experience Replay for Continual Learning, NeurIPS 2019.
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        options = options_of(term, DEFAULTS)
        if past.memory is None:
            raise UsageError(
                "'replay' shows old examples again, and there is no memory of any",
                cure="use 'unet update MODEL DATA --memory OLD', or choose --method lwf if old images may "
                "not be kept",
            )
        super().__init__(inner, past.memory, share=share_of(term, options["share"]))


def share_of(term: WrapperTerm, share: float) -> float:
    """A share of the patches of a batch, checked.

    Args:
        term: The wrapper, for the error.
        share: 0 or more.

    Raises:
        UsageError: It is above 1.
    """
    if share > 1:
        raise UsageError(
            f"expected the share of '{term.name}' to be between 0 and 1, got {share:g}",
            cure="say which share of the patches comes from memory, such as 0.5",
        )
    return share


def exchanged_places(step: int, size: int, share: float) -> tuple[int, ...]:
    """Which places of a batch come from memory: ``share · size`` of them on average, never one more or less.

    Args:
        step: Counted from 0.
        size: Patches per batch.
        share: 0 to 1.

    Returns:
        Sorted places.

    Example:
        >>> [len(exchanged_places(step, 1, 0.5)) for step in range(4)]
        [0, 1, 0, 1]
    """
    wanted = share * size
    count = math.floor((step + 1) * wanted + 1e-9) - math.floor(step * wanted + 1e-9)
    random = np.random.Generator(np.random.Philox(key=np.array([size, step], np.uint64)))
    return tuple(sorted(random.permutation(size)[:count].tolist()))


def exchanged(batch: Batch, memory: Batch, places: tuple[int, ...]) -> Batch:
    """A batch with some of its items taken from another one.

    Args:
        batch: ``B`` items.
        memory: ``B`` items of the same shape.
        places: Which to take from ``memory``, each at its own place.
    """
    chosen = torch.zeros(batch.pixels.shape[0], dtype=torch.bool, device=batch.pixels.device)
    chosen[list(places)] = True

    def either(new: Tensor, old: Tensor) -> Tensor:
        return torch.where(chosen.view(-1, *[1] * (new.ndim - 1)), old.to(new.device), new)

    known = batch.known
    if batch.known is not None or memory.known is not None:
        size = (batch.pixels.shape[0], *batch.pixels.shape[2:])
        every = torch.ones(size, dtype=torch.bool, device=batch.pixels.device)
        known = either(
            every if batch.known is None else batch.known, every if memory.known is None else memory.known
        )
    borrowed = batch.borrowed
    if batch.borrowed is not None and memory.borrowed is not None:
        borrowed = either(batch.borrowed, memory.borrowed)
    names = zip(batch.cases, memory.cases, strict=True)
    cases = tuple(old if place in places else new for place, (new, old) in enumerate(names))
    return Batch(
        either(batch.pixels, memory.pixels), either(batch.target, memory.target), known, cases, borrowed
    )
