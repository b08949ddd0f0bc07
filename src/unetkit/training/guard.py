"""Infinity and NaN never train on: a run stops at the first one, before the weights are touched."""

from __future__ import annotations

import math

import torch
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import DataError, UnetkitError
from unetkit.records.run import Run


def guard_step(norm: float, batch: Batch, terms: dict[str, Tensor], *, run: Run, step: int) -> None:
    """Let a step through if its gradient norm (which carries its loss) is finite.

    Args:
        norm: As ``optimizer.clip`` gave it.
        batch: The step's batch, to be named.
        terms: Its losses, to be named.
        run: Whose journal is told.
        step: Steps done before this one.

    Raises:
        DataError: Pixels of the batch are not finite; names the cases.
        UnetkitError: The pixels are fine, the loss or its gradient is not; names the cases of the batch.
    """
    if math.isfinite(norm):
        return
    losses = {name: float(term.detach()) for name, term in terms.items()}
    fine = torch.isfinite(batch.pixels).flatten(1).all(dim=1).tolist()
    spoilt = [case for case, is_fine in zip(batch.cases, fine, strict=True) if not is_fine]
    cases = tuple(dict.fromkeys(spoilt or batch.cases))
    run.note("not_finite", step=step, cases=cases, terms={name: str(loss) for name, loss in losses.items()})
    if spoilt:
        raise DataError(
            f"pixels are NaN or infinite in the batch of step {step}; training stopped before that step",
            cure="correct or remove these images, then resume from the last resume point",
            where=", ".join(cases),
        )
    shown = ", ".join(f"{name} {loss:g}" for name, loss in losses.items())
    raise UnetkitError(
        f"the loss or its gradient is not finite at step {step} ({shown}), the pixels are; training stopped "
        "before that step",
        cure="resume with a lower training.learning_rate or with training.precision set to float32, "
        "and look at the labels of these cases",
        where=", ".join(cases),
    )


def guard_weights(network: nn.Module, step: int) -> None:
    """Let a network be saved if all its weights and buffers are finite.

    Args:
        network: The network.
        step: Steps done.

    Raises:
        UnetkitError: Naming the weight and the step.
    """
    for name, tensor in network.state_dict().items():
        if tensor.is_floating_point() and not bool(torch.isfinite(tensor).all()):
            raise UnetkitError(
                f"the weight '{name}' is not finite after step {step}; the resume point before is kept",
                cure="resume with a lower training.learning_rate or with training.precision set to float32",
            )
