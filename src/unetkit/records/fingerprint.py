"""What a data set is: sums and counts only, so that the fingerprints of two sites add up to one."""

from __future__ import annotations

from unetkit.records.saved import Saved


class ChannelFingerprint(Saved):
    """Intensities of one channel.

    Args:
        name: Channel name (``image``, ``CT``, ``T1`` …).
        count: Number of sampled foreground pixels behind the moments and quantiles below.
        mean: Mean over foreground pixels.
        std: Standard deviation over foreground pixels.
        median: Median over foreground pixels.
        low: 0.5th percentile over foreground pixels.
        high: 99.5th percentile over foreground pixels.
        minimum: Smallest value over whole images.
        maximum: Largest value over whole images.
        integer: Whether every value is a whole number.
    """

    name: str
    count: int
    mean: float
    std: float
    median: float
    low: float
    high: float
    minimum: float
    maximum: float
    integer: bool


class Fingerprint(Saved):
    """What the data is, measured.

    Args:
        rank: Spatial axes, 2 or 3.
        cases: Ids of the labelled cases, sorted.
        groups: Number of distinct groups.
        shapes: Shape per case after cropping to non-zero, in ``cases`` order.
        original_shapes: Shape per case as stored.
        spacings_mm: Spacing per case.
        calibrated: Whether files state their spacing.
        channels: One per channel.
        classes: Class names; the first is the background.
        voxels: Pixels per class over all cases.
        cases_with: Number of cases in which each class occurs.
        unknown: Pixels under the ignore label.
        smallest_object: 10th percentile of object area (pixels) per foreground class, 0 where none.
        nonzero_share: Median of cropped volume over original volume.
        dtype: The pixel type most files have, e.g. ``uint8``.
        thickness: Median over cases of the width (pixels) that tubes with as many pixels and boundary faces
            would have, per foreground class, 0 where none.
        elongation: Median over cases of how many times as long as thick its objects would then be, per
            foreground class: 4 to 6 for compact ones, 0 where none.
    """

    version: int = 1
    rank: int
    cases: tuple[str, ...]
    groups: int
    shapes: tuple[tuple[int, ...], ...]
    original_shapes: tuple[tuple[int, ...], ...]
    spacings_mm: tuple[tuple[float, ...], ...]
    calibrated: bool
    channels: tuple[ChannelFingerprint, ...]
    classes: tuple[str, ...]
    voxels: tuple[int, ...]
    cases_with: tuple[int, ...]
    unknown: int
    smallest_object: tuple[float, ...]
    nonzero_share: float
    dtype: str
    thickness: tuple[float, ...] = ()
    elongation: tuple[float, ...] = ()
