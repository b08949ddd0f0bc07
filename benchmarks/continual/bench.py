"""What a model keeps when it goes on learning, and whether drift, gate and registry hold what they promise.

Sequences: every method and joint training, two seeds, one row each; a row that was stopped goes on. The first
model of a sequence is trained once per seed and shared. Then drift, the gate, and a soak with ``kill -9``.
"""

from __future__ import annotations

import dataclasses
import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, Job, work_off  # noqa: E402

WORK = HERE / "work"
MINUTES, SEEDS = 1.5, 2
METHODS = ("finetune", "replay", "ewc", "lwf", "interpolate", "frozen", "adabn", "joint")
SEQUENCES = {
    "nuclei": METHODS,
    "defects": METHODS,
    "steel_classes": tuple(name for name in METHODS if name not in ("interpolate", "adabn")),
}
"""Who takes part: neither can two models of different classes be interpolated, nor can what is not trained
learn a class."""
DRIFT = ("lidc_nodules2d", "neu_seg")


def job(name: str, script: str, *words: str) -> Job:
    """One row: a script beside this file, and where it works."""
    return Job(name, ((OURS, f"{HERE}/{script}", *words, "--data", f"{DATA}", "--work", f"{WORK}"),))


def jobs() -> list[Job]:
    """Every row, in the order they are run."""
    rows = [
        job(
            f"{sequence}-{method}-{seed}", "sequence.py", sequence, method,
            "--seed", f"{seed}", "--minutes", f"{MINUTES:g}",
        )
        for seed in range(SEEDS)
        for sequence, methods in SEQUENCES.items()
        for method in methods
    ]  # fmt: skip
    rows += [job(f"drift-{name}", "drift.py", name, "--minutes", f"{MINUTES:g}") for name in DRIFT]
    gate = job("gate", "gate.py", "--minutes", f"{MINUTES:g}")
    rows.append(dataclasses.replace(gate, kept=WORK / "gate"))
    return [*rows, Job("soak", ((OURS, f"{HERE}/soak.py", "--kills", "100"),))]


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(), HERE, write)


if __name__ == "__main__":
    main()
