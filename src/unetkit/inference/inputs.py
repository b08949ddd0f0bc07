"""Files and arrays as a network takes them; in a cascade with what the first stage makes of the image."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING

import numpy as np

from unetkit.data.cascade import prepare_previous, read_previous
from unetkit.data.labels import read_pixels, refuse_other_image
from unetkit.data.prepare import prepare_pixels
from unetkit.errors import UsageError
from unetkit.records.case import Case, Grid, Sample
from unetkit.records.plan import DataPlan, PreparationPlan
from unetkit.records.progress import Progress

if TYPE_CHECKING:
    from unetkit.inference.predict import Predictor


def refuse_without_previous(data: DataPlan, sample: Sample | None = None) -> None:
    """Refuse to answer without the first stage of a cascade where the network is the second one.

    Args:
        data: Of the network.
        sample: What it is to answer, which may bring the first answer.

    Raises:
        UsageError: It is.
    """
    if data.cascade == "full" and (sample is None or sample.previous is None):
        raise UsageError(
            "this network is the second stage of a cascade, and the answer of the first one is missing",
            cure="predict with the model folder, which holds both stages",
        )


class Inputs:
    """Prepares images for one network.

    Args:
        data: Channels and classes.
        preparation: How pixels become network inputs.
        previous: The first stage of a cascade, None where the network is alone.
    """

    def __init__(self, data: DataPlan, preparation: PreparationPlan, previous: Predictor | None) -> None:
        self.data = data
        self.preparation = preparation
        self.previous = previous

    def case(self, case: Case, *, mirror: bool = False, progress: Progress | None = None) -> Sample:
        """Prepare a case of a data set from its files.

        Args:
            case: The address; its label is not looked at. Where it names an answer of the first stage, that
                one counts.
            mirror: Whether the first stage averages over mirrored images.
            progress: Who watches the first stage.

        Raises:
            DataError: A file is missing or damaged, or does not have the model's channels or axes.
            UsageError: The first stage is missing.
        """
        pixels, grid = read_pixels(case, self.data)
        refuse_other_image(self.data, pixels.shape, ", ".join(map(str, case.images)))
        if case.previous is None:
            return self.array(pixels, grid, id=case.id, mirror=mirror, progress=progress)
        sample = prepare_pixels(pixels, grid, self.preparation, id=case.id)
        said = read_previous(case.previous, self.data)
        return replace(sample, previous=prepare_previous(said, sample, self.preparation))

    def array(
        self,
        pixels: np.ndarray,
        grid: Grid | None = None,
        *,
        id: str,
        mirror: bool = False,
        progress: Progress | None = None,
    ) -> Sample:
        """Prepare an array.

        Args:
            pixels: ``(C, *S)`` in the values of the training files.
            grid: Where the pixels lie; spacing 1 when not stated.
            id: Name for errors and the result.
            mirror: As in ``case``.
            progress: As in ``case``.

        Raises:
            DataError: The channels are not as many as planned, or values are not finite.
            UsageError: The first stage is missing.
        """
        place = grid or Grid.plain(self.data.rank)
        if self.previous is None:
            refuse_without_previous(self.data)
            return prepare_pixels(pixels, place, self.preparation, id=id)
        said = self.previous.array(pixels, place, id=id, mirror=mirror, progress=progress).labels
        sample = prepare_pixels(pixels, place, self.preparation, id=id)
        return replace(sample, previous=prepare_previous(said, sample, self.preparation))
