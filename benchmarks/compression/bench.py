"""The rows of smaller models; see ``benchmarks/worklist.py`` for how they are worked off.

A model is trained once per set; every row starts from it, puts the same held-out cases through both and
keeps what ``compress.json`` says. The gate is wide open here: a row is kept whatever it lost.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, UNET, Job, work_off  # noqa: E402

WORK = HERE / "work"
MINUTES, FOLD, WIDE_OPEN = 10, "1/5", "100"
SETS = {
    "neu_seg": ("network.norm=batch",),
    "dsb2018_nuclei": ("network.norm=batch",),
    "hippocampus": ("network.norm=batch",),
}
"""Batch norm: its statistics do not depend on the tile, and whole numbers need it."""
ROUTES = {
    "prune": ("--prune", "0.5"),
    "ptq": ("--int8", "ptq"),
    "qat": ("--int8", "qat"),
    "distill": ("--distill", "mobile"),
}
"""Name to what is asked; the student that is taught has two axes only."""


def trained(name: str) -> Job:
    """The model that the rows of a set start from."""
    words = [word for value in SETS[name] for word in ("--set", value)]
    command = (UNET, "train", f"{DATA / name}", "--out", f"{WORK / name}", "--minutes", f"{MINUTES}")
    return Job(f"{name}-train", ((*command, "--fold", FOLD, "--overwrite", *words),))


def compressed(name: str, route: str) -> Job:
    """One route from that model."""
    out = WORK / f"{name}-{route}"
    command = (UNET, "compress", f"{WORK / name}", f"{DATA / name}", "--out", f"{out}", *ROUTES[route])
    return Job(
        f"{name}-{route}",
        (
            (*command, "--minutes", f"{MINUTES}", "--max-loss", WIDE_OPEN, "--quiet"),
            (OURS, f"{HERE}/collect.py", f"{out}/compress.json"),
        ),
        needs=f"{name}-train",
    )


def jobs() -> list[Job]:
    """Every row, in the order they are run."""
    rows = []
    for name in SETS:
        routes = [route for route in ROUTES if (name, route) != ("hippocampus", "distill")]
        rows += [trained(name), *(compressed(name, route) for route in routes)]
    return rows


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(), HERE, write)


if __name__ == "__main__":
    main()
