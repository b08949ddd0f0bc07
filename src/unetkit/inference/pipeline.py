"""Work done ahead of its use: reading, computing and writing overlap, and what is held stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

T = TypeVar("T")

_END = object()


def ahead(items: Iterable[T], *, depth: int) -> Generator[T, None, None]:
    """The same items in the same order, made by a thread that is up to ``depth`` of them ahead.

    An error of the maker is raised where the item would have come. Close the iterator, or run it to its end:
    then the thread is over, and so is ``items`` where it is a generator.

    Args:
        items: Made by one thread, one after the other.
        depth: Items that may wait.

    Example:
        >>> list(ahead(range(3), depth=2))
        [0, 1, 2]
    """
    source = iter(items)
    pool = ThreadPoolExecutor(1, thread_name_prefix="ahead")
    try:
        waiting = deque(pool.submit(next, source, _END) for _ in range(depth))
        while (item := waiting.popleft().result()) is not _END:
            waiting.append(pool.submit(next, source, _END))
            yield item  # pyright: ignore[reportReturnType] - the end is not among them
    finally:
        pool.shutdown(wait=True, cancel_futures=True)
        close = getattr(source, "close", None)
        if close is not None:
            close()
