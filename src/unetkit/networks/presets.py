"""Networks by name, as published: a plan each, the paper, and the parameters that the paper counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from unetkit.errors import UsageError, nearest
from unetkit.records.plan import NetworkPlan

_RESENC_BLOCKS = (1, 3, 4, 6, 6, 6)


@dataclass(frozen=True)
class Preset:
    """A published network.

    Args:
        plan: From the number of spatial axes to the plan.
        paper: Where it was published.
        rank: Spatial axes of the published network.
        in_channels: Channels of the image that the published count is for.
        classes: Outputs of a head that the published count is for.
        parameters: As published, 0 where the paper states none.
        difference: Where our count comes from another one.
    """

    plan: Callable[[int], NetworkPlan]
    paper: str
    rank: int = 2
    in_channels: int = 1
    classes: int = 2
    parameters: int = 0
    difference: str = ""


def preset_plan(name: str, rank: int) -> NetworkPlan:
    """The plan of a named network.

    Args:
        name: A name of ``PRESETS``.
        rank: Spatial axes, 2 or 3.

    Raises:
        UsageError: No preset has that name.

    Example:
        >>> preset_plan("unet_2015", 2).widths
        (64, 128, 256, 512, 1024)
    """
    if name not in PRESETS:
        raise UsageError(f"there is no network '{name}'", cure=nearest(name, PRESETS))
    return PRESETS[name].plan(rank)


def _plan(rank: int, widths: tuple[int, ...], **values: Any) -> NetworkPlan:  # noqa: ANN401 - plan values
    """Two convolutions of kernel 3 per stage on both sides, every axis halved between stages."""
    stages, flat, half = len(widths), (1,) * rank, (2,) * rank
    usual = {
        "widths": widths,
        "blocks": (2,) * stages,
        "decoder_blocks": (2,) * (stages - 1),
        "kernels": ((3,) * rank,) * stages,
        "strides": (flat, *(half,) * (stages - 1)),
    }
    return NetworkPlan(**(usual | values))  # pyright: ignore[reportArgumentType] - pydantic checks them


def _unet(rank: int) -> NetworkPlan:
    return _plan(rank, (64, 128, 256, 512, 1024))


def _volumetric(rank: int) -> NetworkPlan:
    return _plan(rank, (64, 128, 256, 512), encoder="doubling", upsampling="transposed_wide", norm="batch")


def _nested(rank: int) -> NetworkPlan:
    return _plan(rank, (32, 64, 128, 256, 512), decoder="unetpp", deep_supervision=4)


def _attention(rank: int) -> NetworkPlan:
    return _plan(rank, (16, 32, 64, 128, 256), fusion="attention", upsampling="linear", norm="batch")


def _full_scale(rank: int) -> NetworkPlan:
    return _plan(
        rank,
        (64, 128, 256, 512, 1024),
        decoder="unet3p",
        decoder_blocks=(1,) * 4,
        norm="batch",
        deep_supervision=4,
    )


def _residual(rank: int) -> NetworkPlan:
    widest = {2: 512, 3: 320}[rank]
    return _plan(
        rank,
        tuple(min(widest, 32 * 2**stage) for stage in range(len(_RESENC_BLOCKS))),
        encoder="residual",
        blocks=_RESENC_BLOCKS,
        decoder_blocks=(1,) * (len(_RESENC_BLOCKS) - 1),
        deep_supervision=len(_RESENC_BLOCKS) - 1,
    )


def _mobile(rank: int) -> NetworkPlan:
    return _plan(
        rank,
        (16, 24, 32, 96, 320),
        encoder="timm",
        backbone="mobilenetv2_100",
        strides=((2,) * rank,) * 5,
        decoder="fpn",
        fusion="light",
        decoder_widths=(32, 32, 64, 96),
        norm="batch",
    )


PRESETS = {
    "unet_2015": Preset(
        _unet,
        "Ronneberger, Fischer and Brox, U-Net, MICCAI 2015",
        parameters=31_030_658,
        difference="the original has no normalisation",
    ),
    "unet_2016": Preset(
        _volumetric,
        "Çiçek et al., U-Net for volumes, MICCAI 2016 (19069955 parameters in total)",
        rank=3,
        in_channels=3,
        classes=3,
        parameters=19_069_955,
        difference="the published count leaves out normalisation, and transposed convolutions have no bias",
    ),
    "unetpp_2018": Preset(
        _nested,
        "Zhou et al., UNet++, DLMIA 2018 (9.04 M; 9041601 in the authors' code)",
        classes=1,
        parameters=9_041_601,
        difference="the original has no normalisation, and was counted with one head of four",
    ),
    "attention_2018": Preset(
        _attention,
        "Oktay et al., Attention U-Net, MIDL 2018 (6.40 M; 5.88 M without gates)",
        rank=3,
        parameters=6_400_000,
        difference="one gate per skip in place of two gates, their projections and a combination",
    ),
    "unet3p_2020": Preset(
        _full_scale,
        "Huang et al., UNet 3+, ICASSP 2020 (26.97 M)",
        in_channels=3,
        classes=1,
        parameters=26_970_000,
    ),
    "resenc_m": Preset(
        _residual,
        "Isensee et al., nnU-Net Revisited, MICCAI 2024: the network of L, on smaller patches",
        rank=3,
    ),
    "resenc_l": Preset(
        _residual,
        "Isensee et al., nnU-Net Revisited, MICCAI 2024 (102.4 M)",
        rank=3,
        parameters=102_400_000,
    ),
    "mobile": Preset(
        _mobile,
        "Sandler et al., MobileNetV2, CVPR 2018, with a light feature pyramid",
        in_channels=3,
    ),
}
"""Name to published network."""
