"""A network that was asked for by name: a preset, a backbone, a part, or several joined by ``+``."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from unetkit.errors import UsageError, nearest
from unetkit.lookup import names, pick
from unetkit.networks.bottlenecks import BOTTLENECKS
from unetkit.networks.decoders import DECODERS
from unetkit.networks.encoders import ENCODERS
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.presets import PRESETS
from unetkit.planning.budget import LEAST_KEPT, Candidate, Choice, Maker, Terms, candidate
from unetkit.planning.count import count
from unetkit.planning.topology import FIRST_WIDTH, Topology, divisors
from unetkit.records.plan import Axes, NetworkPlan, Plan

FAMILIES = {"encoder": ENCODERS, "bottleneck": BOTTLENECKS, "fusion": FUSIONS, "decoder": DECODERS}
"""Parts a network is made of, in the order in which a name is looked up."""
_BACKBONES = {"timm": "unetkit.networks.encoders.timm:plan_of"}
"""Encoders that take a backbone, ``name:backbone``, and what says which plan it asks for."""
_LAYERED, _LAYERS = ("transformer", "vit"), 4
"""Bottlenecks that have layers, and how many where nobody says."""
_LEAST_WIDTH = 8


@dataclass(frozen=True)
class Wanted:
    """A network that was asked for.

    Args:
        name: As it was asked for.
        why: What it is, as a sentence.
        whole: Spatial axes → the network; None for the planner's own, with other parts.
        parts: Entries of the NetworkPlan that are as asked for.
        fixed: Whether its widths are given and cannot follow the budgets.
        rank: The spatial axes it is for; 0 for any.
    """

    name: str
    why: str
    whole: Callable[[int], NetworkPlan] | None = None
    parts: Mapping[str, Any] = field(default_factory=dict)
    fixed: bool = False
    rank: int = 0

    def maker(self) -> Maker:
        """Makes candidates of this network; each is built and counted without memory."""

        def make(
            terms: Terms, patch: Sequence[float], first_width: int, *, trimmed: bool = False
        ) -> Candidate:
            if self.whole is None:
                own = candidate(terms, patch, first_width, trimmed=trimmed)
                return _counted(terms, own.shape.patch, completed(own.network, self.parts))
            network = completed(self.whole(terms.rank), self.parts)
            if not self.fixed:
                network = narrowed(network, first_width / FIRST_WIDTH)
            return _counted(terms, fitted(patch, network), network)

        return make

    def reasons(self, terms: Terms, choice: Choice, widest: str) -> dict[str, str]:
        """Why the network is as it is, by dotted key.

        Args:
            terms: The data set.
            choice: What was chosen of it.
            widest: Why this size, as the planner words it for a network of its own.
        """
        why = {"network": self.why}
        network, patch = choice.candidate.network, choice.candidate.shape.patch
        if self.whole is None:
            return why | {f"network.{key}": f"'{self.name}' was asked for." for key in self.parts}
        why |= {f"network.{key}": f"As in '{self.name}'." for key in NetworkPlan.model_fields}
        full = completed(self.whole(terms.rank), self.parts)
        if network.widths != full.widths:
            share = f"{network.widths[0]} of {full.widths[0]} channels first, and so on"
            why["network.widths"] = f"Those of '{self.name}' made to fit, {share}. {widest}"
        elif self.fixed or network.backbone:
            why["network.widths"] = f"Those of '{self.name}', which are fixed; patch and batch make it fit."
        if any(p > math.ceil(m) for p, m in zip(patch, terms.median, strict=True)):
            stride = "×".join(map(str, choice.candidate.shape.divisors))
            why["training.patch_size"] = (
                f"Grown beyond the image to what the network's stride, {stride}, asks."
            )
        return why


def find(name: str) -> Wanted:
    """What a name stands for.

    Args:
        name: A preset of ``networks.presets``, an ``encoder:backbone``, a part of a family, or several of
            these joined by ``+``: ``unet_2015``, ``residual``, ``timm:resnet34+fpn``.

    Raises:
        UsageError: A word is none of these (with the nearest that is), there is no such backbone, or two
            contradict one another.
        MissingPackageError: What knows the backbones is not installed.

    Example:
        >>> find("residual").parts
        {'encoder': 'residual'}
    """
    whole: Callable[[int], NetworkPlan] | None = None
    parts: dict[str, Any] = {}
    origins: list[str] = []
    fixed = False
    for word in name.split("+"):
        encoder, colon, backbone = word.partition(":")
        family = next((f for f, table in FAMILIES.items() if word in names(f, table)), None)
        if word in PRESETS or (colon and encoder in _BACKBONES):
            if whole is not None:
                raise _two(name, "networks")
            preset = PRESETS.get(word)
            whole = preset.plan if preset else _of_backbone(encoder, backbone)
            if preset is None:
                whole(2)  # a backbone that does not exist must not cost the time it takes to read a data set
            origins.append(preset.paper if preset else f"features of the backbone {backbone}")
            fixed = preset is None
        elif family is None:
            raise UsageError(f"there is no network '{word}'", cure=nearest(word, known()))
        elif family in parts:
            raise _two(name, f"{family}s")
        else:
            parts[family] = word
            origins.append(f"the {family} '{word}'")
    return Wanted(name, f"'{name}' was asked for: {' with '.join(origins)}.", whole, parts, fixed)


def of_model(plan: Plan, name: str) -> Wanted:
    """The network of a trained model, which is kept as it is, so that its weights fit.

    Args:
        plan: The model's plan.
        name: How the model was named.
    """
    why = f"As in '{name}', the model whose weights training starts from."
    return Wanted(name, why, lambda _: plan.network, {}, True, plan.data.input_rank)


def known() -> tuple[str, ...]:
    """Every word that ``find`` takes, backbones left out."""
    return tuple(sorted({*PRESETS, *(word for f, table in FAMILIES.items() for word in names(f, table))}))


def completed(network: NetworkPlan, parts: Mapping[str, Any]) -> NetworkPlan:
    """A network with other parts, and with what they ask for where the network does not say.

    Args:
        network: The network.
        parts: Key of the NetworkPlan to its value.
    """
    changes = dict(parts)
    if parts.get("bottleneck") in _LAYERED and not network.bottleneck_blocks:
        changes["bottleneck_blocks"] = _LAYERS
    if parts.get("encoder") not in (None, network.encoder) and network.backbone:
        changes["backbone"] = ""
    return network.model_copy(update=changes)


def narrowed(network: NetworkPlan, share: float) -> NetworkPlan:
    """A network of a share of the width; one whose backbone fixes the widths stays as it is.

    Args:
        network: The network.
        share: Of every width, rounded to multiples of 8, at least 8.

    Example:
        >>> from unetkit.records.plan import EXAMPLE
        >>> narrowed(NetworkPlan(**{**EXAMPLE["network"], "widths": (32, 100)}), 0.5).widths
        (16, 48)
    """
    if share == 1.0 or network.backbone:
        return network

    def part(widths: Axes) -> Axes:
        rounded = (max(_LEAST_WIDTH, _LEAST_WIDTH * round(w * share / _LEAST_WIDTH)) for w in widths)
        return tuple(min(own, new) for own, new in zip(widths, rounded, strict=True))

    changes = {"widths": part(network.widths), "decoder_widths": part(network.decoder_widths)}
    return network.model_copy(update=changes)


def fitted(patch: Sequence[float], network: NetworkPlan) -> Axes:
    """A patch that the network halves evenly: cut down where that costs little, else grown.

    It never is below the network's stride, and never so small that a norm would see a single pixel.

    Args:
        patch: Pixels per axis that are wanted.
        network: The network.
    """
    edges, steps = [], divisors(network.strides)
    for want, step in zip(patch, steps, strict=True):
        below = math.floor(want / step) * step
        edges.append(below if below >= LEAST_KEPT * want and below else math.ceil(want / step) * step)
    if tuple(edges) == steps:
        edges = [2 * edge for edge in edges]
    return tuple(edges)


def _counted(terms: Terms, patch: Axes, network: NetworkPlan) -> Candidate:
    found = count(network, rank=terms.rank, in_channels=terms.channels, classes=terms.classes, patch=patch)
    return Candidate(
        Topology(patch, network.strides, network.kernels),
        network,
        found.lane_multiply_adds,
        found.elements,
        found.parameters,
        found.saved_bytes,
    )


def _of_backbone(encoder: str, backbone: str) -> Callable[[int], NetworkPlan]:
    def network(rank: int) -> NetworkPlan:
        return NetworkPlan.model_validate(pick("backbone", _BACKBONES, encoder)(backbone, rank))

    return network


def _two(name: str, what: str) -> UsageError:
    return UsageError(f"'{name}' names two {what}", cure="leave one of them out")
