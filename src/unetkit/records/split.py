"""``split.json`` of a run: which cases it trained on, which it kept for measuring, and the hash of each."""

from __future__ import annotations

from pydantic import Field

from unetkit.records.saved import Saved


class SplitFile(Saved):
    """The two sides of a split.

    Args:
        source: The data set as it was named.
        train: Case ids.
        held_out: Case ids never seen in training.
        how: How the split was made, in words.
        digests: Case id → SHA-256 of its pixels, so that changed data is noticed.
        label_digests: Case id → SHA-256 of its label; empty in files written before labels were hashed.
    """

    version: int = 1
    source: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    how: str
    digests: dict[str, str]
    label_digests: dict[str, str] = Field(default_factory=dict)
