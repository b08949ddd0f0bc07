"""Networks by name, as published: a plan each, the paper, and the parameters that the paper counts."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

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


_MEDNEXT = {
    "s": ((2, 2, 2, 2, 2), (2, 2, 2, 2, 2)),
    "b": ((2, 2, 2, 2, 2), (2, 3, 4, 4, 4)),
    "m": ((3, 4, 4, 4, 4), (2, 3, 4, 4, 4)),
    "l": ((3, 4, 8, 8, 8), (3, 4, 8, 8, 8)),
}
"""Size to blocks and expansion per stage; the decoder mirrors the encoder."""


def _mednext(size: str, parameters: int) -> Preset:
    blocks, expansion = _MEDNEXT[size]

    def plan(rank: int) -> NetworkPlan:
        return _plan(
            rank,
            (32, 64, 128, 256, 512),
            encoder="convnext",
            decoder="convnext",
            fusion="add",
            blocks=blocks,
            decoder_blocks=blocks[:-1],
            expansion=expansion,
            deep_supervision=4,
        )

    return Preset(
        plan,
        f"Roy et al., MedNeXt-{size.upper()} of kernel 3, MICCAI 2023 ({parameters / 1e6:.1f} M)",
        rank=3,
        classes=3,
        parameters=parameters,
        difference="the authors' code has a fifth head, on the bottleneck, and one parameter without use",
    )


def _transunet(rank: int) -> NetworkPlan:
    return _plan(
        rank,
        (64, 256, 512, 768),
        encoder="hybrid",
        blocks=(1, 3, 4, 9),
        strides=((2,) * rank,) * 4,
        bottleneck="vit",
        bottleneck_blocks=12,
        decoder="cup",
        decoder_widths=(16, 64, 128, 256),
        upsampling="linear",
        norm="batch",
        dropout=0.1,
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
    "mednext_s": _mednext("s", 5_553_840),
    "mednext_b": _mednext("b", 10_529_232),
    "mednext_m": _mednext("m", 17_551_888),
    "mednext_l": _mednext("l", 61_782_192),
    "transunet_2021": Preset(
        _transunet,
        "Chen et al., TransUNet R50-ViT-B/16, arXiv:2102.04306 (105.3 M; 105277081 in the authors' code)",
        in_channels=3,
        classes=9,
        parameters=105_277_081,
        difference="the original has no bias before a normalisation and a head of kernel 3",
    ),
    "mobile": Preset(
        _mobile,
        "Sandler et al., MobileNetV2, CVPR 2018, with a light feature pyramid",
        in_channels=3,
    ),
}
"""Name to published network."""
