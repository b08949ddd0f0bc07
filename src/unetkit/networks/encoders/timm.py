"""Any backbone of timm that gives feature maps, for pictures and, inflated, for volumes."""

from __future__ import annotations

import difflib
import math
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from types import ModuleType
from typing import Any

import torch
from jaxtyping import Float
from torch import Tensor, nn

from unetkit.errors import MissingPackageError, ResourceError, UsageError
from unetkit.records.plan import NetworkPlan
from unetkit.spatial.inflation import inflate, round_up_sizes, uninflatable

INSTALL = "pip install 'unetkit[timm]'"
_PICTURE = 2
_PROBE = 128
_ODD = ((97, 70), (33, 3))
_EXAMPLES = "resnet34, efficientnet_b0, mobilenetv2_100, convnext_tiny"
_REFUSALS = (
    RuntimeError,
    ValueError,
    TypeError,
    AttributeError,
    AssertionError,
    NotImplementedError,
    KeyError,
)
"""What timm raises, one way or another, when a network has no features or not for such an image."""


@dataclass(frozen=True)
class Backbone:
    """What was found out about a backbone by running it on images without memory.

    Args:
        channels: Width of each feature map, fine to coarse.
        steps: Stride of each feature map against the previous one, of the first against the image.
        stages: Names of the modules with weights that compute each feature map from the one before.
        levels: Name of each layer to the number of the feature map at whose size it answers.
        convolutions: Convolutions wider than a pixel, per stage.
        uninflatable: Kinds of module that have no counterpart for volumes.
    """

    channels: tuple[int, ...]
    steps: tuple[int, ...]
    stages: tuple[tuple[str, ...], ...]
    levels: Mapping[str, int]
    convolutions: tuple[int, ...]
    uninflatable: tuple[str, ...]


class TimmEncoder(nn.Module):
    """The feature maps of ``network.backbone``, freshly initialised; weights come from ``pretrained``.

    The backbone keeps its own blocks, norms and activations: ``network.norm``, ``blocks`` and ``dropout``
    shape the decoder alone. Sizes are rounded up, whatever they are. Nothing is downloaded.

    With 3 axes every layer of the backbone is given a further one, before its own two. Along it a stage
    convolves as widely as along the others where its entry of ``network.kernels`` is above 1, and strides
    where its entry of ``network.strides`` is; with entries of 1 each slice is seen alone.

    Args:
        network: The plan; ``plan_of`` says what widths and strides it has to have. Fewer stages than the
            backbone has make it end there.
        rank: Spatial axes.
        in_channels: Channels of the image.

    Raises:
        UsageError: There is no such backbone, it has no features, or the plan does not fit it.
        MissingPackageError: timm is not installed.

    Reference:
        Wightman, PyTorch Image Models, https://github.com/huggingface/pytorch-image-models.
    """

    def __init__(self, network: NetworkPlan, rank: int, in_channels: int) -> None:
        super().__init__()
        stages = len(network.widths)
        found = describe(network.backbone, stages)
        _check(network, found, rank)
        self.channels, self.strides = found.channels, network.strides
        self.name, self._stages = network.backbone, found.stages
        self.backbone = _create(network.backbone, in_channels, stages)
        if rank > _PICTURE:
            inflate(
                self.backbone,
                lambda name: (
                    network.kernels[found.levels.get(name, 0)][0] > 1,
                    network.strides[found.levels.get(name, 0)][0] > 1,
                ),
            )
        for name, buffer in _unsaved(self.backbone):  # a loaded model could not compute them anew
            owner, _, last = name.rpartition(".")
            self.backbone.get_submodule(owner).register_buffer(last, buffer)

    def forward(self, x: Float[Tensor, "b c *s"]) -> list[Tensor]:
        """``(B, C, *S)`` → features fine to coarse."""
        return list(self.backbone(x))

    def blocks_by_stage(self) -> list[list[nn.Module]]:
        """The layers of each stage, the image's side first; the stem belongs to the first."""
        return [[self.backbone.get_submodule(name) for name in stage] for stage in self._stages]


