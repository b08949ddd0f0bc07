"""Labels that do not name every class: what they call background may be any of the others."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.losses.target import is_soft
from unetkit.records.plan import WrapperTerm
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import (
    Objective,
    Past,
    at_size,
    joined_states,
    load_inner,
    options_of,
    outputs,
)

DEFAULTS = {"confidence": 0.8}
_NEVER = -1e4
"""The logit of a class that is counted as background: its probability is 0 and its gradient too."""


def as_background(logits: Tensor, hidden: Tensor, where: Tensor | None = None) -> Tensor:
    """Count classes as background: ``log Σ exp`` over them and the background takes the background's place.

    Softmax of the result gives every other class the probability it had, and the background the sum.

    Args:
        logits: ``(B, K, *S)``.
        hidden: ``(B, K)`` bool: which classes are counted as background; that of class 0 does not matter.
        where: ``(B, *S)`` bool: only there; None: everywhere.

    Returns:
        ``(B, K, *S)`` float32.

    Reference:
        Cermelli et al., Modeling the Background for Incremental Learning in Semantic Segmentation (MiB),
        CVPR 2020, equations 4 and 8.

    Example:
        >>> hidden = torch.tensor([[False, True, False]])
        >>> as_background(torch.zeros(1, 3, 1), hidden).softmax(1).flatten().tolist()[::2]
        [0.6666666865348816, 0.3333333432674408]
    """
    wide = logits.float()
    mask = hidden.to(wide.device).view(*hidden.shape, *[1] * (wide.ndim - 2)).clone()
    mask[:, 0] = True
    joined = wide.masked_fill(~mask, -torch.inf).logsumexp(dim=1, keepdim=True)
    merged = torch.cat([joined, wide.masked_fill(mask, _NEVER)[:, 1:]], dim=1)
    return merged if where is None else torch.where(where.unsqueeze(1), merged, wide)


class _Merged(nn.Module):
    """A network whose answer counts hidden classes as background wherever the label says background."""

    def __init__(self, network: nn.Module, batch: Batch, named: Mapping[str, frozenset[int]]) -> None:
        super().__init__()
        self._network = (network,)  # in a tuple, so that it is no child of this one
        self._batch, self._named = batch, named

    def forward(self, x: Tensor) -> list[Tensor]:
        """Logits fine to coarse."""
        answer = self._network[0](x)
        levels = [answer] if isinstance(answer, Tensor) else list(answer)
        hidden = hidden_classes(self._batch.cases, self._named, levels[0].shape[1])
        return [
            as_background(level, hidden, at_size(self._batch.target, level.shape[2:]) == 0)
            for level in levels
        ]


class Unbiased:
    """An objective for labels of different data sets, each of which names only some of the classes.

    Where an item's label says background, the classes that its data set does not name are counted as
    background, so that none of the losses pushes them down there; what the earlier model believes to be one
    of them becomes the label (a pseudo-label).

    Args:
        inner: What computes the losses on labels.
        term: Option ``confidence`` (0.8): probability from which the earlier model is believed.
        layout: Number type and memory format of the earlier model's forward pass.
        past: Which classes each case names, and the earlier network.

    Reference:
        Cermelli et al., MiB, CVPR 2020, equation 4; Douillard et al., PLOP, CVPR 2021, section 3.3, for the
        pseudo-labels (with a fixed threshold in place of a median per class).
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        self._confidence = options_of(term, DEFAULTS)["confidence"]
        self._inner, self._teacher, self._layout, self._named = inner, past.network, layout, past.named

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of what is wrapped, on labels and answers as described above."""
        if all(self._named.get(case) is None for case in batch.cases):
            return self._inner.terms(network, batch)
        if is_soft(batch.target) or batch.borrowed is not None:
            raise UsageError(
                "'unbiased' must know which data set each patch is from, and these patches are mixed",
                cure="set augmentation.mixup, augmentation.cutmix and augmentation.copy_paste to 0",
            )
        target = batch.target
        if self._teacher is not None and self._confidence <= 1:
            with torch.no_grad():
                believed = outputs(self._teacher, batch.pixels, self._layout)[0]
            hidden = hidden_classes(batch.cases, self._named, believed.shape[1])
            target = pseudo_labelled(target, believed, hidden, confidence=self._confidence)
        told = Batch(batch.pixels, target, batch.known, batch.cases)
        return self._inner.terms(_Merged(network, told, self._named), told)

    def after_step(self, rate: float) -> None:
        """Nothing of its own."""
        self._inner.after_step(rate)

    def state(self) -> dict[str, Tensor]:
        """That of what is wrapped: the earlier model and the names are files of the run."""
        return joined_states(self._inner, {})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what ``state`` gave."""
        load_inner(self._inner, tensors)


def hidden_classes(cases: tuple[str, ...], named: Mapping[str, frozenset[int]], classes: int) -> Tensor:
    """Which classes may hide in the background of each item.

    Args:
        cases: Case of each of ``B`` items.
        named: Case to the ids of the classes that its data set names; a case that is not in it names all.
        classes: ``K``.

    Returns:
        ``(B, K)`` bool.

    Example:
        >>> hidden_classes(("a", "b"), {"a": frozenset({2})}, 3).tolist()
        [[False, True, False], [False, False, False]]
    """
    rows = [
        [bool(value) and value not in named.get(case, range(classes)) for value in range(classes)]
        for case in cases
    ]
    return torch.tensor(rows, dtype=torch.bool)


def pseudo_labelled(target: Tensor, believed: Tensor, hidden: Tensor, *, confidence: float) -> Tensor:
    """Labels in which background that an earlier model is sure of has become the class it believes in.

    Args:
        target: ``(B, *S)`` class ids.
        believed: ``(B, K', *S)`` logits of the earlier model, which may know fewer classes.
        hidden: ``(B, K)`` bool: only these classes, per item.
        confidence: Probability from which it is believed.

    Example:
        >>> target, believed = torch.zeros(1, 2, dtype=torch.long), torch.tensor([[[0.0, 0.0], [3.0, 0.1]]])
        >>> pseudo_labelled(target, believed, torch.tensor([[False, True]]), confidence=0.8).tolist()
        [[1, 0]]
    """
    sure, value = believed.float().softmax(dim=1).max(dim=1)
    allowed = hidden.to(value.device).gather(1, value.flatten(1)).view_as(value)
    return torch.where((target == 0) & allowed & (sure >= confidence), value.to(target.dtype), target)
