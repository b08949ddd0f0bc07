"""Work timed in turn, so that none of several gets a better moment than the others."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence


def in_turns(
    works: Sequence[Callable[[], Sequence[float]]], *, seconds: float, most: int, least: int = 1
) -> list[list[float]]:
    """Let each of several do one turn of its work in every round, always in the same order.

    Args:
        works: Each does a turn when it is called, and says the seconds of every unit of work in it.
        seconds: Time that each may take, on average; a round that has begun is finished.
        most: Rounds at most.
        least: Rounds at least, however long they take.

    Returns:
        For each the seconds of its units, in the order in which they were done.

    Example:
        >>> in_turns([lambda: [0.5], lambda: [0.1, 0.2]], seconds=1, most=2)
        [[0.5, 0.5], [0.1, 0.2, 0.1, 0.2]]
    """
    spent: list[list[float]] = [[] for _ in works]
    rounds = 0
    while rounds < least or (rounds < most and sum(map(sum, spent)) < seconds * len(works)):
        for times, work in zip(spent, works, strict=True):
            times.extend(work())
        rounds += 1
    return spent


def repeat(work: Callable[[], object], *, seconds: float = 0.0) -> list[float]:
    """One turn: do a piece of work over and over until the time is up, and once at least.

    Args:
        work: The piece; it is over when it returns.
        seconds: Of the turn.

    Returns:
        The seconds of each.

    Example:
        >>> len(repeat(lambda: None))
        1
    """
    spent: list[float] = []
    while not spent or sum(spent) < seconds:
        started = time.perf_counter()
        work()
        spent.append(time.perf_counter() - started)
    return spent
