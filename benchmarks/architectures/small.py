"""The whole queue of ``bench.py`` in minutes, on generated images: every row runs, goes on and is printed.

Its numbers mean nothing. The same options: ``--list``, ``--only``, ``--again``; everything lies in
``work/small``, the page too.
"""

from __future__ import annotations

import sys
from pathlib import Path

HERE = Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent))

SMALL = HERE / "work" / "small"


def make_sets(folder: Path) -> None:
    """Generated stand-ins under the names of the real sets: grey pictures and volumes."""
    import numpy as np
    from bench import RECIPES, SETS, STARTS

    from unetkit.data.formats import format_of
    from unetkit.records.case import Grid
    from unetkit.workflows.wafers import make_wafers

    for name in {*SETS, *STARTS, *RECIPES} - {"hippocampus"}:
        if not (folder / name).exists():
            make_wafers(folder / name, wafers=5, size=96)
    volumes = folder / "hippocampus"
    for number in range(6):
        random = np.random.default_rng(number)
        z, y, x = np.mgrid[:28, :40, :28]
        centre = random.uniform((10, 14, 10), (18, 26, 18))
        ball = (z - centre[0]) ** 2 + (y - centre[1]) ** 2 + (x - centre[2]) ** 2 < 49
        pixels = (random.normal(100, 10, ball.shape) + 60 * ball).clip(0, 255).astype(np.uint8)
        for kind, array in (("images", pixels), ("masks", ball.astype(np.uint8))):
            path = volumes / kind / f"case{number}.nii.gz"
            path.parent.mkdir(parents=True, exist_ok=True)
            format_of(path).write(path, array, Grid.plain(3))


def main() -> None:
    """Work off what is asked for."""
    from bench import Scope, jobs
    from results import write

    from worklist import work_off

    make_sets(SMALL / "data")
    scope = Scope(minutes=0.15, steps=2, data=SMALL / "data", work=SMALL / "work")
    work_off(jobs(scope), SMALL, write)


if __name__ == "__main__":
    main()
