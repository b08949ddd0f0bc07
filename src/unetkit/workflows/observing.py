"""A model at work, image by image, in numbers that can drift; and the reference they are held against."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unetkit.data.appearance import appearance
from unetkit.records.case import Sample
from unetkit.records.drift import REFERENCE, ReferenceFile
from unetkit.records.files import write_text
from unetkit.records.prediction import Prediction
from unetkit.records.scores import Scores
from unetkit.spatial.regions import components
from unetkit.spatial.slices import Slices
from unetkit.workflows.gallery import case_dice
from unetkit.workflows.model import Model
from unetkit.workflows.sealed import Wording, read_sealed, refuse_registered, seal_of

MOST = 500
"""Images of a reference; of more, evenly spread ones are kept."""
_COLUMNS = 64
"""Columns of an embedding that are kept; of more, as many random projections of it."""
_DIGITS = 6
DICE = "performance.dice"
_WORDS = Wording(
    name="reference",
    missing="this model has no reference to hold images against",
    first="name images that it is known to be good on: unet monitor MODEL GOOD --learn",
    again="learn it anew with --learn",
    other="learn it anew: unet monitor MODEL GOOD --learn",
    elsewhere="learn the reference of the run it was added from, and add that as a new version",
)


@dataclass(frozen=True)
class Observation:
    """One image.

    Args:
        id: Its name.
        values: Statistic to its value.
        embedding: ``(D,)``; None where the model gives none.
    """

    id: str
    values: dict[str, float]
    embedding: np.ndarray | None


def observe(model: Model, pixels: np.ndarray, sample: Sample | None, prediction: Prediction) -> Observation:
    """What an image looks like, and what a model made of it.

    Args:
        model: What predicted.
        pixels: ``(C, *S)`` as in the file.
        sample: The same, prepared; None where several networks answer, each of which prepares it by itself.
        prediction: Labels, and probabilities where they could be afforded.
    """
    names, labels = model.classes, prediction.labels
    values = appearance(pixels, model.plan.data.channels)
    for value, name in enumerate(names[1:], start=1):
        here = labels == value
        values[f"prediction.area.{name}"] = float(here.mean())
        values[f"prediction.objects.{name}"] = float(components(here)[1])
    shares = prediction.probabilities
    if shares is not None:
        bits = -(shares * np.log(np.maximum(shares, 1e-12))).sum(axis=0).mean() / np.log(len(shares))
        values["prediction.entropy"] = float(bits)
    rounded = {name: _short(value) for name, value in values.items()}
    return Observation(prediction.id, rounded, _embedding(model, sample))


def with_scores(observations: Sequence[Observation], scores: Scores) -> list[Observation]:
    """The same with the mean Dice of each image that has one.

    Args:
        observations: In any order.
        scores: By the same ids.
    """
    dice = {case.id: case_dice(case) for case in scores.cases}
    return [
        each
        if (value := dice.get(each.id)) is None
        else replace(each, values={**each.values, DICE: _short(value)})
        for each in observations
    ]


def save_reference(folder: Path, observations: Sequence[Observation], *, source: str) -> ReferenceFile:
    """Write the reference of a model.

    Args:
        folder: The model folder; whole, as its ``model.json`` is part of the reference.
        observations: Images that the model is known to be good on, and was not trained on.
        source: Where they are from, in words.

    Raises:
        ResourceError: The disk is full or may not be written.
    """
    kept = list(observations)[:: max(1, -(-len(observations) // MOST))]
    names = tuple(dict.fromkeys(name for each in kept for name in each.values))
    rows = [[each.values.get(name) for name in names] for each in kept]
    vectors = [each.embedding for each in kept]
    reference = ReferenceFile(
        model_sha256=seal_of(folder),
        source=source,
        ids=tuple(each.id for each in kept),
        names=names,
        values=tuple(tuple(None if value is None else _short(value) for value in row) for row in rows),
        embeddings=()
        if any(vector is None for vector in vectors)
        else tuple(tuple(_short(value) for value in vector) for vector in vectors if vector is not None),
    )
    write_text(folder / REFERENCE, reference.to_json())
    return reference


def read_reference(folder: Path) -> ReferenceFile:
    """Read the reference of a model.

    Args:
        folder: The model folder.

    Raises:
        UsageError: It has none.
        DataError: It is that of another model, or damaged.
    """
    return read_sealed(ReferenceFile, folder / REFERENCE, _WORDS, whole=_fits)


def _fits(reference: ReferenceFile) -> bool:
    """Whether it has a row for each image, and a value for each name."""
    rows = reference.values
    return 0 < len(reference.ids) == len(rows) and {len(row) for row in rows} == {len(reference.names)}


def refuse_reference(folder: Path) -> None:
    """Refuse a folder into which no reference may be written.

    Args:
        folder: The model folder.

    Raises:
        UsageError: It is a version of a registry.
    """
    refuse_registered(folder, _WORDS)


def _embedding(model: Model, sample: Sample | None) -> np.ndarray | None:
    """What the network makes of the image as a whole; an exported one does not show it, nor do several."""
    runtime = getattr(model.predictor, "runtime", None)  # several networks have none of their own
    network = getattr(runtime, "network", None)
    if sample is None or network is None or not hasattr(network, "encoder"):
        return None
    from unetkit.inference.embedding import embed

    found = embed(network, sample, model.plan.inference.tile_size, slices=Slices.of(model.plan.data))
    if len(found) > _COLUMNS:
        turn = np.random.Generator(np.random.Philox(len(found))).normal(size=(len(found), _COLUMNS))
        found = found @ turn / np.sqrt(len(found))
    return np.array([_short(value) for value in found])


def _short(value: float) -> float:
    """As it is saved: an image that is in the reference must be equal to itself."""
    return float(f"{value:.{_DIGITS}g}")
