"""``model.json`` of an ensemble: which networks answer together, each by the hashes of its parts."""

from __future__ import annotations

from pydantic import Field

from unetkit.records.saved import Saved

MEMBERS = "members"
"""Where the members lie in an ensemble's folder."""


class Member(Saved):
    """One network of an ensemble.

    Args:
        folder: Where it lies below the ensemble's folder, such as ``members/0``.
        run: The run it comes from, by its folder's name.
        plan_sha256: Of its ``plan.json``.
        weights_sha256: Of its ``weights.safetensors``.
        weight_bytes: Size of its ``weights.safetensors``.
        parameters: Number of learned values.
        previous_sha256: Of the ``model.json`` of its first stage, where it is a cascade.
    """

    folder: str = Field(pattern=rf"^{MEMBERS}/\d+$")
    run: str = ""
    plan_sha256: str
    weights_sha256: str
    weight_bytes: int
    parameters: int
    previous_sha256: str = ""


class EnsembleFile(Saved):
    """What makes a folder an ensemble; it predicts the mean of its members' probabilities.

    Args:
        members: The networks, in the order in which they are asked.
        plan_sha256: Of the ensemble's own ``plan.json``.
        packages: Package (or ``python``) to version, at the time of saving.
        facts: What else is worth knowing, as label to text.
    """

    version: int = 1
    members: tuple[Member, ...] = Field(min_length=1)
    plan_sha256: str
    packages: dict[str, str] = Field(default_factory=dict)
    facts: dict[str, str] = Field(default_factory=dict)
