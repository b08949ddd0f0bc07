"""Runtimes: whatever turns a batch of tiles into logits."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, ClassVar, Literal, Protocol

import numpy as np

if TYPE_CHECKING:
    from torch import nn

    from unetkit.records.plan import Plan

RUNTIMES = {
    "onnx": "unetkit.runtimes.onnx:OnnxRuntime",
    "openvino": "unetkit.runtimes.openvino:OpenvinoRuntime",
    "pytorch": "unetkit.runtimes.pytorch:PytorchRuntime",
    "tensorrt": "unetkit.runtimes.tensorrt:TensorrtRuntime",
}
Precision = Literal["float32", "float16"]


class Runtime(Protocol):
    """A row of ``RUNTIMES``."""

    @property
    def notes(self) -> Sequence[str]:
        """What was done differently from what was asked, in the order in which it happened."""
        ...

    def run(self, batch: np.ndarray) -> np.ndarray:
        """``(B, C, *S)`` float32 → logits ``(B, K, *S)`` float32, for any size ``*S``; an array of its own.

        A row that runs files takes uint8, or answers class ids ``(B, *S)``, where its file does: the plan's
        ``inference.network_input`` and ``inference.network_output`` say so.
        """
        ...


class FileRuntime(Runtime, Protocol):
    """A row that runs files instead of a torch network, and writes them; running them needs no torch.

    A row whose engine is not to be had on every machine that exports has ``stand_in(files)`` as well: a
    runtime that answers as the files say, and what that is in words. An export is compared with it there.
    """

    FILES: ClassVar[tuple[str, ...]]
    """The files a network consists of; every name begins with ``network.``."""

    PACKAGES: ClassVar[tuple[str, ...]]
    """Packages whose versions are written down with an export."""

    DEVICE: ClassVar[str]
    """Where it computes: ``cpu`` or ``cuda``."""

    PRECISION: ClassVar[Precision]
    """What it computes in where the network does not count in eight bits."""

    SYMMETRIC: ClassVar[bool]
    """Whether every grid of a network in eight bits has to have its zero in the middle."""

    CHANGES: ClassVar[Mapping[str, str]]
    """Values of the plan that it cannot do without: dotted key → value, as a person types it."""

    @classmethod
    def load(cls, files: Mapping[str, bytes]) -> FileRuntime:
        """Make ready what ``export`` wrote: the content of each of ``FILES``."""
        ...

    @staticmethod
    def export(network: nn.Module, plan: Plan, folder: Path) -> None:
        """Write ``FILES`` for a network in evaluation mode on the CPU, for images of any size.

        Its ends are those that the plan says: see ``networks.ends``.
        """
        ...

    @classmethod
    def convolutions(cls, files: Mapping[str, bytes]) -> dict[str, int]:
        """How many convolutions of a network are computed in whole numbers: ``integer`` and ``float``."""
        ...
