"""``demo``: make a small data set, train on it for a few minutes, measure, and segment an unseen image."""

from __future__ import annotations

from pathlib import Path
from typing import Unpack

import numpy as np
from PIL import Image

from unetkit.records.files import write_bytes
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.workflows.asked import given_plan, resumed_plan
from unetkit.workflows.pictures import overlay, png
from unetkit.workflows.run_folder import refuse_taken
from unetkit.workflows.train import TrainSettings, Wishes, train
from unetkit.workflows.wafers import make_wafers

WAFERS, MINUTES, UNSEEN_SEED = 12, 3.0, 9_000


class DemoResult(Saved):
    """What the demo left behind.

    Args:
        out: The demo's folder.
        data: The data set it made.
        run: The run.
        model: The model folder.
        report: The html report.
        prediction: Labels of an image the model had never seen.
        overlay: That image with the labels coloured in.
        dice: Class → mean Dice on held-out images.
        next: Three commands to try next.
    """

    out: Path
    data: Path
    run: Path
    model: Path
    report: Path
    prediction: Path
    overlay: Path
    dice: dict[str, float | None]
    next: tuple[str, ...]


def demo(
    out: str | Path = "demo",
    *,
    wafers: int = WAFERS,
    size: int = 256,
    progress: Progress | None = None,
    **settings: Unpack[TrainSettings],
) -> DemoResult:
    """Make wafer-like images with scratches, particles and stains; train, measure, predict, report.

    Args:
        out: Where everything goes.
        wafers: Wafers to draw; each gives four images.
        size: Edge of an image, pixels.
        progress: Who watches.
        settings: Anything ``train`` takes; ``minutes`` is 3 when not given, but for a demo that is resumed.

    Raises:
        UsageError: A setting is wrong, or the folder holds a demo and ``overwrite`` was not said.
    """
    watch = progress or Quiet()
    folder = Path(out)
    run_folder, wishes = Run(folder / "run"), Wishes.of(settings)
    # What is refused must be refused before the pictures of an earlier demo are drawn over.
    refuse_taken(run_folder, resume=wishes.resume, overwrite=wishes.overwrite)
    given_plan(wishes)
    data, seed = folder / "wafers", wishes.seed or 0
    asked: TrainSettings = {"minutes": MINUTES, **settings}
    if wishes.resume and run_folder.plan.is_file():
        own = Plan.from_json(run_folder.plan.read_bytes(), where=run_folder.plan)
        resumed_plan(own, wishes, where=run_folder.folder)
        asked, seed = settings, own.training.seed
    else:
        make_wafers(data, wafers=wafers, size=size, seed=seed, progress=watch)
    unseen = make_wafers(folder / "unseen", wafers=1, size=size, seed=UNSEEN_SEED + seed, labelled=False)
    run = train(data, folder / "run", progress=watch, **asked)
    picture = unseen[0]
    mask = run.predict(picture)
    prediction = run.model.save(mask, folder / "predictions" / picture.name)
    coloured = folder / "predictions" / f"{picture.stem}.overlay.png"
    write_bytes(coloured, _overlay(picture, mask.labels))
    return DemoResult(
        out=folder,
        data=data,
        run=run.folder,
        model=run.run.model,
        report=run.report,
        prediction=prediction,
        overlay=coloured,
        dice=run.facts()["dice"],
        next=(
            f"unet predict {run.run.model} {folder / 'unseen'} --out {folder / 'predictions'}",
            f"unet check {data} --html {folder / 'check.html'}",
            f"unet plan {data} --minutes 30",
        ),
    )


def _overlay(picture: Path, labels: np.ndarray) -> bytes:
    with Image.open(picture, formats=["PNG"]) as image:
        grey = np.asarray(image)[..., None]
    return png(overlay(grey, labels))
