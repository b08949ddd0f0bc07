"""What a person names as images: a data set, with its labels, or a file or a folder of images."""

from __future__ import annotations

from pathlib import Path

from unetkit.data.catalog import find_cases, holds_cases
from unetkit.records.case import Case
from unetkit.records.plan import DataPlan
from unetkit.workflows.predict import find_inputs


def given_images(source: Path, data: DataPlan, *, out: Path = Path("predictions")) -> list[Case]:
    """The cases of a data set, labelled ones first, or the images of a file or a folder.

    Args:
        source: A data set (a folder or a CSV), an image file, or a folder of images.
        data: Channels and axes of the model: they say which files belong together.
        out: Where something is going to be written, which no image may be.

    Raises:
        DataError: There is no image.
        UsageError: Two images have one name.
    """
    if holds_cases(source):
        catalog = find_cases(source)
        return [*catalog.cases, *catalog.unlabelled]
    inputs = find_inputs(source, out, channels=data.channels, rank=data.rank)
    return [Case.unlabelled(each.id, each.paths) for each in inputs]
