"""The family side by side: every network at equal minutes and at equal steps, on three sets, two seeds.

One row is one ``unet train --compare``, which keeps its finished runs: a row that was stopped goes on. Then
the same for start weights, frozen stages, mixing, pyramid and losses (``ablation.py``). ``small.py`` runs the
same rows in minutes, on generated images.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, UNET, Job, work_off  # noqa: E402

NETWORKS = ("plain", "unetpp", "attention", "transformer", "residual", "convnext")
"""U-Net, UNet++, Attention U-Net, TransUNet-style, ResEnc and MedNeXt, each fitted to the same budget."""
SETS = {
    "dsb2018_nuclei": ((160, 160), 4, (*NETWORKS, "mobile")),
    "magnetic_tile": ((160, 160), 4, (*NETWORKS, "mobile")),
    "hippocampus": ((32, 48, 32), 2, NETWORKS),
}
"""Patch and batch of the rows of equal steps, and who takes part."""
BUDGETS = ("minutes", "steps")
STARTS = ("dsb2018_nuclei", "drive")
RECIPES = ("lidc_nodules2d",)
AROUND_SECONDS = 20.0
"""Measuring and reporting take so long after a training (and checks before one of a number of steps)."""
STEP_SECONDS = 0.15
"""Of the rows of equal steps on two cores: half as much again as the planner counts, 0.10 on average."""


@dataclass(frozen=True)
class Scope:
    """How much of everything.

    Args:
        minutes: Of each training of the rows of equal minutes and of the ablations.
        steps: Of each training of the rows of equal steps.
        seeds: Of every network and variant.
        data: Folder of the data sets.
        work: Folder of the runs.
    """

    minutes: float = 2.0
    steps: int = 400
    seeds: int = 2
    data: Path = DATA
    work: Path = HERE / "work"


def comparison(scope: Scope, name: str, budget: str) -> Job:
    """All networks on one set, each with the same minutes or the same steps, patch and batch."""
    patch, batch, networks = SETS[name]
    out = scope.work / f"{name}-{budget}"
    size = f"[{','.join(map(str, patch))}]"
    alike = {
        "minutes": (),
        "steps": (
            "--set", f"training.steps={scope.steps}",
            "--set", f"training.patch_size={size}",
            "--set", f"training.batch_size={batch}",
            "--set", f"inference.tile_size={size}",
        ),
    }[budget]  # fmt: skip
    return Job(
        f"{name}-{budget}",
        (
            (UNET, "train", f"{scope.data / name}", "--out", f"{out}", "--compare", ",".join(networks),
             "--seeds", f"{scope.seeds}", "--minutes", f"{scope.minutes:g}", *alike),
            (OURS, f"{HERE}/collect.py", f"{out}/compare.json"),
        ),
        kept=out,
    )  # fmt: skip


def ablation(scope: Scope, question: str, name: str) -> Job:
    """One question on one set: the same network with one value changed at a time."""
    out = scope.work / f"{question}-{name}"
    words = ("--data", f"{scope.data / name}", "--out", f"{out}")
    budget = ("--minutes", f"{scope.minutes:g}", "--seeds", f"{scope.seeds}")
    return Job(
        f"{question}-{name}",
        ((OURS, f"{HERE}/ablation.py", question, *words, *budget, "--weights", f"{DATA / 'weights'}"),),
        kept=out,
    )


def jobs(scope: Scope) -> list[Job]:
    """Every row, in the order they are run."""
    rows = [comparison(scope, name, budget) for name in SETS for budget in BUDGETS]
    rows += [ablation(scope, "start", name) for name in STARTS]
    return rows + [ablation(scope, "recipe", name) for name in RECIPES]


def hours(scope: Scope) -> float:
    """How long the queue takes on two cores, at most."""
    from ablation import STARTED, TRIED

    compared = sum(len(networks) for _, _, networks in SETS.values())
    varied = len(STARTED) * len(STARTS) + len(TRIED) * len(RECIPES)
    timed = (compared + varied) * (60 * scope.minutes + AROUND_SECONDS)
    counted = compared * (STEP_SECONDS * scope.steps + AROUND_SECONDS)
    return scope.seeds * (timed + counted) / 3600


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(Scope()), HERE, write)


if __name__ == "__main__":
    main()
