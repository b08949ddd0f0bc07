"""The family side by side: every network at equal minutes and at equal steps, on three sets, two seeds.

One row is one ``unet train --compare``, which keeps its finished runs: a row that was stopped goes on. Then
the same for start weights, frozen stages, mixing, pyramid and losses (``ablation.py``).
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, UNET, Job, work_off  # noqa: E402

WORK = HERE / "work"
MINUTES, STEPS, SEEDS = 2.5, 150, 2
NETWORKS = ("plain", "unetpp", "attention", "transformer", "residual", "convnext")
"""U-Net, UNet++, Attention U-Net, TransUNet-style, ResEnc and MedNeXt, each fitted to the same budget."""
SETS = {
    "dsb2018_nuclei": ((160, 160), 4, (*NETWORKS, "mobile")),
    "magnetic_tile": ((160, 160), 4, (*NETWORKS, "mobile")),
    "hippocampus": ((32, 48, 32), 2, NETWORKS),
}
"""Patch and batch of the rows of equal steps, and who takes part."""


def comparison(name: str, budget: str) -> Job:
    """All networks on one set, each with the same minutes or the same steps, patch and batch."""
    patch, batch, networks = SETS[name]
    out = WORK / f"{name}-{budget}"
    size = f"[{','.join(map(str, patch))}]"
    alike = {
        "minutes": ("--minutes", f"{MINUTES:g}"),
        "steps": (
            "--minutes", f"{MINUTES:g}",
            "--set", f"training.steps={STEPS}",
            "--set", f"training.patch_size={size}",
            "--set", f"training.batch_size={batch}",
            "--set", f"inference.tile_size={size}",
        ),
    }[budget]  # fmt: skip
    return Job(
        f"{name}-{budget}",
        (
            (UNET, "train", f"{DATA / name}", "--out", f"{out}", "--compare", ",".join(networks),
             "--seeds", f"{SEEDS}", *alike),
            (OURS, f"{HERE}/collect.py", f"{out}/compare.json"),
        ),
    )  # fmt: skip


def ablation(question: str, name: str) -> Job:
    """One question on one set: the same network with one value changed at a time."""
    words = ("--data", f"{DATA / name}", "--out", f"{WORK / f'{question}-{name}'}")
    budget = ("--minutes", f"{MINUTES:g}", "--seeds", f"{SEEDS}")
    return Job(
        f"{question}-{name}",
        ((OURS, f"{HERE}/ablation.py", question, *words, *budget, "--weights", f"{DATA / 'weights'}"),),
    )


def jobs() -> list[Job]:
    """Every row, in the order they are run."""
    rows = [comparison(name, budget) for name in SETS for budget in ("minutes", "steps")]
    rows += [ablation("start", name) for name in ("dsb2018_nuclei", "drive")]
    return [*rows, ablation("recipe", "lidc_nodules2d")]


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(), HERE, write)


if __name__ == "__main__":
    main()
