"""Two programs timed in turn in one run: while one works, the other and its helpers are stopped.

A side is a Python generator that does one unit of work per `next`; it lives in its own process, so that one
side's settings (threads, memory allocator) never help or hurt the other.
"""

from __future__ import annotations

import json
import os
import signal
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from typing import TypeVar

Item = TypeVar("Item")


def serve(work: Iterator[object]) -> None:
    """Worker's end: one unit of work per line on stdin, its seconds as one JSON line on stdout."""
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    for _ in sys.stdin:
        start = time.perf_counter()
        facts = next(work)
        seconds = time.perf_counter() - start
        answers.write(json.dumps({"seconds": seconds, "facts": facts}) + "\n")
        answers.flush()


def metered(items: Iterator[Item]) -> Iterator[Item]:
    """Worker's end for a loop that pulls its work: one item per line on stdin.

    Asking for the next item means that the work on the one before is over; its seconds include the making of
    the next item.
    """
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    start = 0.0
    for item in items:
        if start:
            answers.write(json.dumps({"seconds": time.perf_counter() - start, "facts": None}) + "\n")
            answers.flush()
        if not sys.stdin.readline():
            return
        start = time.perf_counter()
        yield item


def duel(
    sides: dict[str, list[str]], *, turns: int, warmup: int = 2, block: int = 1
) -> dict[str, list[dict]]:
    """Parent's end: let each side do ``block`` units in turn; warm-up units are not kept."""
    started: dict[str, subprocess.Popen[str]] = {}
    rows: dict[str, list[dict]] = {name: [] for name in sides}
    try:
        for name, words in sides.items():  # each loads alone: what it measures of the machine holds
            started[name] = process = subprocess.Popen(
                words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, start_new_session=True
            )
            _ask(process)
            os.killpg(process.pid, signal.SIGSTOP)
        for turn in range(warmup + turns):
            for name, process in started.items():
                os.killpg(process.pid, signal.SIGCONT)
                answers = [_ask(process) for _ in range(block)]
                os.killpg(process.pid, signal.SIGSTOP)
                if turn >= warmup:
                    rows[name] += answers
    finally:
        for process in started.values():
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()
    return rows


def _ask(process: subprocess.Popen[str]) -> dict:
    assert process.stdin is not None
    assert process.stdout is not None
    process.stdin.write("go\n")
    process.stdin.flush()
    line = process.stdout.readline()
    if not line:
        raise SystemExit("one side ended early; see its words above")
    return json.loads(line)


def medians(rows: dict[str, list[dict]], unit: str) -> dict[str, float]:
    """Median seconds per unit of each side, and how many times faster than the first the others are."""
    middle = {name: statistics.median(row["seconds"] for row in side) for name, side in rows.items()}
    first, *others = middle
    facts = {f"{name}_seconds_per_{unit}": round(value, 4) for name, value in middle.items()}
    if len(others) == 1:
        return {**facts, "ratio": round(middle[first] / middle[others[0]], 2)}
    return {**facts, **{f"{name}_ratio": round(middle[first] / middle[name], 2) for name in others}}
