"""Eight bits for an export: calibrated on images, layers kept in float until the Dice holds."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from typing import TYPE_CHECKING

import numpy as np

from unetkit.data.prepare import prepare
from unetkit.errors import DataError, GateError
from unetkit.inference.predict import Predictor
from unetkit.records.case import Case
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress
from unetkit.runtimes import Runtime
from unetkit.workflows.parity import dice_rows, mean_dice

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet

MAX_LOSS = 0.5
"""Points of Dice (hundredths) that a class may lose."""
TILES = 4
"""Tiles of each image that ranges are measured on."""


class Heard:
    """A runtime that keeps some of the tiles it is given.

    Args:
        inner: What answers.

    Example:
        >>> class Same:
        ...     notes = ()
        ...     def run(self, batch):
        ...         return batch
        >>> heard = Heard(Same())
        >>> for number in range(9):
        ...     _ = heard.run(np.zeros((1, 1, 2, 2), np.float32))
        >>> len(heard.tiles)
        9
    """

    def __init__(self, inner: Runtime) -> None:
        self._inner = inner
        self.notes: Sequence[str] = ()
        self.tiles: list[np.ndarray] = []

    def run(self, batch: np.ndarray) -> np.ndarray:
        """``(B, C, *S)`` → what the inner runtime answers."""
        self.tiles += list(batch[:, None].copy())
        return self._inner.run(batch)


def calibrated(
    network: UNet, plan: Plan, cases: Sequence[Case], *, progress: Progress, symmetric: bool = False
) -> tuple[UNet, Plan, dict[str, str]]:
    """Make a network count in eight bits on what it sees of some images, as long as the Dice holds.

    Where a class loses more than ``MAX_LOSS`` points on the labelled ones of the images, convolutions are
    left in floating point: the fewest that are found by halving.

    Args:
        network: In floating point.
        plan: Its plan.
        cases: The images.
        progress: Who watches.
        symmetric: Whether zero has to be the middle of every grid, for engines that know no other.

    Returns:
        The network, its plan, and what is to be known about it, as label to text.

    Raises:
        DataError: There is no image.
        UsageError: It counts in eight bits already.
        GateError: The Dice does not hold whatever is left in floating point.
    """
    import torch

    from unetkit.compression.quantize import eight_bits, keep_in_float, quantized

    if not cases:
        raise DataError("expected images to calibrate on, got none", cure="name a folder with images")
    eight_bits(network.plan)
    tiles, before = _answers(network, plan, cases)
    images = [torch.from_numpy(tile) for tile in tiles]

    @cache
    def made(kept: tuple[str, ...]) -> tuple[UNet, dict[str, float | None]]:
        smaller = quantized(network, images, in_float=kept, symmetric=symmetric)
        return smaller, _answers(smaller, plan, cases)[1]

    def holds(kept: tuple[str, ...]) -> bool:
        after = made(kept)[1]
        losses = [100 * (dice - (after[name] or 0.0)) for name, dice in before.items() if dice is not None]
        progress.say(
            f"{len(kept)} convolutions in float: the most that a class loses is "
            f"{max(losses, default=0.0):.2f} points of Dice"
        )
        return all(loss <= MAX_LOSS for loss in losses)

    if not any(dice is not None for dice in before.values()):
        progress.say("warning: no image has a label with a class in it, so that nothing tells what was lost")
    first = made(())[0]
    assert first.quantization is not None  # it was given one
    kept = keep_in_float(first.quantization.in_use(first), holds)
    if kept is None:
        raise GateError(
            f"a class loses more than {MAX_LOSS:g} points of Dice in eight bits, whichever convolutions stay "
            "in floating point",
            cure="train in eight bits: unet compress MODEL DATA --int8 qat; nothing was published",
        )
    smaller, after = made(kept)
    reasons = {**plan.reasons, "network.quantization": f"Asked for; calibrated on {len(cases)} images."}
    if kept:
        reasons["network.float_layers"] = f"Without them a class lost more than {MAX_LOSS:g} points of Dice."
    facts = {"eight bits calibrated on": f"{len(tiles)} tiles of {len(cases)} images"}
    for name, dice in before.items():
        if dice is not None:
            facts[f"Dice of {name}, float and eight bits"] = f"{dice:.4f} and {after[name] or 0.0:.4f}"
    return smaller, plan.model_copy(update={"network": smaller.plan, "reasons": reasons}), facts


def _answers(
    network: UNet, plan: Plan, cases: Sequence[Case]
) -> tuple[list[np.ndarray], dict[str, float | None]]:
    """Some of the tiles the network is given, and the Dice of its answers where there are labels."""
    import torch

    from unetkit.runtimes.devices import Layout
    from unetkit.runtimes.pytorch import PytorchRuntime

    tiles: list[np.ndarray] = []
    rows = []
    for case in cases:
        heard = Heard(PytorchRuntime(network, torch.device("cpu"), Layout()))
        predictor = Predictor(heard, plan.data, plan.preparation, plan.inference)
        labels = predictor.sample(prepare(case, plan.data, plan.preparation)).labels
        rows += dice_rows(case, labels, plan)
        chosen = np.linspace(0, len(heard.tiles) - 1, min(TILES, len(heard.tiles))).round().astype(int)
        tiles += [heard.tiles[number] for number in np.unique(chosen)]
    return tiles, mean_dice(rows, plan)