def plan_of(backbone: str, rank: int) -> dict[str, Any]:
    """The entries of a NetworkPlan that a backbone asks for.

    Args:
        backbone: A name timm knows.
        rank: Spatial axes. With 3, entries of ``strides`` and ``kernels`` for the first axis may be set to 1.

    Returns:
        ``encoder``, ``backbone``, ``widths``, ``strides``, ``kernels`` (of the decoder: 3 everywhere),
        ``blocks`` (the backbone's convolutions wider than a pixel) and ``decoder_blocks`` (2 everywhere).

    Raises:
        UsageError: There is no such backbone, or it has no features, or none for ``rank`` axes.
        MissingPackageError: timm is not installed.

    Example:
        >>> plan = plan_of("resnet34", 2)
        >>> plan["widths"], plan["strides"][0]
        ((64, 64, 128, 256, 512), (2, 2))
    """
    found = describe(backbone)
    _check_rank(backbone, found, rank)
    return {
        "encoder": "timm",
        "backbone": backbone,
        "widths": found.channels,
        "strides": tuple((step,) * rank for step in found.steps),
        "kernels": ((3,) * rank,) * len(found.channels),
        "blocks": found.convolutions,
        "decoder_blocks": (2,) * (len(found.channels) - 1),
    }


def imagenet_weights(backbone: str) -> tuple[str, dict[str, Tensor]]:
    """The weights timm has for a backbone: from its cache, else from the hub.

    Args:
        backbone: A name timm knows.

    Returns:
        Where they come from, and name to tensor as in ``TimmEncoder.backbone`` for pictures of 3 channels.

    Raises:
        UsageError: There is no such backbone, or nobody trained it.
        ResourceError: They are not in the cache and cannot be fetched.
    """
    describe(backbone)
    timm = _timm()
    if not timm.is_model_pretrained(backbone):
        raise UsageError(
            f"timm has no trained weights for the backbone '{backbone}'",
            cure="name another backbone, or start from a file of your own",
        )
    try:
        network = timm.create_model(backbone, pretrained=True, features_only=True)
    except (OSError, RuntimeError, ValueError) as wrong:
        reason = str(wrong).strip().split("\n")[0]
        raise ResourceError(
            f"the weights of '{backbone}' are not in the cache and could not be fetched ({reason})",
            cure="connect this machine once, or start from a local file of these weights",
        ) from wrong
    origin = getattr(timm.get_pretrained_cfg(backbone), "hf_hub_id", None) or backbone
    return f"{origin} ({backbone})", network.state_dict()


