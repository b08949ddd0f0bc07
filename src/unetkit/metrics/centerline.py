"""Centre-line metric: whether tubes are joined where they are joined in the reference."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from unetkit.metrics.convention import measured
from unetkit.spatial.skeleton import skeleton


def cldice(
    reference: np.ndarray,
    prediction: np.ndarray,
    *,
    spacing_mm: Sequence[float] | None = None,
    tolerance_mm: float = 1.0,
) -> float | None:
    """Centre-line Dice: the harmonic mean of two shares of centre lines.

    The share of the predicted centre line that lies in the reference, and the share of the reference's
    centre line that lies in the prediction: a gap costs its length, a wrong width hardly anything.

    Args:
        reference: ``(*S)`` bool.
        prediction: ``(*S)`` bool.
        spacing_mm: Ignored: centre lines are counted in pixels.
        tolerance_mm: Ignored.

    Returns:
        0 to 1; 0 when exactly one mask is empty, None when both are.

    Reference:
        Shit et al., clDice – a Novel Topology-Preserving Loss Function for Tubular Structure Segmentation,
        CVPR 2021, equation 1.

    Example:
        >>> tube = np.zeros((5, 9), bool)
        >>> tube[1:4, 1:8] = True
        >>> cldice(tube, tube), cldice(tube, tube & (np.arange(9) < 1))
        (1.0, 0.0)
    """
    return measured("cldice", reference, prediction, shared_lines)


def shared_lines(reference: np.ndarray, prediction: np.ndarray) -> float:
    """The formula, for two masks that both have pixels."""
    true_line, line = skeleton(reference), skeleton(prediction)
    kept = float(np.count_nonzero(true_line & prediction) / np.count_nonzero(true_line))
    right = float(np.count_nonzero(line & reference) / np.count_nonzero(line))
    return 2 * kept * right / (kept + right) if kept + right else 0.0
