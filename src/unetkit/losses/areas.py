"""Areas of classes, and the mean over those that are there: what every overlap loss is made of."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

LEAST = 1e-8
"""Denominators stay above this, so that ``smooth=0`` cannot divide by zero."""


@dataclass(frozen=True)
class Areas:
    """Sums over pixels ``(rows, classes)``, a row being a sample or the whole batch.

    Args:
        shared: What prediction and target have in common.
        predicted: Area of the prediction.
        actual: Area of the target.
        weights: ``(rows,)`` 1 where anything is known, else 0.
    """

    shared: Tensor
    predicted: Tensor
    actual: Tensor
    weights: Tensor


def measure_areas(
    shares: Tensor, truth: Tensor, known: Tensor | None, *, soft: bool, batch: float, background: float
) -> Areas:
    """Areas of the prediction, of the target and of what they share.

    Args:
        shares: ``(B, K, *S)`` predicted probabilities.
        truth: ``(B, K, *S)`` shares of the target, 0 where unknown.
        known: ``(B, *S)`` bool, None for all.
        soft: Whether ``truth`` holds more than 0 and 1: then ``Σ min`` is shared, not ``Σ product``.
        batch: 1: one row for the whole batch.
        background: 0 to leave class 0 out.
    """
    if known is not None:
        shares = shares * known.unsqueeze(1).to(shares.dtype)
    shares, truth = foreground_of(shares, background), foreground_of(truth, background)
    shared = torch.minimum(shares, truth) if soft else shares * truth
    return Areas(
        summed(shared, batch=batch),
        summed(shares, batch=batch),
        summed(truth, batch=batch),
        row_weights(shares, known, batch=batch),
    )


def foreground_of(maps: Tensor, background: float) -> Tensor:
    """The classes that count, of maps ``(B, K, *S)``: all but class 0, unless ``background``."""
    return maps if background or maps.shape[1] == 1 else maps[:, 1:]


def summed(maps: Tensor, *, batch: float) -> Tensor:
    """Sums over the pixels of ``(B, K, *S)``, and over the samples where ``batch``: ``(rows, K)``."""
    totals = maps.flatten(2).sum(dim=2)
    return totals.sum(dim=0, keepdim=True) if batch else totals


def row_weights(like: Tensor, known: Tensor | None, *, batch: float) -> Tensor:
    """``(rows,)`` 1 where anything is known, else 0.

    Args:
        like: ``(B, …)`` whose type the answer has.
        known: ``(B, *S)`` bool, None for all.
        batch: 1: one row for the whole batch.
    """
    weights = like.new_ones(len(like)) if known is None else known.flatten(1).any(dim=1).to(like.dtype)
    return weights.amax(dim=0, keepdim=True) if batch else weights


def tversky_index(areas: Areas, *, alpha: float, beta: float, smooth: float) -> Tensor:
    """``shared / (shared + alpha · extra + beta · missed)``, ``(rows, classes)``.

    Args:
        areas: As measured.
        alpha: Price of what is predicted and not there.
        beta: Price of what is there and not predicted.
        smooth: Added above and below.
    """
    extra, missed = areas.predicted - areas.shared, areas.actual - areas.shared
    return (areas.shared + smooth) / (areas.shared + alpha * extra + beta * missed + smooth).clamp(min=LEAST)


def power(loss: Tensor, exponent: float) -> Tensor:
    """``loss ** exponent`` of losses ≥ 0, with a finite slope at 0.

    A root's slope at 0 is infinite: below the least difference from 1 a class is right and pulls no more.
    """
    least = torch.finfo(loss.dtype).eps
    return torch.where(loss > least, loss.clamp(min=least) ** exponent, 0.0)


def mean_present(losses: Tensor, actual: Tensor, weights: Tensor, *, absent: float = 0) -> Tensor:
    """Mean over the classes that count in a row, then over the rows in which any does.

    Args:
        losses: ``(rows, classes)``.
        actual: ``(rows, classes)`` area of the target; classes of area 0 do not count …
        weights: ``(rows,)`` as ``row_weights`` gives them.
        absent: … unless this is 1.
    """
    counts = torch.ones_like(losses) if absent else (actual > 0).to(losses.dtype)
    classes = counts.sum(dim=1)
    weights = weights * (classes > 0)
    rows = (losses * counts).sum(dim=1) / classes.clamp(min=1)
    return (rows * weights).sum() / weights.sum().clamp(min=1)
