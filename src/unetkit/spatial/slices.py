"""A volume slice by slice: a slice with its neighbours as the channels of a picture."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypeVar

import numpy as np

from unetkit.errors import UsageError
from unetkit.records.case import Grid, Sample
from unetkit.records.plan import DataPlan
from unetkit.spatial.intensity import apply_intensity

T = TypeVar("T")
Box = tuple[slice, ...]


@dataclass(frozen=True)
class Slices:
    """How a network over the plane sees a volume.

    Beyond the first and the last slice these repeat, so that every slice has as many neighbours.

    Args:
        axis: Of the volume, along which slices follow one another.
        context: Neighbours on each side.

    Reference:
        Vu et al., Evaluation of multislice inputs to convolutional neural networks for medical image
        segmentation, Medical Physics 47 (2020).

    Example:
        >>> volume = np.arange(6).reshape(1, 3, 2)
        >>> Slices(axis=0, context=1).stack(volume, 0).tolist()
        [[0, 1], [0, 1], [2, 3]]
    """

    axis: int
    context: int = 0

    @staticmethod
    def of(data: DataPlan) -> Slices | None:
        """How the network of a plan sees volumes; None where it sees every axis.

        Args:
            data: The plan's data.

        Raises:
            UsageError: Images have no such axis or no slices, there are neighbours of no slice, or the
                network is one of a cascade, which sees every axis.
        """
        if data.slice_axis is None:
            if data.context_slices:
                raise UsageError(
                    f"data.context_slices is {data.context_slices}, but data.slice_axis is not set",
                    cure="set data.slice_axis to the axis along which the slices lie, such as 0",
                )
            return None
        if data.rank < 3:
            raise UsageError(
                f"data.slice_axis is {data.slice_axis}, but the images have {data.rank} axes and no slices",
                cure="leave data.slice_axis out",
            )
        if data.cascade != "none":
            raise UsageError(
                f"data.slice_axis and data.cascade={data.cascade} contradict one another: the networks of a "
                "cascade see every axis",
                cure="leave one of them out",
            )
        return Slices(data.slice_axis, data.context_slices)

    @property
    def count(self) -> int:
        """Slices the network sees at once."""
        return 1 + 2 * self.context

    def in_volume(self, size: tuple[int, ...]) -> tuple[int, ...]:
        """A size in the plane as one in the volume: one slice thick.

        Args:
            size: Pixels per axis of the plane.

        Example:
            >>> Slices(axis=1).in_volume((64, 32))
            (64, 1, 32)
        """
        return (*size[: self.axis], 1, *size[self.axis :])

    def in_plane(self, size: tuple[T, ...]) -> tuple[T, ...]:
        """A size, or a spacing, of the volume without its slice axis.

        Args:
            size: One entry per axis of the volume.
        """
        return (*size[: self.axis], *size[self.axis + 1 :])

    def seen(self, box: Box, length: int) -> Box:
        """What has to be read of a volume to show one slice of a box with its neighbours.

        Args:
            box: One slice thick.
            length: Slices of the volume.

        Example:
            >>> Slices(axis=0, context=2).seen((slice(1, 2), slice(0, 8)), 9)
            (slice(0, 4, None), slice(0, 8, None))
        """
        middle = box[self.axis]
        grown = slice(max(0, middle.start - self.context), min(length, middle.stop + self.context))
        return (*box[: self.axis], grown, *box[self.axis + 1 :])

    def stack(self, pixels: np.ndarray, index: int) -> np.ndarray:
        """One slice and its neighbours as channels: those of one channel follow one another.

        Args:
            pixels: ``(C, *S)``.
            index: The slice in the middle, counted within ``pixels``.

        Returns:
            ``(C × count, *plane)``.
        """
        wanted = np.arange(index - self.context, index + self.context + 1)
        part = np.take(pixels, wanted.clip(0, pixels.shape[1 + self.axis] - 1), axis=1 + self.axis)
        part = np.moveaxis(part, 1 + self.axis, 1)
        return part.reshape(-1, *part.shape[2:])

    def picture(self, sample: Sample, index: int) -> Sample:
        """One slice of a volume as a sample of its own, normalised, in memory.

        Args:
            sample: The volume.
            index: Which slice.
        """
        seen = slice(max(0, index - self.context), index + self.context + 1)
        place = (*(slice(None),) * (1 + self.axis), seen)
        pixels = apply_intensity(sample.pixels[place], sample.intensity)
        rest = self.in_plane(tuple(range(sample.pixels.ndim - 1)))
        plane = Grid.plain(len(rest))
        grid = Grid(
            tuple(sample.grid.spacing_mm[axis] for axis in rest),
            plane.origin_mm,
            plane.direction,
            calibrated=sample.grid.calibrated,
            placed=False,
        )
        label, known, readers = (
            None if each is None else np.array(each.take(index, axis=self.axis))
            for each in (sample.label, sample.known, sample.readers)
        )
        stacked = self.stack(pixels, index - seen.start)
        count = sample.reader_count
        return Sample(sample.id, stacked, grid, label, known, readers=readers, reader_count=count)
