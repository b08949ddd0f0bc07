"""Picture backbones of other packages, made to fit images of any size, and volumes."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, TypeAlias

from torch import Tensor, nn
from torch.nn import functional as F

from unetkit.spatial.layers import LAYERS, average_pool, evened

Guest: TypeAlias = Any
"""A module of a package that is not imported here, or one of torch whose options are not typed."""

Along = Callable[[str], tuple[bool, bool]]
"""Layer name → whether it convolves, and whether it strides, along the new axis."""

_RANK_FREE = {
    *("torch.container.Sequential", "torch.container.ModuleDict", "torch.container.ModuleList"),
    *("torch.linear.Identity", "torch.linear.Linear", "torch.dropout.Dropout", "timm.drop.DropPath"),
    *("timm.norm.LayerNorm", "timm.mlp.Mlp", "timm.mlp.GlobalResponseNormMlp"),
    *("timm._features.FeatureListNet", "timm.efficientnet.EfficientNetFeatures"),
    *("timm.mobilenetv3.MobileNetV3Features", "timm.resnet.BasicBlock", "timm.resnet.Bottleneck"),
    *("timm._efficientnet_blocks.ConvBnAct", "timm._efficientnet_blocks.DepthwiseSeparableConv"),
    *("timm._efficientnet_blocks.EdgeResidual", "timm._efficientnet_blocks.InvertedResidual"),
    *("timm._efficientnet_blocks.UniversalInvertedResidual", "timm.conv_bn_act.ConvNormAct"),
    *("timm.convnext.ConvNeXtStage", "timm.convnext.Downsample"),
    *("timm.regnet.RegStage", "timm.regnet.Bottleneck"),
    *("timm.densenet.DenseBlock", "timm.densenet.DenseLayer", "timm.densenet.DenseTransition"),
}
"""Modules whose ``forward`` was read and says nothing of the number of axes."""


class BlockConvolution(nn.Module):
    """A convolution whose kernel is its stride, for images of any size: the last block may be cut.

    A cut block is completed with copies of its last pixels, so that the size is divided rounding up and no
    edge is made up; a constant image gives what it gives everywhere else.

    Args:
        weight: ``(O, I / groups, *K)``.
        bias: ``(O,)`` or None.
        groups: Groups of channels that do not meet.
    """

    bias: nn.Parameter | None

    def __init__(self, weight: Tensor, bias: Tensor | None, *, groups: int = 1) -> None:
        super().__init__()
        self.stride = self.kernel_size = tuple(weight.shape[2:])
        self.groups = groups
        self.weight = nn.Parameter(weight)
        self.register_parameter("bias", None if bias is None else nn.Parameter(bias))

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, O, *S / K)``, rounded up."""
        convolve = LAYERS[len(self.stride)].convolve
        whole = evened(x, self.stride)
        return convolve(whole, self.weight, self.bias, stride=self.stride, groups=self.groups)


class BatchNormAct(nn.BatchNorm3d):
    """Batch normalisation with its activation inside, under timm's names.

    Args:
        norm: The same for pictures.
    """

    def __init__(self, norm: Guest) -> None:
        super().__init__(norm.num_features, norm.eps, norm.momentum)
        self.drop, self.act = norm.drop, norm.act

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, *S)`` → the same shape."""
        return self.act(self.drop(super().forward(input)))


class ChannelNorm(nn.LayerNorm):
    """Layer normalisation over the channels of each pixel, for any number of axes."""

    def forward(self, input: Tensor) -> Tensor:
        """``(B, C, *S)`` → the same shape."""
        return super().forward(input.movedim(1, -1)).movedim(-1, 1)


class SqueezeExcite(nn.Module):
    """The gate of a channel, from the means of all channels.

    Args:
        gate: The same for pictures, whose children are kept under their names, in their order.

    Reference:
        Hu, Shen and Sun, Squeeze-and-Excitation Networks, CVPR 2018.
    """

    def __init__(self, gate: Guest) -> None:
        super().__init__()
        for name, child in gate.named_children():
            self.add_module(name, child)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → the same shape."""
        scale = x.mean(tuple(range(2, x.ndim)), keepdim=True)
        for child in self.children():
            scale = child(scale)
        return x * scale


class ConvNextBlock(nn.Module):
    """A depthwise convolution, then a perceptron on each pixel, beside a shortcut, under timm's names.

    Args:
        block: The same for pictures.

    Reference:
        Liu et al., A ConvNet for the 2020s, CVPR 2022.
    """

    conv_dw: nn.Module
    norm: nn.Module
    mlp: nn.Module
    drop_path: nn.Module
    shortcut: nn.Module
    gamma: nn.Parameter | None

    def __init__(self, block: Guest) -> None:
        super().__init__()
        for name, child in block.named_children():
            self.add_module(name, child)
        self.is_pixel_first = bool(block.use_conv_mlp)
        self.register_parameter("gamma", block.gamma)

    def forward(self, x: Tensor) -> Tensor:
        """``(B, C, *S)`` → ``(B, K, *S / stride)``."""
        y = self.conv_dw(x)
        if self.is_pixel_first:
            y = self.mlp(self.norm(y))
        else:
            y = self.mlp(self.norm(y.movedim(1, -1))).movedim(-1, 1)
        if self.gamma is not None:
            y = y * self.gamma[(..., *[None] * (x.ndim - 2))]
        return self.drop_path(y) + self.shortcut(x)


