"""Seconds per training step, nnU-Net's own trainer against ours, in turn in one run.

The same network (32-64-128-256, two convolutions a stage, instance norm), patch 40×56×40, batch 9, deep
supervision, Dice + cross-entropy, SGD; data loading and each tool's own augmentation included.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
from collections.abc import Iterator
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from nnunet_peer import prepare, trainer

from duel import duel, medians, metered, serve
from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect
from unetkit.data.patches import Batch, Batches
from unetkit.data.prepare import Cache
from unetkit.networks.unet import build
from unetkit.planning.measure import measure
from unetkit.planning.rules import plan as make_plan
from unetkit.records.run import Run
from unetkit.runtimes.devices import fastest_layout, keep_memory, pick_device, use_threads
from unetkit.training.loop import Task, fit
from unetkit.training.objective import build_objective

PATCH, BATCH = (40, 56, 40), 9


def their_steps() -> Iterator[None]:
    """One call of nnU-Net's train_step on a batch of its own loader per turn."""
    made = trainer()
    made.configuration_manager.configuration["batch_size"] = BATCH  # its plan for 157 cases says 7
    made.disable_checkpointing = True
    made.on_train_start()
    made.network.train()
    while True:
        made.train_step(next(made.dataloader_train))
        yield


class Metered:
    """Batches that let our own loop, in the main thread, do one step whenever it is asked for one."""

    def __init__(self, batches: Batches) -> None:
        self._batches = batches

    def stream(self, start: int, stop: int | None) -> Iterator[Batch]:
        """The same batches; asking for the next one means that the step before is over."""
        return metered(self._batches.stream(start, stop))


def our_steps(data: Path, split: Path, work: Path) -> None:
    """One step of our loop (`training.loop.fit`) per turn, with the planner's own augmentation."""
    keep_memory()
    use_threads()
    inspection = inspect(find_cases(data))
    assert inspection.data is not None
    planned = make_plan(measure(inspection), inspection.data).with_values(
        {
            "training.patch_size": json.dumps(PATCH),
            "training.batch_size": str(BATCH),
            "training.steps": "1000",
            "training.optimizer": "sgd",
            "training.learning_rate": "0.01",
            "network.encoder": "plain",
            "network.widths": "[32,64,128,256]",
            "network.blocks": "[2,2,2,2]",
            "network.decoder_blocks": "[2,2,2]",
            "network.kernels": json.dumps([[3, 3, 3]] * 4),
            "network.strides": json.dumps([[1, 1, 1]] + [[2, 2, 2]] * 3),
            "network.deep_supervision": "3",
            "network.norm": "instance",
        }
    )
    train = set(json.loads(split.read_text())["train"])
    cache = Cache(work / "our_cache", planned.data, planned.preparation)
    samples = [cache.get(case) for case in find_cases(data).cases if case.id in train]
    device = pick_device("cpu")
    network = build(planned.network, rank=3, in_channels=1, classes=3)
    layout = fastest_layout(network, (BATCH, 1, *PATCH), device, training=True)
    gate = Metered(Batches(samples, planned.training, planned.augmentation, classes=3, device=device))
    objective = build_objective(planned.objective, layout)
    task = Task(network, objective, gate, planned.training, layout, device)
    run = Run(work / "our_run")
    shutil.rmtree(run.folder, ignore_errors=True)
    fit(task, run)


def main() -> None:
    """Time both, in turn; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--turns", type=int, default=6)
    parser.add_argument("--side", choices=["nnunet", "unetkit"])
    given = parser.parse_args()
    if given.side == "nnunet":
        prepare(given.data, given.split, given.work.resolve())
        serve(their_steps())
    elif given.side == "unetkit":
        our_steps(given.data, given.split, given.work)
    else:
        prepare(given.data, given.split, given.work.resolve())
        sides = {name: [sys.executable, *sys.argv, "--side", name] for name in ("nnunet", "unetkit")}
        rows = duel(sides, turns=given.turns, block=3)
        print(json.dumps({**medians(rows, "step"), "steps_each": 3 * given.turns}))


if __name__ == "__main__":
    main()
