"""What lies beside an exported network: its origin, what goes in and out, how it was compared."""

from __future__ import annotations

from typing import ClassVar, Literal

from pydantic import Field

from unetkit.records.figures import per_cent
from unetkit.records.saved import Saved


class Parity(Saved):
    """The network before and after its export on the same pixels, side by side.

    Args:
        images: Given images that were compared, as a whole.
        tiles: Network calls that were compared, those of the images and the generated ones.
        sizes: Different sizes ``*S`` among these, as ``37×41``.
        largest_logit: The largest absolute logit of the network before.
        max_difference: The largest absolute difference of two logits; None where the network after answers
            classes.
        label_agreement: Share of pixels that both give the same class.
        dice_before: Class → mean Dice on the labelled images, before; empty where no label was given.
        dice_after: The same after.
        seconds_before: Median time of one tile of the planned size.
        seconds_after: The same after; None where something stood in for the runtime.
        bytes_before: Size of the weights file.
        bytes_after: Size of the exported network.
        precision: ``int8`` where the network counts in eight bits: what is compared then is one rounding with
            another, a step of which may be taken up or down. ``float16`` where it computes in half.
        stand_in: What ran the network after, in words, where its runtime cannot run here; else empty.
    """

    DIFFERENCE: ClassVar[float] = 1e-3
    """Allowed difference of logits, times the largest logit (and absolute below a largest logit of 1)."""
    AGREEMENT: ClassVar[float] = 0.999
    """Share of pixels that have to keep their class."""
    DICE: ClassVar[float] = 0.001
    """By how much the Dice of a class may fall."""

    INT8: ClassVar[tuple[float, float, float]] = (0.1, 0.98, 0.005)
    """The same three of a network in eight bits."""
    FLOAT16: ClassVar[tuple[float, float, float]] = (0.02, 0.99, 0.005)
    """The same three of a network in half, of which every value has a relative error of up to 1/2048."""

    images: int
    tiles: int
    sizes: tuple[str, ...]
    largest_logit: float
    max_difference: float | None
    label_agreement: float
    dice_before: dict[str, float | None] = Field(default_factory=dict)
    dice_after: dict[str, float | None] = Field(default_factory=dict)
    seconds_before: float
    seconds_after: float | None
    bytes_before: int
    bytes_after: int
    precision: Literal["float32", "float16", "int8"] = "float32"
    stand_in: str = ""

    @property
    def tolerances(self) -> tuple[float, float, float]:
        """Of logits, of classes, of Dice."""
        known = {"int8": self.INT8, "float16": self.FLOAT16}
        return known.get(self.precision, (self.DIFFERENCE, self.AGREEMENT, self.DICE))

    @property
    def allowed_difference(self) -> float:
        """The largest difference of logits that passes."""
        return self.tolerances[0] * max(1.0, self.largest_logit)

    def faults(self) -> tuple[str, ...]:
        """What is beyond tolerance, in words; empty where nothing is."""
        found = []
        _, agreement, dice = self.tolerances
        apart = self.max_difference
        if apart is not None and not apart <= self.allowed_difference:  # written so that NaN is a fault
            found.append(
                f"logits were expected to differ by at most {self.allowed_difference:.2g}, got {apart:.2g}"
            )
        if not self.label_agreement >= agreement:
            found.append(
                f"expected the same class for {per_cent(agreement)} of the pixels, got "
                f"{per_cent(self.label_agreement)}"
            )
        for name, before in self.dice_before.items():
            after = self.dice_after.get(name)
            if before is not None and not (after is not None and after >= before - dice):
                shown = "none" if after is None else f"{after:.4f}"
                found.append(f"expected a Dice of {before:.4f} for '{name}' as before, got {shown}")
        return tuple(found)


class Exported(Saved):
    """``model.json`` of an exported model: what makes its folder a model.

    Args:
        runtime: The name of ``RUNTIMES`` that runs it.
        files: File name → SHA-256, of the network's files and of ``plan.json``.
        weights_sha256: Of the weights it was made from.
        parameters: Number of learned values.
        multiply_adds: Of one tile of ``tile_size``, forward; None where nobody counted them.
        elements: Values that convolutions and matrix products answer with for it; None likewise.
        channels: Names of the channels that go in, in order.
        classes: Class names, background first; a class's id is its place.
        label_values: The value of each class in label files.
        image: What the network takes.
        logits: What it answers.
        stride: Pixels per axis of its coarsest features.
        size_rule: Which sizes it takes.
        tile_size: Pixels per axis that the plan gives it at once.
        overlap_fraction: Share of a tile that the next one repeats.
        halo: Pixels around a tile, per axis, that its answer depends on, probed with noise; None where the
            network sees the whole image, or where nobody probed it.
        packages: Package (or ``python``) to version, at the time of the export.
        facts: What the model it was made from says of itself.
        dice: Class → mean Dice of the model it was made from; empty when that was not measured.
        measured_on: What the cases of ``dice`` were to it.
        parity: How it was compared with the model it was made from.
        convolutions: Of a network in eight bits: how many its engine computes as ``integer`` and as ``float``
            here, told by the engine's own graph, or by the file where no engine is built; empty for others.
        float_layers: Of a network in eight bits: convolutions that were left in floating point.
    """

    version: int = 1
    runtime: str
    files: dict[str, str]
    weights_sha256: str
    parameters: int
    multiply_adds: int | None = None
    elements: int | None = None
    channels: tuple[str, ...]
    classes: tuple[str, ...]
    label_values: tuple[int, ...]
    image: str
    logits: str
    stride: tuple[int, ...]
    size_rule: str
    tile_size: tuple[int, ...]
    overlap_fraction: float
    halo: tuple[int, ...] | None = None
    packages: dict[str, str]
    facts: dict[str, str]
    dice: dict[str, float | None]
    measured_on: str
    parity: Parity
    convolutions: dict[str, int] = Field(default_factory=dict)
    float_layers: tuple[str, ...] = ()
