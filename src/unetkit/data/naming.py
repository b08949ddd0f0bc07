"""Names of classes where a data set states none: those that a model has for the same values."""

from __future__ import annotations

import dataclasses

from unetkit.data.inspect import Inspection
from unetkit.records.plan import DataPlan


def named_as(inspection: Inspection, model: DataPlan) -> Inspection:
    """Data that states no names of its classes, with the names that a model has for their values.

    What is made up for them ("foreground" for one class, "class 1" and "class 2" for two) depends on which of
    them happen to be in the masks, and says nothing about what they are.

    Args:
        inspection: What was seen in the data.
        model: What the model was trained on.
    """
    seen = inspection.data
    if inspection.catalog.names or seen is None:
        return inspection
    known = dict(zip(model.label_values, model.classes, strict=True))
    first, *rest = seen.label_values
    names = (known.get(first, seen.classes[0]), *(known.get(value, f"class {value}") for value in rest))
    return dataclasses.replace(inspection, data=seen.model_copy(update={"classes": names}))
