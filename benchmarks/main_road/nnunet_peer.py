"""nnU-Net 2.8.1 as its own commands run it: preparation, its trainer for a time budget, its predictor.

Runs in the peers' environment. Its schedule is scaled to the budget (its default of 1000 epochs would leave
the learning rate at the start), which is kinder to it than running the default and cutting it off.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path

DATASET = 4
NAME = f"Dataset{DATASET:03d}_Bench"


def prepare(data: Path, split: Path, work: Path) -> None:
    """Lay out the raw folder, plan and preprocess with nnU-Net's own code, and fix the split to ours."""
    for key, folder in (("raw", "raw"), ("preprocessed", "preprocessed"), ("results", "results")):
        os.environ[f"nnUNet_{key}"] = str(work / folder)
    from nnunetv2.experiment_planning.plan_and_preprocess_api import (
        extract_fingerprints,
        plan_experiments,
        preprocess,
    )

    parts = json.loads(split.read_text())
    raw = work / "raw" / NAME
    if not (work / "preprocessed" / NAME / "splits_final.json").exists():
        shutil.rmtree(work, ignore_errors=True)
        (raw / "imagesTr").mkdir(parents=True)
        (raw / "labelsTr").mkdir(parents=True)
        for case in parts["train"] + parts["held_out"]:
            shutil.copy(data / "imagesTr" / f"{case}.nii.gz", raw / "imagesTr" / f"{case}_0000.nii.gz")
            shutil.copy(data / "labelsTr" / f"{case}.nii.gz", raw / "labelsTr" / f"{case}.nii.gz")
        labels = {"background": 0, "anterior": 1, "posterior": 2}
        facts = {
            "channel_names": {"0": "MRI"},
            "labels": labels,
            "numTraining": len(parts["train"]) + len(parts["held_out"]),
            "file_ending": ".nii.gz",
        }
        (raw / "dataset.json").write_text(json.dumps(facts))
        extract_fingerprints([DATASET], num_processes=2, check_dataset_integrity=False)
        plan_experiments([DATASET])
        preprocess([DATASET], configurations=["3d_fullres"], num_processes=[2])
    (work / "preprocessed" / NAME / "splits_final.json").write_text(
        json.dumps([{"train": parts["train"], "val": parts["held_out"]}])
    )


def trainer():  # noqa: ANN201 - nnU-Net's own class, imported late
    """nnU-Net's trainer for fold 0 on the CPU."""
    import torch
    from nnunetv2.run.run_training import get_trainer_from_args

    return get_trainer_from_args(str(DATASET), "3d_fullres", 0, device=torch.device("cpu"))


def train(minutes: float, predictions: Path, data: Path, split: Path) -> dict[str, float]:
    """Train for ``minutes`` of wall clock, then predict the held-out cases without mirroring."""
    import torch
    from nnunetv2.inference.predict_from_raw_data import nnUNetPredictor

    start = time.monotonic()
    made = trainer()
    made.disable_checkpointing = True
    made.on_train_start()
    made.network.train()
    seconds = minutes * 60
    steps = 0
    while (spent := time.monotonic() - start) < seconds:
        for group in made.optimizer.param_groups:
            group["lr"] = made.initial_lr * (1 - spent / seconds) ** 0.9
        made.train_step(next(made.dataloader_train))
        steps += 1
    spent = time.monotonic() - start
    made.set_deep_supervision_enabled(False)
    predictor = nnUNetPredictor(use_mirroring=False, device=torch.device("cpu"), allow_tqdm=False)
    predictor.manual_initialization(
        made.network.eval(),
        made.plans_manager,
        made.configuration_manager,
        [made.network.state_dict()],
        made.dataset_json,
        made.__class__.__name__,
        None,
    )
    predictions.mkdir(parents=True, exist_ok=True)
    held_out = json.loads(split.read_text())["held_out"]
    predictor.predict_from_files_sequential(
        [[str(data / "imagesTr" / f"{case}.nii.gz")] for case in held_out],
        [str(predictions / f"{case}.nii.gz") for case in held_out],
        save_probabilities=False,
        overwrite=True,
    )
    return {"steps": steps, "seconds": spent}


def main() -> None:
    """Prepare, then train and predict; prints one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--data", type=Path, required=True)
    parser.add_argument("--split", type=Path, required=True)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--predictions", type=Path, required=True)
    parser.add_argument("--minutes", type=float, required=True)
    given = parser.parse_args()
    prepare(given.data, given.split, given.work.resolve())
    print(json.dumps(train(given.minutes, given.predictions, given.data, given.split)))


if __name__ == "__main__":
    main()
