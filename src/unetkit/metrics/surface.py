"""Surface metrics: how far the outlines of two objects lie apart, in millimetres.

Surface: the boundary pixels of an object, that is object pixels with a background pixel among their face
neighbours; outside the image is background. Distances ``d`` are Euclidean, between pixel centres, in mm.
With ``R`` and ``P`` the surfaces of reference and prediction, ``d(r, P)`` is the distance of a pixel of ``R``
to the nearest pixel of ``P``. ``measured`` in ``unetkit.metrics.convention`` answers for empty masks.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np

from unetkit.metrics.convention import measured
from unetkit.spatial.regions import distances

_ROUNDING = 1e-9
"""Share by which a distance may exceed the tolerance: 3 pixels of 0.1 mm are 0.30000000000000004 mm."""


def _hd95(there: np.ndarray, back: np.ndarray, tolerance_mm: float) -> float:
    return float(max(np.percentile(there, 95), np.percentile(back, 95)))


def _assd(there: np.ndarray, back: np.ndarray, tolerance_mm: float) -> float:
    return float((there.sum() + back.sum()) / (there.size + back.size))


def _nsd(there: np.ndarray, back: np.ndarray, tolerance_mm: float) -> float:
    limit = tolerance_mm * (1 + _ROUNDING)
    near = int(np.count_nonzero(there <= limit)) + int(np.count_nonzero(back <= limit))
    return near / (there.size + back.size)


FROM_DISTANCES: dict[str, Callable[[np.ndarray, np.ndarray, float], float]] = {
    "hd95": _hd95,
    "assd": _assd,
    "nsd": _nsd,
}
"""The formulas, from the distances of one surface to the other, those back, and the tolerance."""


def hd95(
    reference: np.ndarray, prediction: np.ndarray, *, spacing_mm: Sequence[float], tolerance_mm: float = 1.0
) -> float | None:
    """95 % Hausdorff distance: the larger of the two directed 95th percentiles.

    ``max( P95 { d(r, P) : r in R }, P95 { d(p, R) : p in P } )``, percentiles linearly interpolated.
    (Some tools pool both directions before taking the percentile; their value can differ by millimetres.)

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Distance between neighbouring pixels along each axis.
        tolerance_mm: Ignored.

    Returns:
        Millimetres, 0 for equal masks and never above the image's diagonal; the diagonal when exactly one
        mask is empty, None when both are.

    Reference:
        Huttenlocher et al., Comparing images using the Hausdorff distance, TPAMI 15 (1993).

    Example:
        >>> slices = np.eye(4, dtype=bool)[..., None]
        >>> hd95(slices[1:2].T, slices[2:3].T, spacing_mm=(1.0, 5.0, 1.0))
        5.0
    """
    return _measured("hd95", reference, prediction, spacing_mm, tolerance_mm)


def assd(
    reference: np.ndarray, prediction: np.ndarray, *, spacing_mm: Sequence[float], tolerance_mm: float = 1.0
) -> float | None:
    """Average symmetric surface distance: the mean over the pixels of both surfaces.

    ``( sum d(r, P) + sum d(p, R) ) / ( |R| + |P| )``.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Distance between neighbouring pixels along each axis.
        tolerance_mm: Ignored.

    Returns:
        Millimetres, 0 for equal masks; the image's diagonal when exactly one mask is empty, None when both
        are.

    Reference:
        Heimann et al., Comparison and evaluation of methods for liver segmentation, TMI 28 (2009).

    Example:
        >>> assd(np.array([1, 0, 0], bool), np.array([0, 0, 1], bool), spacing_mm=(0.5,))
        1.0
    """
    return _measured("assd", reference, prediction, spacing_mm, tolerance_mm)


def nsd(
    reference: np.ndarray, prediction: np.ndarray, *, spacing_mm: Sequence[float], tolerance_mm: float = 1.0
) -> float | None:
    """Normalised surface Dice at tolerance τ: the share of both surfaces that lies within τ of the other.

    ``( |{r : d(r, P) <= τ}| + |{p : d(p, R) <= τ}| ) / ( |R| + |P| )``; every boundary pixel weighs the same.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Distance between neighbouring pixels along each axis.
        tolerance_mm: τ.

    Returns:
        0 to 1; 0 when exactly one mask is empty, None when both are.

    Reference:
        Nikolov et al., Deep learning to achieve clinically applicable segmentation of head and neck anatomy,
        arXiv:1809.04430 (there with interpolated surface elements).

    Example:
        >>> nsd(np.array([1, 0, 0], bool), np.array([0, 1, 1], bool), spacing_mm=(2.0,), tolerance_mm=2.0)
        0.6666666666666666
    """
    return _measured("nsd", reference, prediction, spacing_mm, tolerance_mm)


def _measured(
    metric: str,
    reference: np.ndarray,
    prediction: np.ndarray,
    spacing_mm: Sequence[float],
    tolerance_mm: float,
) -> float | None:
    def formula(*both: np.ndarray) -> float:
        return FROM_DISTANCES[metric](*distances(*both, spacing_mm=spacing_mm), tolerance_mm)

    return measured(metric, reference, prediction, formula, spacing_mm=spacing_mm)
