"""What is kept in a model folder beside the model, and is true of that model alone."""

from __future__ import annotations

from unetkit.records.saved import Saved

SEAL = "model.json"
"""The file of a model folder that holds the hashes of its parts; its own hash stands for the model."""


class Sealed(Saved):
    """A record about one model.

    Args:
        model_sha256: Of ``model.json``.
        source: The images or the data set it was measured on, in words.
    """

    version: int = 1
    model_sha256: str
    source: str
