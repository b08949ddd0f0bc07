"""The plan: every decision about one training, each with its reason. It is the only configuration."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any, Literal

from pydantic import BaseModel, Field, ValidationError

from unetkit.errors import UsageError, nearest
from unetkit.records.augmentation import AugmentationPlan
from unetkit.records.data import DataPlan
from unetkit.records.inference import InferencePlan
from unetkit.records.saved import Saved, explain

Axes = tuple[int, ...]


class Normalization(Saved):
    """How one channel becomes a network input.

    Args:
        scheme: ``zscore`` (per image), ``masked_zscore`` (per image, non-zero pixels only), ``ct`` (clip to
            ``low``…``high``, then subtract ``mean``, divide by ``std``), ``zero_one`` (divide by the type's
            range: subtract ``low``, divide by ``high - low``), ``none``.
        low: Lower clip, or the value that becomes 0.
        high: Upper clip, or the value that becomes 1.
        mean: Data set mean (``ct``).
        std: Data set standard deviation (``ct``).
    """

    scheme: Literal["zscore", "masked_zscore", "ct", "zero_one", "none"]
    low: float = 0.0
    high: float = 1.0
    mean: float = 0.0
    std: float = 1.0


class PreparationPlan(Saved):
    """From a file to a network input.

    Args:
        spacing_mm: Target spacing per axis; resampled only where a case differs, and on no axis where it is
            0. Empty: never resample.
        crop_to_nonzero: Crop to the bounding box of non-zero pixels first.
        normalization: One per channel.
        separate_axis: Axis resampled with order 0 because it is far coarser, None when none is.
        order_image: Spline order for images.
        order_label: Spline order for labels (on one-hot), probabilities likewise.
    """

    spacing_mm: tuple[float, ...] = ()
    crop_to_nonzero: bool = False
    normalization: tuple[Normalization, ...]
    separate_axis: int | None = None
    order_image: int = 3
    order_label: int = 1


class NetworkPlan(Saved):
    """Which network; one entry per stage, fine to coarse.

    Args:
        encoder: A name of ``networks.encoders.ENCODERS``.
        bottleneck: A name of ``networks.bottlenecks.BOTTLENECKS``.
        fusion: A name of ``networks.fusions.FUSIONS``.
        decoder: A name of ``networks.decoders.DECODERS``.
        norm: ``instance``, ``batch`` or ``group``.
        widths: Channels per stage.
        blocks: Encoder blocks per stage (convolutions for ``plain``).
        decoder_blocks: Decoder convolutions per stage, one entry fewer than ``widths``.
        kernels: Kernel size per stage and axis.
        strides: Stride of the step *into* each stage, per axis; the first is above 1 for a backbone whose
            finest features are already strided.
        deep_supervision: Number of decoder outputs with a loss, 1 for the finest alone.
        dropout: Channel dropout probability after each block.
        backbone: Which network the ``timm`` encoder takes its features from; empty for the others.
        decoder_widths: Channels of each decoder stage, fine to coarse; empty: the decoder's own choice,
            mostly those of ``widths``. One entry more than there are skips adds a stage without a skip, up
            to the image's size, where the first of ``strides`` is above 1.
        upsampling: The step up: ``transposed`` (convolution, to the width of the next stage), ``linear``
            (interpolation, at the width it comes with), ``transposed_wide`` (convolution, likewise).
        prune_level: Levels of a ``unetpp`` decoder that are kept, with the encoder stages they need; 0: all.
        expansion: Widening inside each block of a ``convnext`` encoder or decoder, per stage; empty: 2.
        bottleneck_blocks: Layers of a bottleneck that has layers (``transformer``, ``vit``).
        pyramid: ``input`` joins a Gaussian pyramid of the image to it, ``levels`` feeds each encoder stage
            its own level, ``none`` shows the image alone.
        quantization: ``int8``: batch norms are part of the convolutions, and these count in eight bits;
            ``int8_only``: nothing else is left between the image and the logits; ``none``: floating point.
        float_layers: Modules whose convolution keeps floating point all the same.
    """

    encoder: str = "plain"
    bottleneck: str = "identity"
    fusion: str = "concat"
    decoder: str = "unet"
    norm: Literal["instance", "batch", "group"] = "instance"
    widths: Axes
    blocks: Axes
    decoder_blocks: Axes
    kernels: tuple[Axes, ...]
    strides: tuple[Axes, ...]
    deep_supervision: int = Field(default=1, ge=1)
    dropout: float = Field(default=0.0, ge=0.0, lt=1.0)
    backbone: str = ""
    decoder_widths: Axes = ()
    upsampling: Literal["transposed", "transposed_wide", "linear"] = "transposed"
    prune_level: int = Field(default=0, ge=0)
    expansion: Axes = ()
    bottleneck_blocks: int = Field(default=0, ge=0)
    pyramid: Literal["none", "input", "levels"] = "none"
    quantization: Literal["none", "int8", "int8_only"] = "none"
    float_layers: tuple[str, ...] = ()


class LossTerm(Saved):
    """One part of the training loss.

    Args:
        name: A name of ``losses.LOSSES``.
        weight: Factor.
        options: Numbers passed to the loss, such as ``{"alpha": 0.3}``.
    """

    name: str
    weight: float = 1.0
    options: dict[str, float] = Field(default_factory=dict)


class WrapperTerm(Saved):
    """What is put around an objective so that a model keeps what it knew, or learns what others know.

    Args:
        name: A name of ``training.objective.WRAPPERS``.
        options: Its numbers, such as ``{"strength": 100}``; the others are at their defaults.
    """

    name: str
    options: dict[str, float] = Field(default_factory=dict)


class ObjectivePlan(Saved):
    """What training minimises.

    Args:
        name: A name of ``training.objective.OBJECTIVES``.
        losses: The terms, added up.
        wrappers: Put around the objective, the innermost first.
    """

    name: str = "supervised"
    losses: tuple[LossTerm, ...] = (LossTerm(name="dice"), LossTerm(name="cross_entropy"))
    wrappers: tuple[WrapperTerm, ...] = ()


class TrainingPlan(Saved):
    """The loop.

    Args:
        patch_size: Pixels per axis the network sees; those of the plane where it sees slices.
        batch_size: Patches per step.
        steps: Optimiser steps; 0 means as many as ``minutes`` allow, counted at the start.
        minutes: Time budget for planning, preparation and training together; 0 for none.
        memory_gb: Memory budget the plan was fitted to; 0 for none.
        foreground_fraction: Share of a batch centred on a pixel of a class.
        class_balance: How far the classes that patches are centred on are evened out: 0 draws each as often
            as cases have it, 1 all alike.
        readers: Where several people marked each case: ``consensus``, the label that was made of them;
            ``random``, one reader's marks per patch, drawn each time; ``soft``, the share of the readers.
        optimizer: ``sgd`` (Nesterov, poly) or ``adamw`` (cosine): a name of ``OPTIMIZERS``.
        learning_rate: Peak learning rate.
        weight_decay: Weight decay, decoupled for ``adamw``.
        warmup_share: Share of the schedule spent rising to the peak.
        clip_norm: Gradient norm limit, 0 for none.
        ema_decay: Decay of the averaged weights at the end of their warm-up, 0 for none.
        precision: ``float32`` or ``bfloat16``; ``auto`` measures which is faster at the start.
        memory_format: ``contiguous`` or ``channels_last``; ``auto`` measures.
        seed: Every random number follows from this and the step.
        checkpoint_steps: Steps between resume points; 0: by the clock.
        validate_steps: Steps between validations; 0: by the clock, 8 times over the run.
        validate_cases: At most this many held-out cases in a validation while training.
        select: ``last``: the averaged weights at the end of the schedule (nothing was selected on the
            held-out cases, so their scores stay honest); ``best``: the best validation Dice.
        fold: Which part is held out.
        folds: Into how many parts the groups are split.
        pretrained: Start of the encoder: ``none`` or ``imagenet`` (the ``timm`` encoder's own weights).
        freeze_blocks: Encoder stages, from the image, that do not learn, their norm statistics included.
        unfreeze_share: Share of the schedule after which the frozen stages begin to learn, coarsest first;
            0: never.
        layer_decay: Learning rate of an encoder stage as a share of the next coarser one's; 1 for all alike.
    """

    patch_size: Axes
    batch_size: int = Field(ge=1)
    steps: int = Field(default=0, ge=0)
    minutes: float = Field(default=0.0, ge=0.0)
    memory_gb: float = Field(default=0.0, ge=0.0)
    foreground_fraction: float = Field(default=0.33, ge=0.0, le=1.0)
    class_balance: float = Field(default=0.5, ge=0.0, le=1.0)
    readers: Literal["consensus", "random", "soft"] = "consensus"
    optimizer: str = "adamw"
    learning_rate: float = Field(default=1e-3, gt=0.0)
    weight_decay: float = Field(default=3e-5, ge=0.0)
    warmup_share: float = Field(default=0.05, ge=0.0, lt=1.0)
    clip_norm: float = Field(default=12.0, ge=0.0)
    ema_decay: float = Field(default=0.99, ge=0.0, lt=1.0)
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    memory_format: Literal["auto", "contiguous", "channels_last"] = "auto"
    seed: int = 0
    checkpoint_steps: int = Field(default=0, ge=0)
    validate_steps: int = Field(default=0, ge=0)
    validate_cases: int = Field(default=16, ge=0)
    select: Literal["last", "best"] = "last"
    fold: int = Field(default=0, ge=0)
    folds: int = Field(default=5, ge=2)
    pretrained: Literal["none", "imagenet"] = "none"
    freeze_blocks: int = Field(default=0, ge=0)
    unfreeze_share: float = Field(default=0.0, ge=0.0, lt=1.0)
    layer_decay: float = Field(default=1.0, gt=0.0, le=1.0)


BY_HAND = "set by hand"
"""Why a value is what a person said."""


class Plan(Saved):
    """Every decision, and why.

    Args:
        reasons: Dotted key (``network.widths``) to one sentence.

    Example:
        >>> plan = Plan.model_validate(EXAMPLE)
        >>> plan.with_values({"training.steps": "7"}).training.steps
        7
    """

    version: int = 1
    data: DataPlan
    preparation: PreparationPlan
    network: NetworkPlan
    objective: ObjectivePlan = ObjectivePlan()
    augmentation: AugmentationPlan = AugmentationPlan()
    training: TrainingPlan
    inference: InferencePlan
    reasons: dict[str, str] = Field(default_factory=dict)

    def with_values(self, changes: Mapping[str, str], *, reason: str = BY_HAND) -> Plan:
        """A plan in which some values were replaced.

        Args:
            changes: Dotted key to the value as a person types it: JSON, or a bare word.
            reason: Why, kept beside each changed key.

        Raises:
            UsageError: A key does not exist (with the nearest that does), a value is of the wrong kind, or
                the key is ``version``.
        """
        if "version" in changes:
            raise UsageError("'version' says how the plan is written and cannot be set", cure="leave it out")
        tree = self.model_dump(mode="json")
        for key, text in changes.items():
            _set(tree, key, _value(text))
            tree["reasons"][key] = reason
        try:
            return type(self).model_validate(tree)
        except ValidationError as wrong:
            raise explain(type(self), wrong, None) from None

    def flat(self) -> dict[str, Any]:
        """Every value by its dotted key, reasons left out."""
        return dict(_leaves("", self, skip=("reasons",)))


def _leaves(prefix: str, record: BaseModel, skip: tuple[str, ...] = ()) -> list[tuple[str, Any]]:
    rows: list[tuple[str, Any]] = []
    for name in type(record).model_fields:
        value = getattr(record, name)
        if name in skip:
            continue
        if isinstance(value, BaseModel):
            rows += _leaves(f"{prefix}{name}.", value)
        else:
            rows.append((f"{prefix}{name}", value))
    return rows


def _value(text: str) -> Any:  # noqa: ANN401 - JSON
    try:
        return json.loads(text)
    except json.JSONDecodeError:
        return text


def _set(tree: dict[str, Any], key: str, value: Any) -> None:  # noqa: ANN401 - JSON
    *path, last = key.split(".")
    here: Any = tree
    for depth, part in enumerate(path):
        if not isinstance(here, dict) or part not in here:
            raise _unknown(key, here, ".".join(path[:depth]))
        here = here[part]
    if not isinstance(here, dict) or (last not in here and path != ["reasons"]):
        raise _unknown(key, here, ".".join(path))
    here[last] = value


def _unknown(key: str, here: Any, prefix: str) -> UsageError:  # noqa: ANN401 - JSON
    options = [f"{prefix}.{name}".lstrip(".") for name in here] if isinstance(here, dict) else [prefix]
    return UsageError(f"the plan has no key '{key}'", cure=nearest(key, options))


EXAMPLE: dict[str, Any] = {
    "data": {"rank": 2, "channels": ["image"], "classes": ["background", "defect"], "label_values": [0, 255]},
    "preparation": {"normalization": [{"scheme": "zscore"}]},
    "network": {
        "widths": [8, 16],
        "blocks": [2, 2],
        "decoder_blocks": [2],
        "kernels": [[3, 3], [3, 3]],
        "strides": [[1, 1], [2, 2]],
    },
    "training": {"patch_size": [32, 32], "batch_size": 2},
    "inference": {"tile_size": [32, 32]},
}
"""The smallest valid plan, as JSON data."""
