"""The rows of scans; see ``benchmarks/worklist.py`` for how they are worked off."""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROAD = HERE.parent / "main_road"
sys.path.insert(0, str(HERE.parent))

from worklist import DATA, OURS, THEIRS, UNET, Job, work_off  # noqa: E402

WORK = HERE / "work"
SEEDS = (0, 1)
NODULES = ("lidc_nodules2d", "lidc_nodules3d")
RECIPES: dict[str, tuple[str, ...]] = {
    "vanilla": (
        "network.pyramid=none", "augmentation.cutmix=0", "training.foreground_fraction=0.33",
        'objective.losses=[{"name":"dice"},{"name":"cross_entropy"}]',
    ),
    "best": (
        "network.pyramid=levels", "augmentation.cutmix=0.5",
        'objective.losses=[{"name":"dice","weight":0.7},{"name":"focal","weight":0.3}]',
    ),
}  # fmt: skip
"""The U-Net as it is usually trained, and everything that is said to help small objects."""


def trained(row: str, data: str, minutes: int, *extra: str) -> Job:
    """Train with one command on the second of five parts, predict what was held out, score it."""
    run, folder = WORK / row / "run", DATA / data
    found = ("--data", f"{folder}", "--run", f"{run}", "--predictions", f"{WORK / row / 'ours'}")
    return Job(
        row,
        (
            (UNET, "train", f"{folder}", "--out", f"{run}", "--minutes", f"{minutes}", "--fold", "1/5",
             "--overwrite", *extra),
            (OURS, f"{ROAD}/predict_held_out.py", *found),
            (OURS, f"{ROAD}/score.py", *found),
        ),
    )  # fmt: skip


def jobs() -> list[Job]:
    """Every claim, in the order they are run."""
    rows = [
        Job("surfaces", ((THEIRS, f"{HERE}/surfaces.py"),)),
        Job("field", ((OURS, f"{HERE}/field.py"),)),
        Job("corrupted", ((OURS, f"{HERE}/corrupted.py"),)),
        trained("acdc_cardiac", "acdc_cardiac", 60),
    ]
    for data in NODULES:
        for recipe, values in RECIPES.items():
            words = [word for value in values for word in ("--set", value)]
            rows += [
                trained(f"{data}-{recipe}-{seed}", data, 10, "--seed", f"{seed}", *words) for seed in SEEDS
            ]
    return rows


def main() -> None:
    """Work off what is asked for."""
    from results import write

    work_off(jobs(), HERE, write)


if __name__ == "__main__":
    main()
