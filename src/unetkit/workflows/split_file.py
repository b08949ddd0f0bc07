"""``split.json`` of a run: which cases it trained on, which it kept for measuring, and the hash of each."""

from __future__ import annotations

from unetkit.records.saved import Saved


class SplitFile(Saved):
    """The two sides of a split.

    Args:
        source: The data set as it was named.
        train: Case ids.
        held_out: Case ids never seen in training.
        how: How the split was made, in words.
        digests: Case id → SHA-256 of its pixels, so that changed data is noticed.
    """

    version: int = 1
    source: str
    train: tuple[str, ...]
    held_out: tuple[str, ...]
    how: str
    digests: dict[str, str]
