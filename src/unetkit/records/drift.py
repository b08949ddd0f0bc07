"""What a model's images look like where it is known to be good, and how new ones differ from them."""

from __future__ import annotations

from pathlib import Path

from unetkit.records.saved import Saved
from unetkit.records.sealed import Sealed

REFERENCE = "reference.json"
"""Its name in a model folder."""

KINDS = ("input", "prediction", "performance")
"""What can drift: images and what the network makes of them, its answers, its scores on labelled images."""


class ReferenceFile(Sealed):
    """``reference.json`` of a model folder: statistics of images that the model is known to be good on.

    Args:
        ids: The images.
        names: The statistics, such as ``texture.noise.image``.
        values: One row per image, one column per name; None where an image has no such statistic.
        embeddings: One row per image; empty where the model gives none.
    """

    ids: tuple[str, ...]
    names: tuple[str, ...]
    values: tuple[tuple[float | None, ...], ...]
    embeddings: tuple[tuple[float, ...], ...] = ()


class DriftTest(Saved):
    """One statistic in new images against the reference.

    Args:
        name: The statistic.
        kind: A name of ``KINDS``.
        images: New images that have it.
        reference: Median in the reference; None for ``embedding``, which is no single number.
        low: 5th percentile there.
        high: 95th percentile there.
        batch: Median in the new images.
        p_value: Of the two-sample test.
        adjusted: The same adjusted for the number of statistics (Holm).
        drifted: Whether it is at most the share of false alarms that is allowed.
    """

    name: str
    kind: str
    images: int
    reference: float | None
    low: float | None
    high: float | None
    batch: float | None
    p_value: float
    adjusted: float
    drifted: bool


class UnusualImage(Saved):
    """One image that lies outside what the reference holds.

    Args:
        id: Its name.
        path: Its (first) file.
        reasons: What is unusual, the most unusual first, such as ``texture.noise.image 3.1 (0.4 to 0.9)``.
        distance: How far outside, in half-widths of the reference's 5th to 95th percentile.
    """

    id: str
    path: Path
    reasons: tuple[str, ...]
    distance: float


class RefusedImage(Saved):
    """One image that could not be looked at, and why."""

    id: str
    where: str
    problem: str
    cure: str


class MonitorResult(Saved):
    """What ``monitor`` found.

    Args:
        model: The model folder.
        source: The new images.
        images: How many were looked at.
        reference: Where the reference is from.
        reference_images: How many images it holds.
        alarm: Chance that drift is declared where there is none.
        needed: Images it takes to tell any drift from chance, however great it is.
        tests: One per statistic, the least likely first; empty where a reference was learned.
        drifted: The kinds in which drift is declared; empty: none is.
        unusual: Images that lie outside the reference, the farthest first.
        refused: Images that could not be read.
        notes: What the numbers do not say.
        html: The page, None where none was written.
        learned: Whether the images became the reference.
    """

    model: Path
    source: Path
    images: int
    reference: str
    reference_images: int
    alarm: float
    needed: int = 1
    tests: tuple[DriftTest, ...] = ()
    drifted: tuple[str, ...] = ()
    unusual: tuple[UnusualImage, ...] = ()
    refused: tuple[RefusedImage, ...] = ()
    notes: tuple[str, ...] = ()
    html: Path | None = None
    learned: bool = False

    @property
    def verdict(self) -> str:
        """What was found, in a few words; that too few images show nothing is not that nothing is there.

        Example:
            >>> from pathlib import Path
            >>> few = {"model": Path("m"), "source": Path("s"), "reference": "r", "reference_images": 8}
            >>> MonitorResult(images=8, needed=10, alarm=0.001, **few).verdict
            'too few images to tell: 10 are needed'
        """
        if self.drifted:
            return f"drift in {' and '.join(self.drifted)}"
        if self.images < self.needed:
            return f"too few images to tell: {self.needed} are needed"
        return "no drift found"
