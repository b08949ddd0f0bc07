"""Kill a piece of work with SIGKILL at random moments and let it go on, until it is done.

``soak`` is what the unit test (6 kills) and the long soak (50 and more) share. Alone, this file soaks the
small training beside it: ``python tests/training/kill_loop.py FOLDER --kills 6``; the answer is JSON.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import os
import random
import signal
import sys
import time
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from unetkit.errors import DataError
from unetkit.training.checkpoint import read


@dataclass(frozen=True)
class Soak:
    """What a soak found.

    Args:
        kills: SIGKILLs that met the work alive.
        unreadable: Kills after which no resume point could be read.
        lost: Kills after which the newest resume point was damaged and the one before it was used.
        starts: Times the work was started.
        digest: SHA-256 over the final state (weights, averages, optimiser).
    """

    kills: int
    unreadable: int
    lost: int
    starts: int
    digest: str


def soak(
    work: Callable[[], None], checkpoints: Path, *, kills: int, seconds: tuple[float, float], seed: int
) -> Soak:
    """Run ``work`` in forked children, kill the first ``kills`` of them, let the last one finish (POSIX).

    Args:
        work: Trains with ``resume=True`` (or becomes a command by ``os.execv``); a fresh fork each time.
        checkpoints: The run's checkpoint folder, read after every kill.
        kills: How many children to kill.
        seconds: Shortest and longest life of a child that is killed.
        seed: Of the moments.
    """
    moments = random.Random(seed)
    met = unreadable = lost = starts = 0
    while True:
        starts += 1
        child = os.fork()
        if child == 0:
            code = 1
            try:
                work()
                code = 0
            finally:
                sys.stderr.flush()
                os._exit(code)
        if met < kills:
            time.sleep(moments.uniform(*seconds))
            os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status):
            if os.waitstatus_to_exitcode(status) != 0:
                raise RuntimeError(f"the work failed by itself (start {starts})")
            return Soak(met, unreadable, lost, starts, state_digest(checkpoints))
        met += 1
        try:
            found = read(checkpoints, "last")
            lost += bool(found and found.refused)
        except DataError:
            unreadable += 1


def state_digest(checkpoints: Path) -> str:
    """SHA-256 over the newest resume point's tensors, whatever the file is called."""
    found = read(checkpoints, "last")
    assert found is not None
    return hashlib.sha256(found.file.read_bytes()).hexdigest()


def main() -> None:
    """Soak the small training."""
    sys.path.insert(0, str(Path(__file__).parent))
    from small_run import slow_run

    words = argparse.ArgumentParser()
    words.add_argument("folder", type=Path)
    words.add_argument("--kills", type=int, default=6)
    words.add_argument("--steps", type=int, default=90)
    words.add_argument("--seed", type=int, default=0)
    asked = words.parse_args()
    runs = {name: asked.folder / name for name in ("whole", "killed")}
    slow_run(runs["whole"], steps=asked.steps, seconds_per_step=0.0)
    found = soak(
        lambda: slow_run(runs["killed"], steps=asked.steps, seconds_per_step=0.01),
        runs["killed"] / "checkpoints",
        kills=asked.kills,
        seconds=(0.02, 0.15),
        seed=asked.seed,
    )
    whole = state_digest(runs["whole"] / "checkpoints")
    sys.stdout.write(json.dumps({**asdict(found), "same": found.digest == whole}) + "\n")


if __name__ == "__main__":
    main()
