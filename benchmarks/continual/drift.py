"""Drift on real images: 200 clean batches, and how many images of a shift it takes; one JSON line."""

from __future__ import annotations

import argparse
import csv
import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
from PIL import Image
from scipy import ndimage

import unetkit as uk
from unetkit.data.catalog import find_cases
from unetkit.records.case import Case
from unetkit.records.drift import ReferenceFile
from unetkit.workflows.model import Model, load
from unetkit.workflows.monitor import ALARM, compare, look_at
from unetkit.workflows.observing import Observation, read_reference, save_reference

BATCHES, SIZE, REFERENCE = 200, 50, 100
STEPS = (5, 10, 20, 30, 40, 50)
SEED = 0


def grained(pixels: np.ndarray, random: np.random.Generator) -> np.ndarray:
    """A weave over the picture: another surface."""
    lines = np.sin(np.arange(pixels.shape[1]) * 1.3)[None] * np.sin(np.arange(pixels.shape[0]) * 0.9)[:, None]
    return pixels + 0.3 * pixels.std() * lines * random.uniform(0.8, 1.2)


SHIFTS: dict[str, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    "gain × 1.2": lambda pixels, _: pixels * 1.2,
    "gain × 2": lambda pixels, _: pixels * 2,
    "blur, σ 1 pixel": lambda pixels, _: ndimage.gaussian_filter(pixels, 1),
    "noise, σ a third of the spread": lambda pixels, random: (
        pixels + random.normal(0, pixels.std() / 3, pixels.shape)
    ),
    "new texture": grained,
}


def one_per_group(source: Path) -> list[Case]:
    """Labelled cases of different groups, shuffled: images of one patient or tile are not independent."""
    first: dict[str, Case] = {}
    for case in find_cases(source).cases:
        first.setdefault(case.group, case)
    order = np.random.default_rng(SEED).permutation(len(first))
    every = list(first.values())
    return [every[place] for place in order]


def trained(source: Path, kept: list[Case], work: Path, minutes: float) -> Path:
    """A model trained on other groups than the cases that are watched."""
    groups = {case.group for case in kept}
    rows = [case for case in find_cases(source).cases if case.group not in groups]
    path = work / "train" / "cases.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with path.open("w", newline="") as file:
        writer = csv.writer(file)
        writer.writerow(("id", "image", "label", "group"))
        writer.writerows((case.id, case.images[0].resolve(), case.label, case.group) for case in rows)
    return uk.train(path, work / "run", minutes=minutes, seed=SEED, resume=True).run.model


def shifted(cases: list[Case], name: str, folder: Path) -> list[Case]:
    """Copies of the cases, changed, without labels."""
    random = np.random.default_rng(SEED)
    folder.mkdir(parents=True, exist_ok=True)
    found = []
    for case in cases:
        with Image.open(case.images[0]) as picture:
            pixels = np.asarray(picture.convert("L")).astype(float)
        path = folder / f"{case.id}.png"
        Image.fromarray(SHIFTS[name](pixels, random).clip(0, 255).astype(np.uint8)).save(path)
        found.append(Case(case.id, (path,), None, case.group))
    return found


def needed(model: Model, cases: list[Case], folder: Path) -> dict[str, object]:
    """The fewest images of each shift in which drift is declared, what tells it first, its size."""
    reference = read_reference(model.folder)
    found: dict[str, object] = {}
    for name in SHIFTS:
        seen, _ = look_at(model, shifted(cases, name, folder / name.split(",")[0].replace(" ", "_")))
        least, first = None, ""
        for count in STEPS:
            tests = compare(reference, seen[:count], alarm=ALARM)
            if any(test.drifted for test in tests):
                least, first = count, tests[0].name
                break
        found[name] = {"images": least, "first": first, "effect": round(effect(reference, seen), 2)}
    return found


def effect(reference: ReferenceFile, seen: list[Observation]) -> float:
    """The largest shift of a statistic's mean, in standard deviations of that statistic among images (d)."""
    sizes = [0.0]
    for place, name in enumerate(reference.names):
        before = np.array([row[place] for row in reference.values if row[place] is not None], float)
        now = np.array([each.values[name] for each in seen if name in each.values])
        spread = np.sqrt((before.var() + now.var()) / 2) if before.size and now.size else 0.0
        if spread > 0:
            sizes.append(abs(float((now.mean() - before.mean()) / spread)))
    return max(sizes)


def false_alarms(model: Model, pool: list[Observation]) -> int:
    """How many of the clean batches are declared to have drifted."""
    reference, random = read_reference(model.folder), np.random.default_rng(SEED)
    alarms = 0
    for _ in range(BATCHES):
        batch = [pool[place] for place in random.permutation(len(pool))[:SIZE]]
        alarms += any(test.drifted for test in compare(reference, batch, alarm=ALARM))
    return alarms


def main() -> None:
    """Train, learn the reference, watch, and print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("set")
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    source, work = given.data / given.set, given.work / f"drift-{given.set}"
    every = one_per_group(source)
    share = min(REFERENCE, len(every) // 4)
    watched = every[: min(len(every) * 3 // 4, 3 * REFERENCE)]  # the other groups are trained on
    model = load(trained(source, watched, work, given.minutes))
    seen, _ = look_at(model, watched)
    save_reference(model.folder, seen[:share], source="groups that nobody trained on")
    pool = seen[share:]
    facts = {
        "set": given.set,
        "reference": share,
        "pool": len(pool),
        "batches": BATCHES,
        "batch": min(SIZE, len(pool)),
        "statistics": len(compare(read_reference(model.folder), pool[:SIZE], alarm=ALARM)),
        "false_alarms": false_alarms(model, pool),
        "shifts": needed(model, watched[share : share + SIZE], work / "shifted"),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
