"""The rows of the main road's claims; see ``benchmarks/worklist.py`` for how they are worked off."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, THEIRS, UNET, Job, work_off  # noqa: E402

WORK = HERE / "work"
PICTURES = ("dsb2018_nuclei", "isbi2012_em", "magnetic_tile", "neu_seg", "drive")
VOLUMES = "hippocampus"
FOLDS = {"drive": "2/5"}
"""Held out: a part on which nothing of the recipe was chosen. The first served to compare values; how odd
sizes are met was decided after a look at drive's second."""


def ours(name: str, minutes: float) -> Job:
    """Train with one command, predict the held-out cases, score them; only minutes and fold are stated."""
    run, data = WORK / name / "run", DATA / name
    return Job(
        f"{name}-unetkit",
        (
            (UNET, "train", f"{data}", "--out", f"{run}", "--minutes", f"{minutes:g}",
             "--fold", FOLDS.get(name, "1/5"), "--overwrite"),
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


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(), HERE, write)


if __name__ == "__main__":
    main()