def round_up_sizes(backbone: nn.Module) -> None:
    """Make layers whose kernel is their stride answer a size rounded up, in place; weights keep their names.

    Args:
        backbone: A network for pictures, on which ``inflate`` has not run.

    Example:
        >>> import torch
        >>> net = nn.Sequential(nn.Conv2d(1, 2, 4, stride=4))
        >>> round_up_sizes(net)
        >>> net(torch.zeros(1, 1, 9, 3)).shape
        torch.Size([1, 2, 3, 1])
    """
    for module in list(backbone.modules()):
        for name, child in module.named_children():
            if isinstance(child, nn.Conv2d):
                if _is_block(child) and child.padding == (0, 0) and child.dilation == (1, 1):
                    setattr(module, name, BlockConvolution(child.weight, child.bias, groups=child.groups))
            elif isinstance(child, nn.MaxPool2d | nn.AvgPool2d) and _is_block(child):
                child.ceil_mode = True


def _is_block(layer: Guest) -> bool:
    stride = _pair(layer.stride)
    return max(stride) > 1 and _pair(layer.kernel_size) == stride


def uninflatable(backbone: nn.Module) -> list[str]:
    """The kinds of module in a network for pictures that have no counterpart for volumes.

    Args:
        backbone: A network.

    Returns:
        Class names, sorted.

    Example:
        >>> uninflatable(nn.Sequential(nn.Conv2d(1, 2, 3), nn.PixelShuffle(2)))
        ['PixelShuffle']
    """
    return sorted(
        {
            type(module).__name__
            for module in backbone.modules()
            if (_kind(module) not in _COUNTERPARTS and not _is_rank_free(module))
            or getattr(module, "add_maxpool", False)  # a gate of a second kind
        }
    )


def inflate(backbone: nn.Module, along: Along, *, name: str = "") -> nn.Module:
    """Give a network for pictures a further axis, before its own two; weights keep their names.

    Weights that have no new axis are kept; those of convolutions are made anew and are to be filled with
    ``inflated_kernel``.

    Args:
        backbone: A network in which ``uninflatable`` finds nothing, changed in place.
        along: What each layer does along the new axis; one that convolves does so as widely as along its
            own axes, one that strides strides as far.
        name: Name of ``backbone`` itself, before those of its layers.

    Example:
        >>> inflate(nn.Sequential(nn.Conv2d(1, 2, 3)), lambda name: (True, False))[0].kernel_size
        (3, 3, 3)
    """
    for child_name, child in list(backbone.named_children()):
        setattr(backbone, child_name, inflate(child, along, name=f"{name}.{child_name}".lstrip(".")))
    make = _COUNTERPARTS.get(_kind(backbone))
    return make(backbone, *along(name)) if make else backbone


def inflated_kernel(weight: Tensor, size: int, *, repeated: bool = False) -> Tensor:
    """A kernel for pictures as one for volumes that sees each slice as the pictures' one did.

    An odd kernel is put in the middle slice, zeros around it: whatever lies in the neighbouring slices, and
    at the volume's border, the result is the pictures' one, until training finds a use for the neighbours.
    (Spreading it, ``w / size`` in every slice, blurs along the new axis in each layer, and dims the border
    where zeros are padded.) An even kernel, which is its own stride, has no middle and is spread.

    Args:
        weight: ``(O, I, *K)``.
        size: Pixels of the new axis, put before ``K``.
        repeated: Whether each slice is a whole one, as for a transposed convolution, whose slices are not
            added up.

    Returns:
        ``(O, I, size, *K)``.

    Reference:
        Arnab et al., ViViT, ICCV 2021, section 3.4 (central frame); Carreira and Zisserman, Quo Vadis, Action
        Recognition?, CVPR 2017 (spread).

    Example:
        >>> import torch
        >>> inflated_kernel(torch.ones(1, 1, 1, 1), 3).flatten()
        tensor([0., 1., 0.])
    """
    weight = weight.unsqueeze(2)
    if repeated or size % 2 == 0:
        spread = weight.expand(*weight.shape[:2], size, *weight.shape[3:])
        return spread.clone() if repeated else spread / size
    around = size // 2
    return F.pad(weight, (0, 0) * (weight.ndim - 3) + (around, around))


def _pair(value: Guest) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


def _three(first: int, others: tuple[int, ...]) -> tuple[int, int, int]:
    return (first, others[0], others[1])


