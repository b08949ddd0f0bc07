"""After the last step: save the model, measure it on what it has never seen, write the report."""

from __future__ import annotations

import shutil
import time
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from unetkit.data.formats import DICOM, format_of, kind_of
from unetkit.data.labels import class_ids, read_label, read_pixels
from unetkit.learning.exemplars import MEMORY, recall
from unetkit.networks.card import FORMAT
from unetkit.networks.store import read_plan, save_model
from unetkit.records.case import Case
from unetkit.records.files import write_text
from unetkit.records.plan import DataPlan
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.records.split import SplitFile
from unetkit.workflows.cascading import previous_model
from unetkit.workflows.case_pictures import INDEX, SHOWN_BYTES, PictureIndex, Shown, save_pictures
from unetkit.workflows.evaluate import score_model
from unetkit.workflows.fitting import Trained
from unetkit.workflows.gallery import worst_first
from unetkit.workflows.manifest import write_manifest
from unetkit.workflows.model import Model, layout_facts
from unetkit.workflows.observing import Observation, observe, save_reference, with_scores
from unetkit.workflows.predict import OUTPUT_SUFFIX
from unetkit.workflows.proposal import measures_for
from unetkit.workflows.report import report
from unetkit.workflows.run_folder import safe_name
from unetkit.workflows.seen import note_seen
from unetkit.workflows.starting import read_start

WORST, OTHERS = 9, 6


def finish(trained: Trained, *, progress: Progress) -> Scores | None:
    """Turn a trained network into a finished run: ``model/``, predictions, pictures, manifest, report.

    Args:
        trained: What the loop left.
        progress: Who watches.

    Returns:
        Scores on the held-out cases, None when there are none.
    """
    ready = trained.ready
    run, plan = ready.run, ready.plan
    facts = {
        FORMAT: kind_of(ready.trained_on[0].images[0]) or "",
        "training cases": str(len(ready.train)),
        "split": SplitFile.from_json(run.split.read_bytes(), where=run.split).how,
        "steps": str(trained.outcome.step),
        **layout_facts(trained.device, trained.layout),
    }
    start = read_start(run)
    if start is not None and start.matched is not None:
        facts["started from"] = start.matched.sentence()
    first = previous_model(run)
    if first is not None:
        spacing = " × ".join(f"{step:g}" for step in read_plan(first).preparation.spacing_mm)
        facts["first stage"] = f"a network at a spacing of {spacing} mm, in previous/"
    # before measuring: nothing trained is ever lost
    save_model(run.model, trained.network, plan, facts=facts, previous=first)
    recalled = recall(run.memory, plan.data) if (run.memory / MEMORY).is_file() else ()
    note_seen(run, (each.case for each in recalled))
    begun = time.monotonic()
    scores = None
    if ready.held_out:
        model = Model(run.model, plan, trained.predictor, str(trained.device))
        scores, seen = _measure(trained, model, progress=progress)
        save_model(run.model, trained.network, plan, scores=scores, facts=facts, previous=first)
        save_reference(run.model, with_scores(seen, scores), source=f"held-out cases of {ready.source}")
        picture_cases(run, ready.held_out, plan.data, scores)
    write_manifest(
        run,
        source=ready.source,
        seed=plan.training.seed,
        device=str(trained.device),
        threads=torch.get_num_threads(),
        layout=f"{trained.layout.precision} {trained.layout.memory_format}",
        data=ready.digests,
        seconds={**trained.seconds, "measuring": time.monotonic() - begun},
    )
    report(run.folder)
    run.note("finished", step=trained.outcome.step)
    own_cache = run.folder / "cache"
    if own_cache.is_dir():
        shutil.rmtree(own_cache)
    return scores


def _measure(trained: Trained, model: Model, *, progress: Progress) -> tuple[Scores, list[Observation]]:
    """Scores of the held-out cases, and what they look like: later images are held against them."""
    ready = trained.ready
    observed: list[Observation] = []

    def seen(case: Case, _: np.ndarray, prediction: Prediction) -> None:
        model.save(prediction, prediction_path(ready.run, case))
        pixels = read_pixels(case, model.plan.data)[0]
        observed.append(observe(model, pixels, ready.cache.get(case), prediction))

    scores = score_model(
        model,
        ready.held_out,
        split="held-out",
        measures=measures_for(ready.held_out, model.plan.data, progress=progress),
        seen=seen,
        progress=progress,
        sample=ready.cache.get,
    )
    return scores, observed


def prediction_path(run: Run, case: Case) -> Path:
    """Where a run keeps what was predicted for a case.

    Args:
        run: The run.
        case: Its address.
    """
    kind = kind_of(case.images[0]) or "raster"
    suffix = OUTPUT_SUFFIX["nifti" if kind == DICOM else kind]  # a run holds nothing of a patient
    return run.folder / "predictions" / f"{safe_name(case.id)}{suffix}"


def picture_cases(run: Run, cases: Sequence[Case], data: DataPlan, scores: Scores) -> None:
    """Save pictures of the worst cases and of some others, evenly spread over the rest.

    Args:
        run: It keeps their predictions; its ``pictures/`` is written.
        cases: Labelled cases that were measured.
        data: Channels and classes.
        scores: What was measured.
    """
    by_id = {case.id: case for case in cases}
    order = [row.id for row in worst_first(scores)]
    rest = order[WORST:]
    picks = (
        np.unique(np.linspace(0, len(rest) - 1, min(OTHERS, len(rest))).round().astype(int)) if rest else []
    )
    chosen = [*order[:WORST], *(rest[int(pick)] for pick in picks)]
    rows = []
    for number, id in enumerate(chosen):
        case = by_id[id]
        pixels, grid = read_pixels(case)
        reference, known, _ = read_label(case, data)
        path = prediction_path(run, case)
        raw, _ = format_of(path).read_label(path)
        labels, _ = class_ids(raw, data, where=path)
        shown = Shown(id, pixels, grid, reference, labels, known, data.classes[1:], data.channels[0])
        rows.append(save_pictures(run, number, shown, budget=SHOWN_BYTES // len(chosen)))
    write_text(run.folder / "pictures" / INDEX, PictureIndex(cases=tuple(rows)).to_json())
