"""An exponential moving average of the weights: what is validated and kept."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

import torch
from torch import Tensor, nn


class Average:
    """The averaged weights of a network, kept beside it.

    Only trainable weights are averaged; buffers (statistics of batch norm, already averages) are the
    network's own. The two sets change places by exchanging pointers, so that nothing is copied.

    Reference: Polyak and Juditsky 1992; the decay's warm-up ``min(decay, (1 + t) / (10 + t))`` as in
    TensorFlow's ``ExponentialMovingAverage``.

    Args:
        network: On its device already.
        decay: Share of the old average that a step keeps, 0 for no averaging at all.

    Example:
        >>> network = nn.Linear(1, 1, bias=False)
        >>> average = Average(network, 0.9)
        >>> with torch.no_grad(): _ = network.weight.fill_(1.0)
        >>> average.update(0)
        >>> with average.in_place(): round(network.weight.item(), 6) == 1.0
        False
    """

    def __init__(self, network: nn.Module, decay: float) -> None:
        named = [(name, weight) for name, weight in network.named_parameters() if weight.requires_grad]
        self.decay = decay
        self._names = [name for name, _ in named] if decay else []
        self._weights = [weight for _, weight in named] if decay else []
        self._averages = [weight.detach().clone() for weight in self._weights]

    @torch.no_grad()
    def update(self, step: int) -> None:
        """Take in the network's weights.

        Args:
            step: Updates made before this one.
        """
        if self._weights:
            decay = min(self.decay, (1 + step) / (10 + step))
            weights = [weight.data for weight in self._weights]
            torch._foreach_lerp_(self._averages, weights, 1.0 - decay)  # pyright: ignore[reportPrivateImportUsage]

    def exchange(self) -> None:
        """Put the averages into the network and the network's weights here; again, and all is as before."""
        for index, weight in enumerate(self._weights):
            weight.data, self._averages[index] = self._averages[index], weight.data

    @contextmanager
    def in_place(self) -> Iterator[None]:
        """The network computes with the averages for a while."""
        self.exchange()
        try:
            yield
        finally:
            self.exchange()

    def tensors(self) -> dict[str, Tensor]:
        """The averages by the name of their weight; empty when nothing is averaged."""
        return dict(zip(self._names, self._averages, strict=True))

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Take the averages over from ``tensors``; a weight that is not there starts from the network's."""
        for name, weight, average in zip(self._names, self._weights, self._averages, strict=True):
            average.copy_(tensors.get(name, weight.detach()))
