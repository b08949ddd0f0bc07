"""New data beside what a model knows: refused, of the same classes, or with classes to grow by."""

from __future__ import annotations

import json
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from unetkit.errors import DataError, UsageError
from unetkit.inference.predict import Predictor
from unetkit.records.plan import DataPlan, Plan
from unetkit.runtimes import Runtime
from unetkit.workflows.model import Model

_SAME_CLASSES = {
    "interpolate": "needs two models of the same classes",
    "adabn": "trains nothing, so that the model cannot learn a class",
}
_MIXES = ("augmentation.mixup", "augmentation.cutmix", "augmentation.copy_paste")


def joined(model: DataPlan, seen: DataPlan, *, where: Path) -> DataPlan:
    """What a model would know after it has learned from data: its classes, and behind them the new ones.

    Data that names fewer classes, or names its channels otherwise, will do.

    Args:
        model: What the model was trained on.
        seen: What was found in the data.
        where: The data set.

    Raises:
        DataError: They do not go together: other channels, renamed classes, another value to ignore.
    """
    mine, theirs = model.channels, seen.channels
    if len(mine) != len(theirs) or (mine != theirs and set(mine) == set(theirs)):
        raise DataError(
            f"the model takes {len(mine)} channels ({', '.join(mine)}), this data has {len(theirs)} "
            f"({', '.join(theirs)})",
            cure="give images with the channels the model was trained on, in that order",
            where=where,
        )
    known = dict(zip(model.label_values, model.classes, strict=True))
    new: dict[int, str] = {}
    for value, name in zip(seen.label_values, seen.classes, strict=True):
        if known.get(value, name) != name:
            raise DataError(
                f"label value {value} is '{known[value]}' to the model and '{name}' in this data",
                cure="give the class the model's name in dataset.json, or correct the values",
                where=where,
            )
        if value not in known and (name in model.classes or value == model.ignore_value):
            owner = (
                "not labelled" if value == model.ignore_value else f"not '{name}', which has another value"
            )
            cure = "give the new class a value and a name that the model does not use yet"
            if name in model.classes:
                own = model.label_values[model.classes.index(name)]
                cure = f"save it as {own} in the masks if it is that class, else give it another name"
            raise DataError(
                f"label value {value} is '{name}' in this data and {owner} to the model",
                cure=cure,
                where=where,
            )
        if value not in known:
            new[value] = name
    if seen.ignore_value not in (None, model.ignore_value):
        raise DataError(
            f"this data ignores the label value {seen.ignore_value}, the model {model.ignore_value}",
            cure="use one value for what is not labelled",
            where=where,
        )
    return model.model_copy(
        update={
            "classes": (*model.classes, *new.values()),
            "label_values": (*model.label_values, *new),
        }
    )


def refuse_other(model: DataPlan, seen: DataPlan, *, where: Path) -> None:
    """Refuse data that a model could not be shown or measured on: as ``joined``, and new classes too.

    Args:
        model: What the model was trained on.
        seen: What was found in the data.
        where: The data set.

    Raises:
        DataError: They do not go together.
    """
    fresh = set(joined(model, seen, where=where).label_values) - set(model.label_values)
    for value, name in zip(seen.label_values, seen.classes, strict=True):
        if value in fresh:
            known = ", ".join(map(str, model.label_values))
            raise DataError(
                f"the model knows the label values {known}, this data also has {value} ('{name}')",
                cure="a new class comes with the new data of 'unet update', not with old or golden data",
                where=where,
            )


def named_ids(model: DataPlan, seen: DataPlan) -> frozenset[int]:
    """Ids of the foreground classes of a model that a data set names.

    Args:
        model: The classes and their values.
        seen: What was found in the data.
    """
    return frozenset(
        number for number, value in enumerate(model.label_values) if number and value in seen.label_values
    )


def grown(plan: Plan, data: DataPlan, method: str) -> Plan:
    """The plan of an update in which not every data set names every class.

    Args:
        plan: The plan of an update with the model's own classes.
        data: With the new classes behind them; the same where only old data names fewer.
        method: How forgetting is held off; ``finetune`` does nothing but grow.

    Raises:
        UsageError: The method needs two models of the same classes.
    """
    fresh = data.classes[len(plan.data.classes) :]
    if method in _SAME_CLASSES and fresh:
        raise UsageError(
            f"'{method}' {_SAME_CLASSES[method]}, the new data brings {', '.join(fresh)}",
            cure="choose --method replay",
        )
    changes = {"data.classes": json.dumps(data.classes), "data.label_values": json.dumps(data.label_values)}
    kept = plan.inference
    if kept.minimum_pixels:
        changes["inference.minimum_pixels"] = json.dumps([*kept.minimum_pixels, *[0] * len(fresh)])
    if kept.largest_only:
        changes["inference.largest_only"] = json.dumps([*kept.largest_only, *[False] * len(fresh)])
    if kept.screen_thresholds:  # nothing is known of a new class: its tiles are all computed
        changes["inference.screen_thresholds"] = json.dumps([*kept.screen_thresholds, *[0.0] * len(fresh)])
    if fresh:
        plan = plan.with_values(changes, reason=f"The new data brings {', '.join(fresh)}.")
    if method == "finetune":
        return plan
    wrappers = [{"name": "unbiased"}, *(term.model_dump() for term in plan.objective.wrappers)]
    return plan.with_values(
        {"objective.wrappers": json.dumps(wrappers), **dict.fromkeys(_MIXES, "0")},
        reason="Not every label names every class: what one calls background may be a class of another.",
    )


def lacks_names(named: Iterable[frozenset[int]], data: DataPlan) -> bool:
    """Whether some case does not name every foreground class.

    Args:
        named: Ids that each case names; empty: all.
        data: The classes.
    """
    return any(each and len(each) < len(data.classes) - 1 for each in named)


def measured_on(model: Model, data: DataPlan) -> Model:
    """A model that is measured on other classes than its own, of which one begins like the other.

    Of more classes than it knows it misses the rest. Of fewer, those beyond them count as background, with
    their probability: whether they are there is not what the labels tell.

    Args:
        model: What predicts.
        data: The classes that labels have.
    """
    plan, count = model.plan.model_copy(update={"data": data}), len(data.classes)
    if count >= len(model.classes):
        return Model(model.folder, plan, model.predictor, model.device)
    inference = plan.inference.model_copy(
        update={
            "minimum_pixels": plan.inference.minimum_pixels[: count - 1],
            "largest_only": plan.inference.largest_only[: count - 1],
            "screen_thresholds": plan.inference.screen_thresholds[: count - 1],
        }
    )
    predictor = Predictor(_Fewer(model.sole.runtime, count), data, plan.preparation, inference)
    return Model(model.folder, plan.model_copy(update={"inference": inference}), predictor, model.device)


class _Fewer:
    """A runtime whose last classes count as background."""

    def __init__(self, inner: Runtime, classes: int) -> None:
        self._inner, self._classes = inner, classes

    @property
    def notes(self) -> list[str]:
        """What was done differently from what was asked."""
        return list(self._inner.notes)

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of the first classes, the background's joined with those of the others."""
        logits = self._inner.run(batch)
        kept = logits[:, : self._classes].copy()
        kept[:, 0] = np.logaddexp(kept[:, 0], np.logaddexp.reduce(logits[:, self._classes :], axis=1))
        return kept
