"""Which images a model has seen, told by the hashes of their pixels and by nothing else."""

from __future__ import annotations

from unetkit.records.saved import Saved

SEEN = "seen.json"
"""Its name in a model folder; it goes wherever the model goes."""


class SeenFile(Saved):
    """``seen.json`` of a model folder.

    Args:
        trained_on: SHA-256 of the pixels of every image that the model was trained on, or one it was made of.
        held_out: The same of the images that were kept for measuring.
    """

    version: int = 1
    trained_on: tuple[str, ...]
    held_out: tuple[str, ...] = ()
