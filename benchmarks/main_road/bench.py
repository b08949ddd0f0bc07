"""The queue of the main road's claims: one heavy job at a time, finished rows kept, the table written anew.

python benchmarks/main_road/bench.py                # everything that has no row yet
python benchmarks/main_road/bench.py --list         # what is done and what is not
python benchmarks/main_road/bench.py --only drive   # jobs whose name holds the word
python benchmarks/main_road/bench.py --again drive-unetkit
"""

from __future__ import annotations

import argparse
import datetime
import json
import os
import platform
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parents[1]
DATA = Path(os.environ.get("UNETKIT_DATA", ROOT.parent / "shared" / "data"))
WORK = HERE / "work"
ROWS = HERE / "rows"
UNET = str(ROOT / ".venv" / "bin" / "unet")
OURS = str(ROOT / ".venv" / "bin" / "python")
THEIRS = str(ROOT / ".venv-peers" / "bin" / "python")
PICTURES = ("dsb2018_nuclei", "isbi2012_em", "magnetic_tile", "neu_seg", "drive")
VOLUMES = "hippocampus"
FOLD = "1/5"
"""Held out: not the first part, on which values of the recipe were compared."""


@dataclass(frozen=True)
class Job:
    """One row: the commands to run in order; the last lines that are JSON become the row's facts."""

    name: str
    commands: tuple[tuple[str, ...], ...]
    needs: str | None = None


def ours(name: str, minutes: float) -> Job:
    """Train with one command, predict the held-out cases, score them; only minutes and fold are stated."""
    run, data = WORK / name / "run", DATA / name
    return Job(
        f"{name}-unetkit",
        (
            (UNET, "train", f"{data}", "--out", f"{run}", "--minutes", f"{minutes:g}",
             "--fold", FOLD, "--overwrite"),
            (OURS, f"{HERE}/predict_held_out.py", "--data", f"{data}", "--run", f"{run}",
             "--predictions", f"{WORK / name / 'ours'}"),
            (OURS, f"{HERE}/score.py", "--data", f"{data}", "--run", f"{run}",
             "--predictions", f"{WORK / name / 'ours'}"),
        ),
    )  # fmt: skip


def theirs(name: str, peer: str, minutes: float) -> Job:
    """The peer on the same split with the same minutes, scored by the same code."""
    run, data, out = WORK / name / "run", DATA / name, WORK / name / peer
    script = HERE / f"{peer}_peer.py"
    extra = ("--work", f"{WORK / name / 'nnunet_work'}") if peer == "nnunet" else ()
    return Job(
        f"{name}-{peer}",
        (
            (THEIRS, f"{script}", "--data", f"{data}", "--split", f"{run / 'split.json'}",
             "--predictions", f"{out}", "--minutes", f"{minutes:g}", *extra),
            (OURS, f"{HERE}/score.py", "--data", f"{data}", "--run", f"{run}", "--predictions", f"{out}"),
        ),
        needs=f"{name}-unetkit",
    )  # fmt: skip


def jobs() -> list[Job]:
    """Every claim of the main road, in the order they are run."""
    rows = [ours(VOLUMES, 30)]
    work, split = WORK / VOLUMES / "nnunet_work", WORK / VOLUMES / "run" / "split.json"
    pair = ("--data", f"{DATA / VOLUMES}", "--split", f"{split}", "--work", f"{work}")
    rows.append(Job("steps", ((THEIRS, f"{HERE}/steps.py", *pair),), needs=f"{VOLUMES}-unetkit"))
    model = ("--run", f"{WORK / VOLUMES / 'run'}")
    rows.append(
        Job("predict", ((THEIRS, f"{HERE}/predict_pair.py", *pair, *model),), needs=f"{VOLUMES}-unetkit")
    )
    for name in PICTURES:
        rows += [ours(name, 10), theirs(name, "smp", 10)]
    rows.append(Job("kill", ((OURS, f"{HERE}/kill.py", "--kills", "50"),)))
    rows.append(Job("memory", ((OURS, f"{HERE}/memory.py", "--work", f"{WORK / 'memory'}"),)))
    rows.append(theirs(VOLUMES, "nnunet", 30))
    return rows


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


def run(job: Job) -> dict[str, object]:
    """Run the job's commands; output goes to a log beside the work, JSON lines become facts."""
    log = WORK / f"{job.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    facts: dict[str, object] = {}
    start = time.monotonic()
    for words in job.commands:
        shown = [word.replace(f"{ROOT}/", "").replace(f"{DATA}", "DATA") for word in words]
        print("  $", " ".join(shown), file=sys.stderr, flush=True)
        with log.open("a") as out:
            answer = subprocess.run(words, stdout=subprocess.PIPE, stderr=out, text=True, check=False)
            out.write(answer.stdout)
        if answer.returncode != 0:
            raise SystemExit(f"{job.name}: exit {answer.returncode}; see {log}")
        for line in answer.stdout.splitlines():
            facts.update(_facts(line))
    return {
        "job": job.name,
        "date": datetime.date.today().isoformat(),
        "commit": commit(),
        "machine": machine(),
        "seconds": round(time.monotonic() - start, 1),
        **facts,
    }


def _facts(line: str) -> dict[str, object]:
    """The facts of a line that is a JSON object; none for anything else that a program prints."""
    try:
        found = json.loads(line)
    except json.JSONDecodeError:
        return {}
    return found if isinstance(found, dict) else {}


def main() -> None:
    """Run what has no row yet."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--list", action="store_true")
    parser.add_argument("--only", default="")
    parser.add_argument("--again", default="")
    given = parser.parse_args()
    ROWS.mkdir(exist_ok=True)
    for job in jobs():
        row = ROWS / f"{job.name}.json"
        wanted = given.only in job.name and (not given.again or given.again == job.name)
        if given.list:
            print(f"{'done' if row.exists() else 'open'}  {job.name}")
        elif wanted and (given.again or not row.exists()):
            if job.needs and not (ROWS / f"{job.needs}.json").exists():
                print(f"{job.name}: waits for {job.needs}", file=sys.stderr)
                continue
            print(job.name, file=sys.stderr, flush=True)
            row.write_text(json.dumps(run(job), indent=1) + "\n")
    from results import write

    write(ROWS, HERE / "RESULTS.md")


if __name__ == "__main__":
    main()
