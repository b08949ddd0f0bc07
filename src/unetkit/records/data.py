"""What goes into a network and what comes out of it: the plan's slice about the data."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from unetkit.records.saved import Saved


class DataPlan(Saved):
    """What goes in and what comes out.

    Args:
        rank: Spatial axes, 2 or 3.
        channels: Channel names; their number is the network's input width.
        classes: Class names, background first; their number is the network's output width.
        label_values: Value in the label files of each class, e.g. ``(0, 255)``.
        ignore_value: Value in the label files that means "not labelled", None when there is none.
        pixels: Type of the training pictures, e.g. ``uint8``.
        slice_axis: Axis of a volume along which a network over the plane sees one slice at a time; None: the
            network sees every axis.
        context_slices: Neighbours on each side of a slice that the network sees as further channels.
        cascade: ``low``: the network is the first stage of a cascade and sees whole objects at a low
            resolution; ``full``: the second stage, which sees where the first one found each class as further
            channels; ``none``: there is one network.

    Example:
        >>> plan = DataPlan(rank=3, channels=("T1", "T2"), classes=("no", "yes"), label_values=(0, 1))
        >>> plan.input_rank, plan.input_channels
        (3, 2)
        >>> plan = plan.model_copy(update={"slice_axis": 0, "context_slices": 1})
        >>> plan.input_rank, plan.input_channels
        (2, 6)
    """

    rank: Literal[2, 3]
    channels: tuple[str, ...] = Field(min_length=1)
    classes: tuple[str, ...] = Field(min_length=2)
    label_values: tuple[int, ...]
    ignore_value: int | None = None
    pixels: str = "uint8"
    slice_axis: Literal[0, 1, 2] | None = None
    context_slices: int = Field(default=0, ge=0)
    cascade: Literal["none", "low", "full"] = "none"

    @property
    def input_rank(self) -> int:
        """Spatial axes the network sees."""
        return self.rank if self.slice_axis is None else self.rank - 1

    @property
    def input_channels(self) -> int:
        """Channels the network sees: all of a slice and of its neighbours, and those of a first stage."""
        slices = 1 if self.slice_axis is None else 1 + 2 * self.context_slices
        return slices * len(self.channels) + self.previous_channels

    @property
    def previous_channels(self) -> int:
        """Channels that say where the first stage of a cascade found each class, background left out."""
        return len(self.classes) - 1 if self.cascade == "full" else 0

    @property
    def sight(self) -> str:
        """What the network sees of an image, in words."""
        if self.cascade == "full":
            return "along every axis, with the answer of a first network at a low resolution"
        if self.slice_axis is None:
            return "along every axis"
        near = f" with {self.context_slices} neighbours on each side" if self.context_slices else ""
        return f"slice by slice along axis {self.slice_axis}{near}"
