"""The runtime that is always there: the network itself, in torch."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor, nn

from unetkit.errors import ResourceError
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
        self.notes: list[str] = []
        self._largest: int | None = None

    def run(self, batch: np.ndarray) -> np.ndarray:
        """Logits of a batch; when a device's memory does not suffice, of half of it at a time.

        A network in training mode is switched to evaluation for the call and back.

        Args:
            batch: ``(B, C, *S)`` float32.

        Returns:
            ``(B, K, *S)`` float32, C-contiguous.

        Raises:
            ResourceError: One tile alone does not fit.
        """
        was_training = self.network.training
        if was_training:
            self.network.eval()
        try:
            return self._run(torch.from_numpy(np.require(batch, np.float32, ["C", "W"])))
        finally:
            if was_training:
                self.network.train()

    def _run(self, batch: Tensor) -> np.ndarray:
        size = min(len(batch), self._largest or len(batch))
        while True:
            try:
                parts = [self._forward(part) for part in batch.split(max(1, size))]
                return parts[0] if len(parts) == 1 else np.concatenate(parts)
            except (MemoryError, RuntimeError) as wrong:
                if not ran_out(wrong):
                    raise
                if size <= 1:
                    tile = "×".join(map(str, batch.shape[2:]))
                    raise ResourceError(
                        f"one tile of {tile} pixels does not fit into the memory of '{self.device}'",
                        cure="set a smaller inference.tile_size, or use the device 'cpu'",
                    ) from None
            # Outside the handler: there, the traceback would keep the failed pass's tensors alive.
            size = self._largest = size // 2
            if self.device.type != "cpu":
                torch.accelerator.memory.empty_cache()
            self.notes.append(f"{self.device} ran out of memory: batches of {size} from now on")

    def _forward(self, batch: Tensor) -> np.ndarray:
        with torch.inference_mode(), self.layout.autocast(self.device):
            logits = self.network(self.layout.arrange(batch.to(self.device, non_blocking=True)))
        return logits.float().contiguous().cpu().numpy()
