"""``screen``: which tiles a first look at low resolution may leave out, measured on unseen cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.stats import beta

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect, raise_if_refused
from unetkit.data.prepare import prepare
from unetkit.errors import DataError, UsageError
from unetkit.inference.screen import worth_computing
from unetkit.inference.stream import Box
from unetkit.records.case import Case
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.model import Model, load
from unetkit.workflows.seen import read_seen, relation

_CONFIDENCE = 0.95
_DIGITS = 1e6


class ClassScreen(Saved):
    """What a first look does to one class.

    Args:
        threshold: Probability from which a tile is computed.
        tiles: Tiles that hold the class.
        found: Share of them that is computed, on cases that had no say in the threshold; None without tiles.
        at_least: Lower bound of that share, one-sided 95 % (Clopper and Pearson).
        lost_pixels: Share of the class's pixels that no computed tile shows, on the same cases.
    """

    threshold: float
    tiles: int
    found: float | None
    at_least: float | None
    lost_pixels: float | None


class ScreenResult(Saved):
    """What a first look at low resolution finds and saves.

    Args:
        model: The model folder.
        cases: Cases it was measured on.
        split: What they are to the model: ``held-out`` or ``unknown``.
        apart: Whether shares were measured on other groups of cases than the thresholds; not with one group.
        factor: Pixels per axis that become one.
        recall: Share of the tiles with a class that was asked for.
        classes: By name.
        tiles: Tiles of all cases.
        computed: Share of them that is computed.
        cost: Pixels that the network sees as a share of those without a first look, which costs some itself.
        values: Plan values that do it, as ``--set`` takes them.
    """

    model: Path
    cases: int
    split: str
    apart: bool
    factor: int
    recall: float
    classes: dict[str, ClassScreen]
    tiles: int
    computed: float
    cost: float
    values: dict[str, str]


@dataclass(frozen=True)
class _Looked:
    """One case: its side of the split in two, and per tile what was thought and what is there."""

    case: Case
    side: int
    boxes: Sequence[Box]
    scores: np.ndarray
    present: np.ndarray


def screen(
    model: str | Path | Model,
    data: str | Path,
    *,
    recall: float = 0.99,
    factor: int = 4,
    device: str = "auto",
    progress: Progress | None = None,
) -> ScreenResult:
    """Find thresholds for a first look at low resolution, and say what it would miss and save.

    A tile counts for a class when one of its pixels is of it. Every class's threshold is the highest that
    lets the wanted share of its tiles through. What is reported of it is measured across: half of the groups
    sets the thresholds for the other half and the other way round; the thresholds to use come from all.

    Args:
        model: A model folder, a run, an exported model, or a loaded model.
        data: Labelled cases; those that the model was trained on are left out.
        recall: Share of the tiles with a class that have to be computed.
        factor: Pixels per axis that become one.
        device: Where to compute.
        progress: Who watches.

    Raises:
        UsageError: The recall is no share, the factor below 2, or the model was trained on every case.
        DataError: The data set is refused.
    """
    if not 0 < recall <= 1 or factor < 2:
        raise UsageError(
            f"expected a recall above 0 and up to 1 and a factor of 2 or more, got {recall:g} and {factor}",
            cure="such as --recall 0.99 --factor 4",
        )
    watch = progress or Quiet()
    ready = model if isinstance(model, Model) else load(model, device=device)
    ready = ready.with_values({"inference.screen_factor": str(factor), "inference.screen_thresholds": "[]"})
    cases, split = _unseen(ready.folder, Path(data), progress=watch)
    looked = _look(ready, cases, progress=watch)
    apart = len({each.side for each in looked}) > 1
    sides = [
        _thresholds([each for each in looked if each.side != side or not apart], recall) for side in (0, 1)
    ]
    computed = [worth_computing(each.scores, sides[each.side]) for each in looked]
    lost = _lost(ready, looked, computed, progress=watch)
    final = _thresholds(looked, recall)
    share = float(np.concatenate(computed).mean())
    return ScreenResult(
        model=ready.folder,
        cases=len(cases),
        split=split,
        apart=apart,
        factor=factor,
        recall=recall,
        classes=_rows(ready.classes[1:], looked, computed, lost, final),
        tiles=sum(map(len, computed)),
        computed=share,
        cost=share + factor**-ready.plan.data.rank,
        values={
            "inference.screen_factor": str(factor),
            "inference.screen_thresholds": "[" + ",".join(f"{each:g}" for each in final) + "]",
        },
    )


def _unseen(folder: Path, source: Path, *, progress: Progress) -> tuple[list[Case], str]:
    """Labelled cases that the model was not trained on, and what they are to it."""
    inspection = inspect(find_cases(source), progress=progress)
    raise_if_refused(inspection)
    digests = {facts.id: facts.digest for facts in inspection.facts}
    cases = [case for case in inspection.catalog.cases if case.label is not None]
    seen = read_seen(folder)
    trained = set(seen.trained_on) if seen is not None else set()
    left = [case for case in cases if digests[case.id] not in trained]
    if not left:
        raise UsageError(
            "the model was trained on every case of this data set: what it finds there says nothing",
            cure="give labelled cases that it never saw",
            where=source,
        )
    return left, relation(folder, {case.id: digests[case.id] for case in left})


def _look(model: Model, cases: Sequence[Case], *, progress: Progress) -> list[_Looked]:
    """Ask the network about each case at low resolution."""
    groups = sorted({case.group for case in cases})
    looked = []
    progress.begin("first looks", len(cases))
    for case in cases:
        sample = prepare(case, model.plan.data, model.plan.preparation)
        if sample.label is None:
            raise DataError("the case has no label", cure="add its mask", where=case.id)
        boxes, scores = model.sole.screen(sample)
        present = np.array([_classes_in(sample.label[box], len(model.classes)) for box in boxes])
        looked.append(_Looked(case, groups.index(case.group) % 2, boxes, scores, present))
        progress.advance(1, case=case.id)
    progress.end()
    return looked


def _classes_in(label: np.ndarray, classes: int) -> np.ndarray:
    return np.bincount(label.ravel(), minlength=classes)[1:classes] > 0


def _thresholds(looked: Sequence[_Looked], recall: float) -> list[float]:
    """Per class the highest that lets the share through; 0, which lets all through, where no tile holds it.

    Rounded down, so that the printed number lets the same tiles through.
    """
    scores = np.concatenate([each.scores for each in looked])
    present = np.concatenate([each.present for each in looked])
    found = []
    for index in range(scores.shape[1]):
        own = np.sort(scores[present[:, index], index])
        dropped = math.floor((1 - recall) * len(own) + 1e-9)
        found.append(math.floor(float(own[dropped]) * _DIGITS) / _DIGITS if len(own) else 0.0)
    return found


def _lost(
    model: Model, looked: Sequence[_Looked], computed: Sequence[np.ndarray], *, progress: Progress
) -> np.ndarray:
    """Pixels of each class that no computed tile shows, and all of them ``(2, K - 1)``."""
    counts = np.zeros((2, len(model.classes) - 1), np.int64)
    progress.begin("what is lost", len(looked))
    for each, some in zip(looked, computed, strict=True):
        sample = prepare(each.case, model.plan.data, model.plan.preparation)
        assert sample.label is not None  # it was there a moment ago
        shown = np.zeros(sample.label.shape, bool)
        for box, compute in zip(each.boxes, some, strict=True):
            shown[box] |= compute
        for row, labels in zip(counts, (sample.label[~shown], sample.label), strict=True):
            row += np.bincount(labels.ravel(), minlength=len(model.classes))[1 : len(model.classes)]
        progress.advance(1)
    progress.end()
    return counts


def _rows(
    names: Sequence[str],
    looked: Sequence[_Looked],
    computed: Sequence[np.ndarray],
    lost: np.ndarray,
    thresholds: Sequence[float],
) -> dict[str, ClassScreen]:
    present, through = np.concatenate([each.present for each in looked]), np.concatenate(computed)
    rows = {}
    for index, name in enumerate(names):
        tiles = int(present[:, index].sum())
        hits = int((present[:, index] & through).sum())
        rows[name] = ClassScreen(
            threshold=thresholds[index],
            tiles=tiles,
            found=hits / tiles if tiles else None,
            at_least=at_least(hits, tiles) if tiles else None,
            lost_pixels=float(lost[0, index] / lost[1, index]) if lost[1, index] else None,
        )
    return rows


def at_least(hits: int, count: int) -> float:
    """One-sided 95 % lower bound of a share.

    Args:
        hits: Of ``count``.
        count: How many.

    Reference:
        Clopper and Pearson, Biometrika 26 (1934).

    Example:
        >>> round(at_least(10, 10), 4), at_least(0, 10)
        (0.7411, 0.0)
    """
    return float(beta.ppf(1 - _CONFIDENCE, hits, count - hits + 1)) if hits else 0.0
