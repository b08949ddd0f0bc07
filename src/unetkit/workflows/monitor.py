"""``monitor``: whether new images, what a model says of them, or its scores have drifted."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unetkit.data.labels import read_label, read_pixels
from unetkit.errors import DataError, UsageError
from unetkit.inference.ensemble import Ensemble
from unetkit.metrics.drift import distribution_p, energy_p, holm, least_p
from unetkit.metrics.score import score_case, summarise
from unetkit.records.case import Case, Grid, Sample
from unetkit.records.drift import (
    DriftTest,
    MonitorResult,
    ReferenceFile,
    RefusedImage,
    UnusualImage,
)
from unetkit.records.files import write_text
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.workflows.evaluate import can_be_sure
from unetkit.workflows.given_images import given_images
from unetkit.workflows.model import Model, load
from unetkit.workflows.model_folder import model_folder
from unetkit.workflows.observing import (
    DICE,
    Observation,
    observe,
    read_reference,
    refuse_reference,
    save_reference,
    with_scores,
)

ALARM = 0.001
"""Share of batches without drift in which one may be declared all the same, over all references.

A reference is drawn once and asked again and again. With one of twice the batch's size and 20 statistics, a
reference as unlucky as one in a hundred is still wrong in less than one batch of a hundred at this share (a
deviation of 2.5 standard errors of the batch is left to it); at 0.01 it would be wrong in four.
"""
MOST_UNUSUAL = 20
_MOST_NEEDED = 1000
FEW = 20
"""Images of a reference below which little can be found."""
_EMBEDDING = "embedding"


def monitor(
    model: str | Path | Model,
    source: str | Path,
    *,
    html: str | Path | None = None,
    learn: bool = False,
    alarm: float = ALARM,
    device: str = "auto",
    progress: Progress | None = None,
) -> MonitorResult:
    """Hold a batch of new images against those that the model is known to be good on.

    Every statistic is compared by an exact two-sample test, the embedding by a permutation test; the p values
    are adjusted for their number (Holm), and drift is declared where one stays at ``alarm`` or below. As long
    as reference and batch are drawn independently from the same images, that happens with a chance of at most
    ``alarm``, however the statistics depend on one another.

    Args:
        model: A model folder, a run, an exported model, the live one of a registry, or a loaded model.
        source: A folder of images, or a data set: its labels tell whether the scores have drifted.
        html: Write a page there.
        learn: Make these images the reference instead, in the model folder.
        alarm: See above; above 0, below 1.
        device: Where to compute.
        progress: Who watches.

    Raises:
        UsageError: There is no model, it has no reference, or lies in a registry and would be changed.
        DataError: There is no image, or none that can be read.
    """
    watch = progress or Quiet()
    if not 0 < alarm < 1:
        raise UsageError(f"expected a share of false alarms between 0 and 1, got {alarm:g}", cure="say 0.001")
    place = model.folder if isinstance(model, Model) else model_folder(model)
    if learn:
        refuse_reference(place)
    reference = None if learn else read_reference(place)  # before any work
    loaded = model if isinstance(model, Model) else load(place, device=device)
    cases = given_images(Path(source), loaded.plan.data)
    seen, refused = look_at(loaded, cases, progress=watch)
    if not seen:
        first = refused[0]
        raise DataError(f"no image could be read; the first: {first.problem}", cure=first.cure, where=source)
    if reference is None:
        reference = save_reference(place, seen, source=str(source))
        return MonitorResult(
            model=place,
            source=Path(source),
            images=len(seen),
            reference=reference.source,
            reference_images=len(reference.ids),
            alarm=alarm,
            refused=refused,
            notes=_few(reference),
            learned=True,
        )
    paths = {case.id: case.images[0] for case in cases}
    tests = compare(reference, seen, alarm=alarm)
    needed = _needed(tests, reference, alarm)
    result = MonitorResult(
        model=place,
        source=Path(source),
        images=len(seen),
        reference=reference.source,
        reference_images=len(reference.ids),
        alarm=alarm,
        needed=needed,
        tests=tests,
        drifted=tuple(dict.fromkeys(test.kind for test in tests if test.drifted)),
        unusual=unusual(reference, seen, tests, paths),
        refused=refused,
        notes=(*_few(reference), *_blind(needed, reference, seen)),
        html=None if html is None else Path(html),
    )
    if html is not None:
        from unetkit.workflows.drift_page import drift_page

        write_text(Path(html), drift_page(result, reference, seen))
    return result


def compare(reference: ReferenceFile, seen: Sequence[Observation], *, alarm: float) -> tuple[DriftTest, ...]:
    """Test every statistic that both sides have, the least likely first.

    Args:
        reference: What is known to be good.
        seen: The new images.
        alarm: Share of false alarms that is allowed.
    """
    columns = _columns(reference)
    found: dict[str, tuple[np.ndarray, np.ndarray]] = {}
    p_values: dict[str, float] = {}
    for name, before in columns.items():
        now = np.array([each.values[name] for each in seen if name in each.values])
        if before.size and now.size:
            found[name] = before, now
            p_values[name] = distribution_p(before, now, lower=name == DICE)
    vectors = [each.embedding for each in seen if each.embedding is not None]
    if reference.embeddings and vectors:
        p_values[_EMBEDDING] = energy_p(np.array(reference.embeddings), np.array(vectors))
    adjusted = holm(p_values)
    tests = []
    for name in sorted(p_values, key=lambda name: (adjusted[name], p_values[name])):
        before, now = found.get(name, (None, None))
        low, middle, high = (None,) * 3 if before is None else np.percentile(before, (5, 50, 95)).tolist()
        tests.append(
            DriftTest(
                name=name,
                kind=kind_of(name),
                images=len(vectors) if now is None else now.size,
                reference=middle,
                low=low,
                high=high,
                batch=None if now is None else float(np.median(now)),
                p_value=p_values[name],
                adjusted=adjusted[name],
                drifted=adjusted[name] <= alarm,
            )
        )
    return tuple(tests)


def kind_of(name: str) -> str:
    """Which of ``KINDS`` a statistic tells of.

    Example:
        >>> kind_of("texture.noise.image"), kind_of("prediction.entropy")
        ('input', 'prediction')
    """
    first = name.partition(".")[0]
    return first if first in ("prediction", "performance") else "input"


def unusual(
    reference: ReferenceFile,
    seen: Sequence[Observation],
    tests: Sequence[DriftTest],
    paths: dict[str, Path],
) -> tuple[UnusualImage, ...]:
    """Images outside all that the reference holds, by what has drifted, else by anything.

    Args:
        reference: What is known to be good.
        seen: The new images.
        tests: What has drifted.
        paths: Image to its file.
    """
    columns = _columns(reference)
    drifted = {test.name for test in tests if test.drifted} & columns.keys()
    rows = []
    for each in seen:
        reasons = []
        for name, value in each.values.items():
            before = columns.get(name)
            if before is None or not before.size or (drifted and name not in drifted):
                continue
            least, most = float(before.min()), float(before.max())
            if least <= value <= most or (name == DICE and value > most):
                continue
            low, high = np.percentile(before, (5, 95))
            width = max(float(high - low) / 2, 1e-9 + 1e-3 * abs(float(high)))
            outside = (least - value if value < least else value - most) / width
            reasons.append((outside, f"{name} {value:.4g} ({least:.4g} to {most:.4g})"))
        if reasons:
            reasons.sort(reverse=True)
            words = tuple(text for _, text in reasons[:3])
            rows.append(
                UnusualImage(id=each.id, path=paths[each.id], reasons=words, distance=round(reasons[0][0], 3))
            )
    rows.sort(key=lambda row: (-row.distance, row.id))
    return tuple(rows[:MOST_UNUSUAL])


def _columns(reference: ReferenceFile) -> dict[str, np.ndarray]:
    """Statistic to its values in the reference; images without it are left out."""
    return {
        name: np.array([row[place] for row in reference.values if row[place] is not None])
        for place, name in enumerate(reference.names)
    }


def look_at(
    model: Model, cases: Sequence[Case], *, progress: Progress | None = None
) -> tuple[list[Observation], tuple[RefusedImage, ...]]:
    """Predict every image and note what can drift; one that cannot be read stops nothing.

    Args:
        model: What predicts.
        cases: Images, labelled or not.
        progress: Who watches.

    Returns:
        What was noted, and the images that could not be read.
    """
    watch = progress or Quiet()
    plan, seen, rows = model.plan, [], []
    refused: list[RefusedImage] = []
    classes = plan.data.classes[1:]
    watch.begin("looking at images", len(cases))
    for case in cases:
        try:
            pixels, grid = read_pixels(case, plan.data)
            model.predictor.check(pixels.shape, str(case.images[0]))
            prediction, sample = _answered(model, case.id, pixels, grid, progress=watch)
            if case.label is not None:
                truth, known, _ = read_label(case, plan.data)
                rows.append(
                    score_case(
                        case.id,
                        case.group,
                        truth,
                        prediction.labels,
                        classes=classes,
                        known=known,
                        spacing_mm=grid.spacing_mm,
                        metrics=("dice",),
                    )
                )
            seen.append(observe(model, pixels, sample, prediction))
        except DataError as wrong:
            where = wrong.where or str(case.images[0])
            refused.append(RefusedImage(id=case.id, where=where, problem=wrong.problem, cure=wrong.cure))
        watch.advance(1, case=case.id)
    watch.end()
    if rows:
        scores = summarise(rows, classes=classes, metrics=("dice",), tolerance_mm=1.0, split="unknown")
        seen = with_scores(seen, scores)
    return seen, tuple(refused)


def _answered(
    model: Model, id: str, pixels: np.ndarray, grid: Grid, *, progress: Progress
) -> tuple[Prediction, Sample | None]:
    """What a model makes of an image, and the image as it was prepared; None where several prepare it."""
    plan = model.plan
    affordable = can_be_sure(plan, pixels[0].size)
    if isinstance(model.predictor, Ensemble):
        found = model.predictor.array(pixels, grid, id=id, probabilities=affordable, progress=progress)
        return found, None
    sample = model.predictor.inputs.array(pixels, grid, id=id, progress=progress)
    return model.predictor.sample(sample, probabilities=affordable, progress=progress), sample


def _few(reference: ReferenceFile) -> tuple[str, ...]:
    if len(reference.ids) >= FEW:
        return ()
    return (
        f"the reference holds {len(reference.ids)} images: only great changes can be told from chance; "
        "learn it from more (--learn)",
    )


def _needed(tests: Sequence[DriftTest], reference: ReferenceFile, alarm: float) -> int:
    """Images it takes to declare any drift at all; 1000 where as many do not suffice."""
    needed = 1
    while least_p(len(reference.ids), needed) * len(tests) > alarm and needed < _MOST_NEEDED:
        needed += 1
    return needed


def _blind(needed: int, reference: ReferenceFile, seen: Sequence[Observation]) -> tuple[str, ...]:
    """What cannot be found, however large it is."""
    notes = []
    if len(seen) < needed:
        notes.append(
            f"{len(seen)} images cannot show a drift at this rate of false alarms, {needed} are needed"
        )
    if not reference.embeddings:
        why = "exported ones and ensembles do not"
        notes.append(f"this model does not show its embedding ({why}): it is not compared")
    return tuple(notes)
