"""The same pixels through a network before and after its export: logits, classes, Dice, time and size."""

from __future__ import annotations

import math
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from unetkit.compression.parity import seconds_per_tile
from unetkit.data.labels import read_label
from unetkit.data.prepare import prepare
from unetkit.inference.predict import Predictor
from unetkit.inference.stream import largest
from unetkit.metrics.score import score_case, summarise
from unetkit.records.case import Case
from unetkit.records.exported import Parity
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.scores import CaseScores
from unetkit.runtimes import Precision, Runtime
from unetkit.spatial.intensity import stored_pixels
from unetkit.workflows.given_images import given_images

IMAGES = 8
"""At most this many of the given images are compared."""


class Both:
    """Two runtimes on the same batches: answers with the first one's logits, and remembers how they differ.

    Args:
        before: The reference.
        after: What is compared with it; where it answers class ids, these alone are.

    Example:
        >>> class Same:
        ...     notes = ()
        ...     def run(self, batch):
        ...         return batch
        >>> both = Both(Same(), Same())
        >>> both.run(np.ones((1, 2, 3, 3), np.float32)).shape, both.difference, both.agreement
        ((1, 2, 3, 3), 0.0, 1.0)
    """

    def __init__(self, before: Runtime, after: Runtime) -> None:
        self.before, self.after = before, after
        self.notes: list[str] = []
        self.tiles, self.difference, self.largest_logit = 0, 0.0, 0.0
        self.sizes: set[tuple[int, ...]] = set()
        self._pixels = self._alike = 0

    @property
    def agreement(self) -> float:
        """Share of pixels that both give the same class."""
        return self._alike / max(1, self._pixels)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """``(B, C, *S)`` → logits ``(B, K, *S)`` of the first runtime."""
        logits, others = self.before.run(batch), self.after.run(batch)
        self.tiles += 1
        self.sizes.add(batch.shape[2:])
        self._pixels += len(batch) * math.prod(batch.shape[2:])
        self.largest_logit = max(self.largest_logit, float(np.abs(logits).max()))
        ids = others.ndim < logits.ndim
        if others.shape != (logits[:, 0] if ids else logits).shape:
            self.difference = math.inf
            return logits
        if not ids:  # np.maximum, not max: a NaN has to stay one
            self.difference = float(np.maximum(self.difference, np.abs(logits - others).max()))
        for one, other in zip(logits, others, strict=True):
            self._alike += int((largest(one)[0] == (other if ids else largest(other)[0])).sum())
        return logits


def compare(
    before: Runtime,
    after: Runtime,
    plan: Plan,
    cases: Sequence[Case],
    *,
    sizes: tuple[int, int],
    progress: Progress | None = None,
    precision: Precision = "float32",
    stand_in: str = "",
) -> Parity:
    """Compare two runtimes on generated tiles of several sizes and on given images.

    Args:
        before: The reference; it takes what ``after`` takes, and answers logits.
        after: What is compared with it.
        plan: The plan of ``after``.
        cases: Given images; of one with a label, the Dice is compared too.
        sizes: Bytes of the network before and after.
        progress: Who watches.
        precision: What ``after`` computes in where the network does not count in eight bits.
        stand_in: What ``after`` is, in words, where it stands in for a runtime that cannot run here; it is
            not timed then.

    Returns:
        What was found; its ``faults()`` say what is beyond tolerance.

    Raises:
        DataError: A case is refused.
    """
    watch = progress or Quiet()
    both = Both(before, after)
    tiles = generated_tiles(plan)
    watch.begin("comparing", len(tiles) + len(cases))
    for tile in tiles:
        both.run(tile)
        watch.advance(1)
    logits = plan.inference.model_copy(update={"network_output": "logits"})
    pair = [
        Predictor(runtime, plan.data, plan.preparation, inference)
        for runtime, inference in ((both, logits), (after, plan.inference))
    ]
    rows: list[list[CaseScores]] = [[], []]
    for case in cases:
        prepared = prepare(case, plan.data, plan.preparation)
        for predictor, into in zip(pair, rows, strict=True):
            labels = predictor.sample(prepared, progress=watch).labels
            into.extend(dice_rows(case, labels, plan))
        watch.advance(1, case=case.id)
    watch.end()
    dice = [mean_dice(each, plan) for each in rows]
    stored, ids = plan.inference.network_input == "uint8", plan.inference.network_output == "classes"
    timed = (before,) if stand_in else (before, after)
    seconds = seconds_per_tile(timed, tiles[0].shape[1:], stored=stored)
    return Parity(
        images=len(cases),
        tiles=both.tiles,
        sizes=tuple("×".join(map(str, size)) for size in sorted(both.sizes)),
        largest_logit=both.largest_logit,
        max_difference=None if ids and not both.difference else both.difference,
        label_agreement=both.agreement,
        dice_before=dice[0],
        dice_after=dice[1],
        seconds_before=seconds[0],
        seconds_after=None if stand_in else seconds[1],
        bytes_before=sizes[0],
        bytes_after=sizes[1],
        precision=precision if plan.network.quantization == "none" else "int8",
        stand_in=stand_in,
    )


