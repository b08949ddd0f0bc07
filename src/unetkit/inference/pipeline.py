"""Reading, computing and writing overlap, each in a thread of its own, and what is held stays bounded."""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Generator, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from queue import Full, Queue
from typing import TypeVar

T = TypeVar("T")
R = TypeVar("R")

_END = object()
_GIVEN_UP = object()
_GLANCE_SECONDS = 0.1


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


def passed_on(items: Iterable[T], use: Callable[[Iterator[T]], R], *, depth: int) -> R:
    """What a thread makes of items while the caller's own thread makes the next ones.

    The caller's thread is the place for a network: in a thread that comes and goes the allocator gives every
    large block back to the system, and torch takes up to 1.4 times as long on a CPU.

    Args:
        items: Made by the caller's thread; no more are asked for once ``use`` is over.
        use: Given the items in order; where they end too early because their maker failed, asking for the
            next one raises in it.
        depth: Items that may wait.

    Returns:
        What ``use`` returned; its error is raised, and an error of the maker before it. The thread is over
        in any case.

    Example:
        >>> passed_on(range(4), sum, depth=2)
        6
    """
    waiting: Queue[object] = Queue(depth)

    def arriving() -> Iterator[T]:
        while (item := waiting.get()) is not _END:
            if item is _GIVEN_UP:
                raise RuntimeError("what makes the items failed")
            yield item  # pyright: ignore[reportReturnType] - the ends are not among them

    with ThreadPoolExecutor(1, thread_name_prefix="passed-on") as pool:
        user = pool.submit(lambda: use(arriving()))
        end = _GIVEN_UP
        try:
            for item in items:
                if not _put(waiting, item, user):
                    break
            end = _END
        finally:
            _put(waiting, end, user)
        return user.result()


def _put(waiting: Queue[object], item: object, user: Future[R]) -> bool:
    """Let an item wait; False where nobody will ask for it any more."""
    while not user.done():
        try:
            waiting.put(item, timeout=_GLANCE_SECONDS)
        except Full:
            continue
        return True
    return False