@lru_cache(maxsize=32)
def describe(backbone: str, stages: int = 0) -> Backbone:
    """Find out about a backbone by running it on images without memory or numbers.

    Args:
        backbone: A name timm knows.
        stages: At how many feature maps it ends; 0, or more than it has, for all.

    Raises:
        UsageError: There is no such backbone, it has no features, or not for images of any size.
        MissingPackageError: timm is not installed.

    Example:
        >>> describe("resnet34").steps
        (2, 2, 2, 2, 2)
    """
    with torch.device("meta"):
        network = _create(backbone, 3, stages).eval()
        sizes: dict[str, int] = {}
        features = _features(backbone, network, (_PROBE, _PROBE), sizes)
        strides = network.feature_info.reduction()  # pyright: ignore
        for size in _ODD:
            for feature, stride in zip(_features(backbone, network, size), strides, strict=True):
                wanted = tuple(-(-length // stride) for length in size)
                if tuple(feature.shape[2:]) != wanted:
                    raise _no_features(backbone, f"size {list(feature.shape[2:])} for {list(size)} pixels")
    behind = _modules_behind(backbone, network, features)
    return Backbone(
        channels=tuple(feature.shape[1] for feature in features),
        steps=tuple(coarse // fine for fine, coarse in zip([1, *strides], strides, strict=False)),
        stages=behind,
        levels={name: _level(features, size) for name, size in sizes.items()},
        convolutions=tuple(max(1, sum(map(_is_wide, _inside(network, stage)))) for stage in behind),
        uninflatable=tuple(uninflatable(network)),
    )


def _timm() -> ModuleType:
    try:
        import timm
    except ModuleNotFoundError as missing:
        raise MissingPackageError(
            f"encoder 'timm' needs the package '{missing.name}', which is not installed", cure=INSTALL
        ) from missing
    return timm


def _create(backbone: str, in_channels: int, stages: int = 0) -> nn.Module:
    """The backbone, freshly initialised, ending at its feature map number ``stages`` where it has more."""
    timm = _timm()
    _check_name(backbone, timm)
    ask = {"pretrained": False, "features_only": True, "in_chans": in_channels}
    try:
        network = timm.create_model(backbone, **ask)
        indices = tuple(network.feature_info.out_indices)
        if 0 < stages < len(indices):
            network = timm.create_model(backbone, **ask, out_indices=indices[:stages])
            if isinstance(blocks := getattr(network, "blocks", None), nn.Sequential):
                network.blocks = blocks[: max(network._stage_out_idx)]  # the one kind that timm leaves whole
    except _REFUSALS as wrong:
        raise _no_features(backbone, wrong) from wrong
    round_up_sizes(network)
    return network


def _check_name(backbone: str, timm: ModuleType) -> None:
    """Only a plain name is let through: a scheme, as in ``hf-hub:``, would load something."""
    if not backbone:
        raise UsageError(
            "the encoder 'timm' needs a backbone, network.backbone is empty",
            cure=f"set network.backbone to a name timm knows, such as {_EXAMPLES}",
        )
    if not re.fullmatch(r"[A-Za-z0-9_]+(\.[A-Za-z0-9_]+)?", backbone):
        raise UsageError(
            f"network.backbone is '{backbone}', a plain name of timm's own table was expected: a plan "
            "neither downloads nor opens anything",
            cure=f"use a name such as {_EXAMPLES}; bring other weights in from a local file",
        )
    name, _, tag = backbone.partition(".")
    known = timm.list_models()
    if name not in known:
        close = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
        raise UsageError(
            f"timm {timm.__version__} has no backbone '{name}'", cure=f"use {_either(close) or _EXAMPLES}"
        )
    tags = timm.list_pretrained(f"{name}.*") if tag else []
    if tag and backbone not in tags:
        raise UsageError(
            f"timm {timm.__version__} has no weights '{tag}' for the backbone '{name}'",
            cure=f"use {_either([name, *tags])}",
        )


def _features(
    backbone: str, network: nn.Module, size: tuple[int, ...], sizes: dict[str, int] | None = None
) -> list[Tensor]:
    """The feature maps of an image of ``size``; into ``sizes`` go the pixels each layer answers."""
    hooks = []
    if sizes is not None:
        for name, module in network.named_modules():

            def watch(_: nn.Module, given: object, answer: object, name: str = name) -> None:
                if isinstance(answer, Tensor) and answer.ndim == 4:
                    sizes[name] = answer.shape[2]

            hooks.append(module.register_forward_hook(watch))
    try:
        features = list(network(torch.empty(1, 3, *size)))
    except _REFUSALS as wrong:
        raise _no_features(backbone, wrong) from wrong
    finally:
        for hook in hooks:
            hook.remove()
    wanted = network.feature_info.channels()  # pyright: ignore[reportCallIssue,reportAttributeAccessIssue]
    found = [tuple(feature.shape) for feature in features]
    is_map = len(features) > 1 and all(len(shape) == 4 for shape in found)
    if not is_map or [shape[1] for shape in found] != wanted:
        raise _no_features(backbone, f"shapes {[list(shape) for shape in found]} for {list(size)} pixels")
    return features


def _no_features(backbone: str, found: str | Exception) -> UsageError:
    if isinstance(found, Exception):
        found = str(found).strip().split("\n")[0].rstrip(". ") or type(found).__name__
    return UsageError(
        f"the backbone '{backbone}' was expected to give feature maps for images of any size, "
        f"rounded up; timm answers: {found}",
        cure=f"use a convolutional backbone, such as {_EXAMPLES}",
    )


def _modules_behind(backbone: str, network: nn.Module, features: list[Tensor]) -> tuple[tuple[str, ...], ...]:
    """The modules behind each feature map that are not behind a finer one, along the flow of gradients."""
    stage_of: dict[int, int] = {}
    seen: set[object] = set()
    for stage, feature in enumerate(features):
        open_nodes = [feature.grad_fn]
        while open_nodes:
            node = open_nodes.pop()
            if node is None or node in seen:
                continue
            seen.add(node)
            if isinstance(weight := getattr(node, "variable", None), Tensor):
                stage_of[id(weight)] = stage
            open_nodes += [following for following, _ in node.next_functions]
    stages: list[list[str]] = [[] for _ in features]
    for name, module in network.named_modules():
        weights = list(module.parameters(recurse=False))
        if any(id(weight) not in stage_of for weight in weights):
            raise _no_features(
                backbone, f"weights in '{name}' behind the last of {len(features)} feature maps"
            )
        if weights:
            stages[min(stage_of[id(weight)] for weight in weights)].append(name)
    every = {name for stage in stages for name in stage}
    inner = {name for name in every for whole in every if name.startswith(f"{whole}.")}
    return tuple(tuple(name for name in stage if name not in inner) for stage in stages)


def _level(features: list[Tensor], size: int) -> int:
    """Number of the first feature map that is no longer than ``size`` pixels."""
    return next((i for i, feature in enumerate(features) if feature.shape[2] <= size), len(features) - 1)


def _inside(network: nn.Module, names: tuple[str, ...]) -> Iterator[nn.Module]:
    for name in names:
        yield from network.get_submodule(name).modules()


def _is_wide(module: nn.Module) -> bool:
    weight = getattr(module, "weight", None)
    return isinstance(weight, Tensor) and weight.ndim > 2 and math.prod(weight.shape[2:]) > 1


def _unsaved(network: nn.Module) -> Iterator[tuple[str, Tensor]]:
    saved = network.state_dict()
    yield from [(name, buffer) for name, buffer in network.named_buffers() if name not in saved]


def _check_rank(backbone: str, found: Backbone, rank: int) -> None:
    if rank > _PICTURE and found.uninflatable:
        raise UsageError(
            f"the backbone '{backbone}' cannot be inflated to {rank} axes: it is made of "
            f"{', '.join(found.uninflatable)}, of which no counterpart with {rank} axes is known",
            cure=f"use another backbone, such as {_EXAMPLES}",
        )


def _check(network: NetworkPlan, found: Backbone, rank: int) -> None:
    """Refuse a plan that says something else than the backbone is."""
    _check_rank(network.backbone, found, rank)
    fitting = {"widths": found.channels, "strides": tuple((step,) * rank for step in found.steps)}
    new_axes = rank - _PICTURE
    strides = tuple(
        tuple(1 if axis < new_axes and step == 1 else wanted for axis, step in enumerate(steps))
        for steps, wanted in zip(network.strides, found.steps, strict=False)
    )
    fitting["strides"] = strides if len(strides) == len(found.steps) else fitting["strides"]
    for key in ("widths", "strides"):
        if getattr(network, key) != fitting[key]:
            raise UsageError(
                f"network.{key} is {_plain(getattr(network, key))}, the backbone '{network.backbone}' has "
                f"{_plain(fitting[key])}",
                cure=f"set network.{key} to {_plain(fitting[key])}",
            )


def _plain(value: tuple) -> list:
    return [list(entry) if isinstance(entry, tuple) else entry for entry in value]


def _either(names: list[str]) -> str:
    return " or ".join(f"'{name}'" for name in names)
