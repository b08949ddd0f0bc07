"""The queue of a claim's rows: one heavy job at a time, finished rows kept, the table written anew.

Every folder beside this file declares its jobs and how its page is written; ``work_off`` does the rest:

python benchmarks/FOLDER/bench.py                # everything that has no row yet
python benchmarks/FOLDER/bench.py --list         # what is done and what is not
python benchmarks/FOLDER/bench.py --only drive   # jobs whose name holds the word
python benchmarks/FOLDER/bench.py --again NAME   # one of them once more
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import resource
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
DATA = Path(os.environ.get("UNETKIT_DATA", ROOT.parent / "shared" / "data"))
UNET = str(ROOT / ".venv" / "bin" / "unet")
OURS = str(ROOT / ".venv" / "bin" / "python")
THEIRS = str(ROOT / ".venv-peers" / "bin" / "python")


@dataclass(frozen=True)
class Job:
    """One row: the commands to run in order; the last lines that are JSON become the row's facts.

    ``needs`` is a row that has to be there first. ``kept`` is a folder of finished trainings with which a row
    that was stopped goes on; ``--again`` removes it.
    """

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: str | None = None
    kept: Path | None = None


def machine() -> str:
    """Processor, cores and memory, in words."""
    facts = Path("/proc/cpuinfo").read_text() if Path("/proc/cpuinfo").exists() else ""
    models = [line.split(":")[1].strip() for line in facts.splitlines() if line.startswith("model name")]
    gigabytes = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{models[0] if models else platform.processor()}, {os.cpu_count()} cores, {gigabytes:.0f} GiB"


def commit() -> str:
    """The commit of the tree that was measured."""
    answer = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    return answer.stdout.strip() or "none"


def run(job: Job, work: Path) -> dict[str, object]:
    """Run the job's commands; output goes to a log beside the work, JSON lines become facts.

    ``cpu_share`` is the processor time they got over what all cores had to give while the longest of them
    ran: far below 1 it tells that something else ran, or that the program does not use what is there.
    """
    log = work / f"{job.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    facts: dict[str, object] = {}
    start = time.monotonic()
    longest, share = 0.0, 0.0
    for words in job.commands:
        shown = [word.replace(f"{ROOT}/", "").replace(f"{DATA}", "DATA") for word in words]
        print("  $", " ".join(shown), file=sys.stderr, flush=True)
        begun, used = time.monotonic(), _processor_seconds()
        with log.open("a") as out:
            answer = subprocess.run(words, stdout=subprocess.PIPE, stderr=out, text=True, check=False)
            out.write(answer.stdout)
        if answer.returncode != 0:
            raise SystemExit(f"{job.name}: exit {answer.returncode}; see {log}")
        seconds = time.monotonic() - begun
        if seconds > longest:
            longest = seconds
            share = (_processor_seconds() - used) / (seconds * (os.cpu_count() or 1))
        for line in answer.stdout.splitlines():
            facts.update(_facts(line))
    return {
        "job": job.name,
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "seconds": round(time.monotonic() - start, 1),
        "cpu_share": round(share, 3),
        **facts,
    }


def _facts(line: str) -> dict[str, object]:
    """The facts of a line that is a JSON object; none for anything else that a program prints."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def _processor_seconds() -> float:
    """Processor time of all finished children so far."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


def work_off(jobs: Sequence[Job], here: Path, write: Callable[[Path, Path], None]) -> None:
    """Run what has no row yet, as the command line asks, and write the page.

    Args:
        jobs: In the order they are run.
        here: The claim's folder: ``rows/``, ``work/`` (not kept in the repository) and ``RESULTS.md``.
        write: Folder of rows and page → the page.
    """
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--again", default="")
    given = parser.parse_args()
    rows = here / "rows"
    rows.mkdir(parents=True, exist_ok=True)
    for job in jobs:
        row = rows / f"{job.name}.json"
        wanted = given.only in job.name and (not given.again or given.again == job.name)
        if given.list:
            print(f"{'done' if row.exists() else 'open'}  {job.name}")
        elif wanted and (given.again or not row.exists()):
            if job.needs and not (rows / f"{job.needs}.json").exists():
                print(f"{job.name}: waits for {job.needs}", file=sys.stderr)
                continue
            print(job.name, file=sys.stderr, flush=True)
            if given.again and job.kept is not None:
                shutil.rmtree(job.kept, ignore_errors=True)
            row.write_text(json.dumps(run(job, here / "work"), indent=1) + "\n")
    if not given.list:
        write(rows, here / "RESULTS.md")