def _kind(module: nn.Module) -> str:
    """``root.file.Class``: no guest need be imported to know its classes."""
    path = type(module).__module__.split(".")
    return f"{path[0]}.{path[-1]}.{type(module).__name__}"


def _is_rank_free(module: nn.Module) -> bool:
    path = type(module).__module__.split(".")
    activations = path[0] in {"torch", "timm"} and path[-1] in {"activation", "activations", "activations_me"}
    return activations or _kind(module) in _RANK_FREE


def _conv(conv: nn.Conv2d, convolved: bool, strided: bool) -> nn.Module:
    around = _pair(conv.padding)
    return nn.Conv3d(
        conv.in_channels,
        conv.out_channels,
        _three(conv.kernel_size[0] if convolved else 1, conv.kernel_size),
        _three(conv.stride[0] if strided else 1, conv.stride),
        _three(around[0] if convolved else 0, around),
        _three(conv.dilation[0] if convolved else 1, conv.dilation),
        groups=conv.groups,
        bias=conv.bias is not None,
        device=conv.weight.device,
    )


def _blocks(conv: BlockConvolution, convolved: bool, strided: bool) -> nn.Module:
    size = conv.stride[0] if strided else 1
    return BlockConvolution(inflated_kernel(conv.weight.detach(), size), conv.bias, groups=conv.groups)


def _max_pool(pool: nn.MaxPool2d, convolved: bool, strided: bool) -> nn.Module:
    kernel, stride, padding = (_pair(value) for value in (pool.kernel_size, pool.stride, pool.padding))
    wide = strided and (convolved or kernel == stride)
    return nn.MaxPool3d(
        _three(kernel[0] if wide else 1, kernel),
        _three(stride[0] if strided else 1, stride),
        _three(padding[0] if wide else 0, padding),
        ceil_mode=pool.ceil_mode,
    )


def _average_pool(pool: nn.AvgPool2d, convolved: bool, strided: bool) -> nn.Module:
    kernel, stride, padding = (_pair(value) for value in (pool.kernel_size, pool.stride, pool.padding))
    if kernel == stride and max(padding) == 0:
        return average_pool((stride[0] if strided else 1, *stride))
    return nn.AvgPool3d(
        _three(kernel[0] if strided else 1, kernel),
        _three(stride[0] if strided else 1, stride),
        _three(padding[0] if strided else 0, padding),
        ceil_mode=pool.ceil_mode,
        count_include_pad=pool.count_include_pad,
    )


def _same_weights(new: nn.Module, old: nn.Module) -> nn.Module:
    """The parameters and buffers of ``old`` in ``new``: a norm has none along an axis."""
    for name, value in old.named_parameters(recurse=False):
        setattr(new, name, value)
    for name, value in old.named_buffers(recurse=False):
        setattr(new, name, value)
    return new


def _batch_norm(norm: nn.BatchNorm2d, convolved: bool, strided: bool) -> nn.Module:
    return _same_weights(nn.BatchNorm3d(norm.num_features, norm.eps, norm.momentum), norm)


def _batch_norm_act(norm: Guest, convolved: bool, strided: bool) -> nn.Module:
    return _same_weights(BatchNormAct(norm), norm)


def _channel_norm(norm: nn.LayerNorm, convolved: bool, strided: bool) -> nn.Module:
    return _same_weights(ChannelNorm(list(norm.normalized_shape), norm.eps), norm)


def _response_norm(norm: Guest, convolved: bool, strided: bool) -> nn.Module:
    is_last = norm.channel_dim == -1
    norm.spatial_dim = (1, 2, 3) if is_last else (2, 3, 4)
    norm.wb_shape = (1, 1, 1, 1, -1) if is_last else (1, -1, 1, 1, 1)
    return norm


def _squeeze(gate: nn.Module, convolved: bool, strided: bool) -> nn.Module:
    return SqueezeExcite(gate)


def _convnext(block: nn.Module, convolved: bool, strided: bool) -> nn.Module:
    return ConvNextBlock(block)


_COUNTERPARTS: dict[str, Callable[..., nn.Module]] = {
    "torch.conv.Conv2d": _conv,
    "unetkit.inflation.BlockConvolution": _blocks,
    "torch.pooling.MaxPool2d": _max_pool,
    "torch.pooling.AvgPool2d": _average_pool,
    "torch.batchnorm.BatchNorm2d": _batch_norm,
    "timm.norm_act.BatchNormAct2d": _batch_norm_act,
    "timm.norm.LayerNorm2d": _channel_norm,
    "timm.grn.GlobalResponseNorm": _response_norm,
    "timm._efficientnet_blocks.SqueezeExcite": _squeeze,
    "timm.squeeze_excite.SEModule": _squeeze,
    "timm.squeeze_excite.EffectiveSEModule": _squeeze,
    "timm.convnext.ConvNeXtBlock": _convnext,
}
