"""The runtime that is always there: the network itself, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn

from unetkit.runtimes.batches import Batches, required
from unetkit.runtimes.devices import Layout, ran_out


class PytorchRuntime:
    """Tiles in, logits out, through a torch network.

    Args:
        network: ``(B, C, *S)`` → logits ``(B, K, *S)`` in evaluation mode; moved to the device in place.
        device: Where to compute.
        layout: Precision and memory format.

    Attributes:
        notes: What was done differently from what was asked, such as a smaller batch after an out-of-memory.

    Example:
        >>> runtime = PytorchRuntime(nn.Identity(), torch.device("cpu"), Layout())
        >>> runtime.run(np.ones((1, 1, 2, 2), np.float32)).sum().item()
        4.0
    """

    def __init__(self, network: nn.Module, device: torch.device, layout: Layout) -> None:
        self.network = layout.place(network, device)
        self.device = device
        self.layout = layout
        self._batches = Batches(
            str(device),
            ran_out=ran_out,
            cure="set a smaller inference.tile_size, or use the device 'cpu'",
            freed=self._free,
        )
        self.notes = self._batches.notes

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch; when a device's memory does not suffice, of half of it at a time.

        A network in training mode is switched to evaluation for the call and back.

        Args:
            batch: ``(B, C, *S)`` float32.

        Returns:
            ``(B, K, *S)`` float32, C-contiguous.

        Raises:
            ResourceError: One tile alone does not fit.
            UsageError: The pixels are not normalised.
        """
        was_training = self.network.training
        if was_training:
            self.network.eval()
        try:
            return self._batches.run(required(batch, np.float32, writeable=True), self._forward)
        finally:
            if was_training:
                self.network.train()

    def _free(self) -> None:
        if self.device.type != "cpu":
            torch.accelerator.memory.empty_cache()

    def _forward(self, part: np.ndarray) -> np.ndarray:
        batch = torch.from_numpy(part)
        with torch.inference_mode(), self.layout.autocast(self.device):
            logits = self.network(self.layout.arrange(batch.to(self.device, non_blocking=True)))
        return logits.float().contiguous().cpu().numpy()
