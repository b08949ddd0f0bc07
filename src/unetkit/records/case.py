"""A case is an address; a sample is its pixels; a grid says where they lie in the world."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np

LABEL_KINDS = ("mask",)
SPLITS = ("train", "val", "test")
_FINE_MM = 0.1


@dataclass(frozen=True)
class Georeference:
    """Where a picture lies on the Earth, as GeoTIFF states it; kept as it is and never computed with.

    Args:
        pixel_scale: ModelPixelScale (33550).
        tie_points: ModelTiepoint (33922).
        transformation: ModelTransformation (34264).
        keys: GeoKeyDirectory (34735).
        numbers: GeoDoubleParams (34736).
        text: GeoAsciiParams (34737).

    Reference:
        OGC GeoTIFF Standard 1.1, https://docs.ogc.org/is/19-008r4/19-008r4.html.
    """

    pixel_scale: tuple[float, ...] = ()
    tie_points: tuple[float, ...] = ()
    transformation: tuple[float, ...] = ()
    keys: tuple[int, ...] = ()
    numbers: tuple[float, ...] = ()
    text: str = ""


@dataclass(frozen=True)
class Grid:
    """Where the pixels of an array lie in the world.

    Axes are in array order: ``(y, x)`` for pictures, ``(z, y, x)`` for volumes. World coordinates of a
    volume are RAS millimetres (as in NIfTI); a picture's world is its own plane.

    Args:
        spacing_mm: Distance between neighbouring pixels along each array axis, mm (1 where unknown).
        origin_mm: World coordinates of the first pixel's centre.
        direction: One unit vector in the world for each array axis, as rows.
        calibrated: Whether the spacing was stated by the file (False: 1 was assumed).
        placed: Whether origin and direction were stated by the file (a TIFF states a spacing at most).
        georeference: Where the array as a whole lies on the Earth, None where the file does not say.
    """

    spacing_mm: tuple[float, ...]
    origin_mm: tuple[float, ...]
    direction: tuple[tuple[float, ...], ...]
    calibrated: bool = True
    placed: bool = True
    georeference: Georeference | None = None

    @property
    def rank(self) -> int:
        """Number of spatial axes."""
        return len(self.spacing_mm)

    @staticmethod
    def plain(rank: int) -> Grid:
        """The grid of an array that states none: spacing 1, origin 0, axes along the world's.

        Example:
            >>> Grid.plain(2).spacing_mm
            (1.0, 1.0)
        """
        unit = tuple(tuple(float(i == j) for j in range(rank)) for i in range(rank))
        return Grid((1.0,) * rank, (0.0,) * rank, unit, calibrated=False, placed=False)

    def matches(self, other: Grid, *, tolerance: float = 1e-3) -> bool:
        """Whether two grids place the same pixel at the same point, within ``tolerance`` (mm).

        Origin and direction count only where both files state them.
        """
        return self.difference(other, tolerance=tolerance) is None

    def difference(self, other: Grid, *, tolerance: float = 1e-3) -> tuple[str, str, str] | None:
        """Say in what two grids differ: what it is, this grid's value, the other's; None where they match.

        Args:
            other: The other grid.
            tolerance: What may differ, mm; less where pixels are below 0.1 mm. Of a direction, per unit.

        Example:
            >>> Grid((1.0, 2.0), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))).difference(Grid.plain(2))
            ('spacing (mm)', '(1, 2)', '(1, 1)')
        """
        if self.rank != other.rank:
            return "number of axes", str(self.rank), str(other.rank)
        # of a microscope's pixels a thousandth of a millimetre is as much as one of them
        length = tolerance * min(1.0, min(self.spacing_mm) / _FINE_MM)
        pairs: list[tuple[str, tuple[float, ...], tuple[float, ...], float]]
        pairs = [("spacing (mm)", self.spacing_mm, other.spacing_mm, length)]
        if self.placed and other.placed:
            pairs += [
                ("origin (mm)", self.origin_mm, other.origin_mm, length),
                ("direction", sum(self.direction, ()), sum(other.direction, ()), tolerance),
            ]
        for word, mine, theirs, most in pairs:
            if not np.allclose(mine, theirs, rtol=0, atol=most):
                return word, _words(mine), _words(theirs)
        return None


def _words(values: tuple[float, ...]) -> str:
    return "(" + ", ".join(f"{value:.4g}" for value in values) + ")"


@dataclass(frozen=True)
class Case:
    """The address of one image and its label.

    Args:
        id: Unique name; the stem of the files.
        images: One file, or one per channel.
        label: The label file, None when there is none.
        label_kind: A name of ``LABEL_KINDS``.
        group: Cases of one group (patient, tile, lot, site) never lie on both sides of a split.
        split: ``"train"``, ``"val"``, ``"test"`` where the data set states it, else None.
        region: For a part of one large image: start and stop per axis, else None.
        readers: A file of who marked what (bit k of a pixel: reader k), None where there is none.
        reader_count: How many people read the case, those who marked nothing included.
        previous: A label file of what the first stage of a cascade says of the case, None for no cascade.
    """

    id: str
    images: tuple[Path, ...]
    label: Path | None
    group: str
    label_kind: str = "mask"
    split: str | None = None
    region: tuple[tuple[int, int], ...] | None = None
    readers: Path | None = None
    reader_count: int = 0
    previous: Path | None = None

    @staticmethod
    def unlabelled(id: str, images: tuple[Path, ...]) -> Case:
        """Image files that came without a label and without a group.

        Example:
            >>> Case.unlabelled("a", (Path("a.png"),)).group
            'a'
        """
        return Case(id=id, images=images, label=None, group=id)


@dataclass(frozen=True)
class Placement:
    """How a prepared array lies in the original one, so that a prediction finds its way back.

    Args:
        shape: Shape ``*S`` of the original array.
        grid: Grid of the original array.
        crop: Start and stop per axis of the kept box, in original pixels.
    """

    shape: tuple[int, ...]
    grid: Grid
    crop: tuple[tuple[int, int], ...]


@dataclass(frozen=True)
class Intensity:
    """Normalisation of one channel with its numbers filled in: ``(clip(v, low, high) - shift) * scale``.

    Args:
        low: Lower clip.
        high: Upper clip.
        shift: Subtracted after clipping.
        scale: Factor after the shift.
        masked: Whether pixels that are zero in every channel stay exactly 0.
    """

    low: float
    high: float
    shift: float
    scale: float
    masked: bool = False


@dataclass(frozen=True)
class Sample:
    """The pixels of one case, in memory or memory-mapped.

    Args:
        id: The case's id.
        pixels: ``(C, *S)``; the file's dtype when raw or not yet normalised, else float32.
        grid: Where these pixels lie.
        label: ``(*S)`` unsigned class ids ``0..K-1``, or None.
        known: ``(*S)`` bool, False where the label says nothing (the ignore label), or None: all known.
        placement: The way back to the original array; None for a raw sample.
        foreground: Class id to flat indices ``(n,)`` of some of its pixels, for sampling.
        intensity: How each channel is still to be normalised; empty when ``pixels`` are ready. Kept apart so
            that a cached picture stays one byte per pixel and only the patch that is used becomes float.
        readers: ``(*S)`` unsigned, bit k where reader k marked a pixel; None where nobody is told apart.
        reader_count: How many people read the case.
        previous: ``(*S)`` unsigned class ids as the first stage of a cascade gave them, or None.
    """

    id: str
    pixels: np.ndarray
    grid: Grid
    label: np.ndarray | None = None
    known: np.ndarray | None = None
    placement: Placement | None = None
    foreground: dict[int, np.ndarray] = field(default_factory=dict)
    intensity: tuple[Intensity, ...] = ()
    readers: np.ndarray | None = None
    reader_count: int = 0
    previous: np.ndarray | None = None