def generated_tiles(plan: Plan) -> list[np.ndarray]:
    """Noise as normalised pixels have it: one tile as planned, two odd ones, three small odd ones.

    Args:
        plan: The plan.

    Returns:
        Batches ``(B, C, *S)`` float32, or uint8 where the network takes that; the same ones each time.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> [tile.shape for tile in generated_tiles(Plan.model_validate(EXAMPLE))]
        [(1, 1, 32, 32), (2, 1, 21, 21), (3, 1, 11, 11)]
    """
    random = np.random.default_rng(0)
    channels, tile = plan.data.input_channels, plan.inference.tile_size
    wanted = [tile, tuple(size * 2 // 3 | 1 for size in tile), tuple(size // 3 | 1 for size in tile)]
    noise = [
        random.standard_normal((batch, channels, *size)).astype(np.float32)
        for batch, size in enumerate(wanted, start=1)
    ]
    return noise if plan.inference.network_input == "float32" else [stored_pixels(each) for each in noise]


def some_cases(source: Path, out: Path, plan: Plan) -> list[Case]:
    """A few images of a data set or a folder, evenly spread; labelled ones where there are any.

    Args:
        source: A data set, a folder of images, or an image.
        out: Where the export goes, which no image may be.
        plan: The plan; its channels say which files belong together.

    Raises:
        DataError: There is no image.
    """
    every = given_images(source, plan.data, out=out)
    found = [case for case in every if case.label is not None] or every
    chosen = np.unique(np.linspace(0, len(found) - 1, min(IMAGES, len(found))).round().astype(int))
    return [found[int(index)] for index in chosen]


def dice_rows(case: Case, labels: np.ndarray, plan: Plan) -> list[CaseScores]:
    """The Dice of what was found in an image; nothing where it has no label.

    Args:
        case: The image.
        labels: ``(*S)`` class ids.
        plan: The plan of the model.
    """
    if case.label is None:
        return []
    reference, known, grid = read_label(case, plan.data)
    scores = score_case(
        case.id,
        case.group,
        reference,
        labels,
        classes=plan.data.classes[1:],
        known=known,
        spacing_mm=grid.spacing_mm,
        metrics=("dice",),
    )
    return [scores]


def mean_dice(rows: Sequence[CaseScores], plan: Plan) -> dict[str, float | None]:
    """Class → mean of the Dice over images; empty where none has a label.

    Args:
        rows: What ``dice_rows`` said of each.
        plan: The plan of the model.
    """
    if not rows:
        return {}
    found = summarise(
        rows, classes=plan.data.classes[1:], metrics=("dice",), tolerance_mm=1.0, split="unknown"
    )
    return {name: found.summary[name]["dice"].mean for name in plan.data.classes[1:]}
