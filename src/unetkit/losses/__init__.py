"""Losses: ``(logits, target, known) → scalar``, all in float32, all deaf to unknown pixels."""

from __future__ import annotations

from typing import Protocol

from torch import Tensor

LOSSES = {
    "dice": "unetkit.losses.overlap:dice",
    "tversky": "unetkit.losses.overlap:tversky",
    "focal_tversky": "unetkit.losses.overlap:focal_tversky",
    "lovasz": "unetkit.losses.overlap:lovasz",
    "cross_entropy": "unetkit.losses.pixel:cross_entropy",
    "focal": "unetkit.losses.pixel:focal",
    "top_k": "unetkit.losses.pixel:top_k",
    "unified_focal": "unetkit.losses.unified:unified_focal",
    "boundary": "unetkit.losses.boundary:boundary",
    "cldice": "unetkit.losses.skeleton:cldice",
}


class Loss(Protocol):
    """A row of ``LOSSES``."""

    def __call__(
        self, logits: Tensor, target: Tensor, known: Tensor | None = None, **options: float
    ) -> Tensor:
        """Measure how wrong ``logits`` are.

        Args:
            logits: ``(B, K, *S)``, any float type; computed in float32.
            target: ``(B, *S)`` integer class ids ``0..K-1``, or ``(B, K, *S)`` floats: shares of the classes.
            known: ``(B, *S)`` bool, False where the target says nothing; None: all known.
            options: Numbers of the plan's ``LossTerm.options``.

        Returns:
            A scalar; 0 with a gradient of 0 when nothing is known.
        """
        ...
