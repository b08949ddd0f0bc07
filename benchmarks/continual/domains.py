"""Domains of the real data sets as data sets of their own: a CSV of training and one of test cases each.

Groups stay on one side. Where a picture or a mask has to be another (grey, or one class for all), a changed
copy lies in the work folder, which is not kept.
"""

from __future__ import annotations

import csv
import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image

Row = dict[str, str]
MOST_TRAIN, MOST_TEST = 60, 30


@dataclass(frozen=True)
class Stage:
    """One domain, or one new class, and what is taken of a data set for it."""

    name: str
    source: str
    wanted: Callable[[Row], bool]
    labels: dict[str, int]
    values: dict[int, int]


def _kind(name: str) -> Callable[[Row], bool]:
    return lambda row: row["kind"] == name


def _defect(name: str) -> Callable[[Row], bool]:
    return lambda row: row["defect"] == name


NUCLEUS, DEFECT = {"background": 0, "nucleus": 1}, {"background": 0, "defect": 1}
STEEL = ("inclusion", "patches", "scratches")
SEQUENCES: dict[str, tuple[Stage, ...]] = {
    "nuclei": (
        Stage("fluor", "dsb2018_nuclei", _kind("fluor"), NUCLEUS, {}),
        Stage("colour_light", "dsb2018_nuclei", _kind("colour_light"), NUCLEUS, {}),
    ),
    "defects": (
        Stage("steel", "neu_seg", lambda _: True, DEFECT, {2: 1, 3: 1}),
        Stage("tile", "magnetic_tile", lambda row: row["classes"] != "", DEFECT, {2: 1, 3: 1, 4: 1, 5: 1}),
    ),
    "steel_classes": tuple(
        Stage(name, "neu_seg", _defect(name), {"background": 0, name: value}, {})
        for value, name in enumerate(STEEL, start=1)
    ),
}


def make_sequence(name: str, data: Path, work: Path) -> list[tuple[Path, Path]]:
    """Training and test CSV of every stage; what is there already stays.

    Args:
        name: A sequence.
        data: Folder of the data sets.
        work: Where to write.
    """
    return [make_stage(stage, data / stage.source, work / name / stage.name) for stage in SEQUENCES[name]]


def make_stage(stage: Stage, source: Path, home: Path) -> tuple[Path, Path]:
    """The two CSVs of one stage."""
    sides = home / "train" / "cases.csv", home / "test" / "cases.csv"
    if all(side.is_file() for side in sides):
        return sides
    with (source / "index.csv").open(newline="") as file:
        rows = [row for row in csv.DictReader(file) if stage.wanted(row)]
    for side, chosen in zip(sides, divided(rows), strict=True):
        stage_files(stage, source, home, chosen, side)
    return sides


def stage_files(stage: Stage, source: Path, home: Path, rows: list[Row], table: Path) -> Path:
    """The CSV of some rows, the names of the classes beside it; what has to be another picture is copied.

    Args:
        stage: What the classes are.
        source: The data set.
        home: Where copies go.
        rows: Of its index.
        table: The CSV; one that is there stays.
    """
    if table.is_file():
        return table
    table.parent.mkdir(parents=True, exist_ok=True)
    (table.parent / "dataset.json").write_text(json.dumps({"labels": stage.labels}))
    lines = [("id", "image", "label", "group")]
    for row in rows:
        image, mask = (_copied(stage, source, home, part, row["id"]) for part in ("images", "masks"))
        lines.append((row["id"], str(image), str(mask), row["group"]))
    with table.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return table


def divided(rows: list[Row]) -> tuple[list[Row], list[Row]]:
    """Training and test rows: every third group is tested on, of both sides as many as are wanted."""
    groups = sorted({row["group"] for row in rows})
    tested = set(groups[::3])
    sides = ([row for row in rows if (row["group"] in tested) is side] for side in (False, True))
    return tuple(  # pyright: ignore[reportReturnType] - two of them
        [
            side[place]
            for place in np.unique(np.linspace(0, len(side) - 1, min(most, len(side))).round().astype(int))
        ]
        for side, most in zip(sides, (MOST_TRAIN, MOST_TEST), strict=True)
    )


def _copied(stage: Stage, source: Path, home: Path, part: str, id: str) -> Path:
    """The file itself, or a copy that is grey, or has the stage's values."""
    path = source / part / f"{id}.png"
    with Image.open(path) as picture:
        if part == "images" and picture.mode == "L":
            return path.resolve()
        array = np.asarray(picture.convert("L") if part == "images" else picture)
    if part == "masks":
        changed = array.copy()
        for old, new in stage.values.items():
            changed[array == old] = new
        if not stage.values:
            return path.resolve()
        array = changed
    target = home / part / path.name
    target.parent.mkdir(parents=True, exist_ok=True)
    Image.fromarray(array).save(target)
    return target.resolve()


def joined_csv(stages: list[tuple[Path, Path]], labels: dict[str, int], home: Path) -> Path:
    """All training cases of a sequence as one data set, for joint training."""
    path = home / "joint" / "cases.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    (path.parent / "dataset.json").write_text(json.dumps({"labels": labels}))
    lines: list[tuple[str, ...]] = [("id", "image", "label", "group")]
    for train, _ in stages:
        name = train.parent.parent.name
        with train.open(newline="") as file:
            lines += [
                (f"{name}-{row['id']}", row["image"], row["label"], f"{name}-{row['group']}")
                for row in csv.DictReader(file)
            ]
    with path.open("w", newline="") as file:
        csv.writer(file).writerows(lines)
    return path
