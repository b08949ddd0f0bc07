"""Start weights: ImageNet's, a file's, or another model's, and a report of what went where."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import torch
from torch import Tensor, nn

from unetkit.errors import DataError, UsageError
from unetkit.networks.matching import COUNTER, by_name, by_order, first_kernel, fitted, transposed_kernels
from unetkit.networks.store import read_model
from unetkit.networks.unet import UNet
from unetkit.networks.weights import NORM_EPS, read_weights
from unetkit.records.matched import Matched

_ENOUGH = 0.6
"""Share of the encoder's kernels (or of the file's, where it has fewer) below which it is another network."""


def start_from_imagenet(unet: UNet) -> Matched:
    """Give a ``timm`` encoder the weights timm has for its backbone, from the cache or the hub.

    The only function that may download anything; loading a trained model does not come here.

    Args:
        unet: The network, changed in place; its decoder stays as it is.

    Raises:
        UsageError: Its encoder is not timm's, or nobody trained the backbone.
        ResourceError: The weights are not in the cache and cannot be fetched.
    """
    from unetkit.networks.encoders.timm import TimmEncoder, imagenet_weights

    if not isinstance(unet.encoder, TimmEncoder):
        raise UsageError(
            "ImageNet weights exist for the encoder 'timm', this network's is a "
            f"{type(unet.encoder).__name__}",
            cure="set network.encoder to timm and network.backbone to a name, or training.pretrained to none",
        )
    source, weights = imagenet_weights(unet.encoder.name)
    return adopt(unet, weights, source=source)


def start_from(unet: UNet, path: Path, *, classes: Sequence[str] = ()) -> Matched:
    """Take what fits from a model folder or a file of weights; channels, classes, axes and plan may differ.

    Heads are taken over from a model folder alone, and only where its classes are the network's, or the first
    of them: the head then grows (``grown_head``).

    Args:
        unet: The network, changed in place.
        path: A model folder, or a file (safetensors, torch checkpoint, 8-bit NumPy archive).
        classes: The network's classes.

    Raises:
        DataError: It cannot be read, or is of another architecture.

    Example:
        >>> import tempfile
        >>> from unetkit.networks.store import save_model
        >>> from unetkit.networks.unet import build
        >>> from unetkit.records.plan import EXAMPLE, Plan
        >>> plan = Plan.model_validate(EXAMPLE)
        >>> folder = Path(tempfile.mkdtemp())
        >>> save_model(folder, build(plan.network, rank=2, in_channels=1, classes=2), plan)
        >>> report = start_from(build(plan.network, rank=2, in_channels=3, classes=5), folder)
        >>> report.folded, report.left
        (('encoder.stages.0.0.conv.weight',), ('heads.0.weight', 'heads.0.bias'))
    """
    if not path.is_dir():
        return adopt(unet, read_weights(path), source=str(path))
    weights, plan = read_model(path)
    known = len(plan.data.classes)
    if tuple(classes[:known]) != plan.data.classes:
        return adopt(unet, weights, source=str(path))
    heads = {name: value for name, value in weights.items() if name.startswith("heads.")}
    grown = {name: grown_head(value, len(classes)) for name, value in heads.items()}
    return adopt(unet, {**weights, **grown}, source=str(path), with_heads=True)


def grown_head(head: Tensor, classes: int) -> Tensor:
    """A head's weight or bias for more classes, the new ones behind the old.

    A new class begins as a copy of the background, and the bias of both is lowered so that together they are
    as likely as the background was: every old class keeps its probability.

    Args:
        head: ``(K, …)``; the bias is what has one axis.
        classes: ``K`` or more.

    Reference:
        Cermelli et al., MiB, CVPR 2020, equations 9 and 10.

    Example:
        >>> grown_head(torch.tensor([0.0, 1.0]), 3).exp().tolist()[::2]
        [0.5, 0.5]
    """
    more = classes - len(head)
    if not more:
        return head
    grown = torch.cat([head, head[:1].expand(more, *head.shape[1:])])
    if head.ndim == 1:
        fresh = torch.arange(classes) >= len(head)
        fresh[0] = True
        grown = torch.where(fresh, grown - math.log(more + 1), grown)
    return grown


def adopt(unet: UNet, weights: Mapping[str, Tensor], *, source: str, with_heads: bool = False) -> Matched:
    """Take what fits from a state_dict, by name, or for the encoder by order and shape where names differ.

    Args:
        unet: The network, changed in place.
        weights: Name to tensor: of ours, torchvision, timm, smp, or anybody.
        source: Where it comes from, for the report.
        with_heads: Whether heads are taken too.

    Raises:
        DataError: Almost nothing fits: it is another architecture; nothing was changed.
    """
    given = {name: value for name, value in weights.items() if not name.endswith(COUNTER)}
    wanted = {
        name: value
        for name, value in unet.state_dict().items()
        if not name.endswith(COUNTER) and (with_heads or not name.startswith("heads."))
    }
    encoder = {name: value for name, value in wanted.items() if name.startswith("encoder.")}
    named = by_name(wanted, given)
    fits = _fits(unet, wanted, given, named)
    if _share(encoder, given, fits) < _ENOUGH:
        others = {name: origin for name, origin in named.items() if name not in encoder}
        taken = set(others.values())
        rest = {name: value for name, value in given.items() if name not in taken}
        ordered = {**others, **by_order(encoder, rest)}
        in_order = _fits(unet, wanted, given, ordered)
        if len(in_order) > len(fits):
            named, fits = ordered, in_order
    if _share(encoder, given, fits) < _ENOUGH:
        raise _another(unet, encoder, fits, source)
    state = unet.state_dict()
    with torch.no_grad():
        for name, (value, _, _) in fits.items():
            state[name].copy_(value)
    used = {named[name] for name in fits}
    return Matched(
        source=source,
        matched=tuple(fits),
        folded=tuple(name for name, fit in fits.items() if fit[1]),
        inflated=tuple(name for name, fit in fits.items() if fit[2]),
        left=tuple(name for name in state if name not in fits and not name.endswith(COUNTER)),
        unmatched=tuple(name for name in given if name not in used),
    )


def _fits(
    unet: UNet, wanted: Mapping[str, Tensor], given: Mapping[str, Tensor], pairs: Mapping[str, str]
) -> dict[str, tuple[Tensor, bool, bool]]:
    first, transposed = f"encoder.{first_kernel(unet.encoder)}", transposed_kernels(unet)
    found = {
        name: fitted(given[origin], wanted[name], is_first=name == first, is_transposed=name in transposed)
        for name, origin in pairs.items()
    }
    return {name: fit for name, fit in found.items() if fit is not None}


def _kernels(state: Mapping[str, Tensor]) -> list[str]:
    return [name for name, value in state.items() if value.ndim > 1]


def _share(encoder: Mapping[str, Tensor], given: Mapping[str, Tensor], fits: Mapping[str, object]) -> float:
    """The share of the encoder's kernels that were found, of the file's where it has fewer."""
    kernels = _kernels(encoder)
    possible = min(len(kernels), len(_kernels(given)))
    return sum(name in fits for name in kernels) / possible if possible else 0.0


def _another(unet: UNet, encoder: Mapping[str, Tensor], fits: Mapping[str, object], source: str) -> DataError:
    kernels = _kernels(encoder)
    fitting = sum(name in fits for name in kernels)
    example = max(kernels, key=lambda name: encoder[name].numel())
    kind = getattr(unet.encoder, "name", "") or type(unet.encoder).__name__
    return DataError(
        f"expected weights of a network with the encoder {kind} ({len(kernels)} kernels, such as "
        f"'{example}' of shape {list(encoder[example].shape)}), of which {fitting} fit: this is "
        "another architecture",
        cure="name a file of this architecture, or plan the network the file is of (network.encoder, "
        "network.backbone, network.widths)",
        where=source,
    )


def folded_norms(network: nn.Module) -> tuple[nn.Module, ...]:
    """Batch norms that only shift: what is left of one that was folded into the convolution before it.

    Args:
        network: The network.
    """
    return tuple(module for module in _norms(network) if _only_shifts(module))


def _norms(network: nn.Module) -> list[nn.Module]:
    return [
        module
        for module in network.modules()
        if getattr(module, "running_var", None) is not None and getattr(module, "weight", None) is not None
    ]


def _only_shifts(norm: nn.Module) -> bool:
    """Whether a norm has the statistics of none, and yet is not a new one."""
    plain = not norm.running_mean.any() and bool((norm.weight == 1).all())  # pyright: ignore
    return plain and bool(norm.bias.any()) and bool((norm.running_var + NORM_EPS == 1).all())  # pyright: ignore


def settle_norms(
    network: nn.Module, images: Iterable[Tensor], norms: Sequence[nn.Module] | None = None
) -> int:
    """Move batch norms to the statistics of ``images`` without changing what the network computes.

    Weights whose norms were folded away, or were gathered on other images, give one thing in ``eval`` mode
    and another while training, where a batch is normalised by its own statistics. Here the running
    statistics become those of the images, and scale and shift make up for it: ``eval`` answers as before,
    and a batch like these answers nearly alike while training.

    Args:
        network: The network, changed in place, left in ``eval`` mode.
        images: Batches ``(B, C, *S)``.
        norms: Which of its norms; None: all that have statistics.

    Returns:
        How many norms were moved.
    """
    norms = _norms(network) if norms is None else norms
    sums = {norm: (0.0, torch.zeros(()), torch.zeros(())) for norm in norms}

    def watch(norm: nn.Module, given: tuple[Tensor, ...]) -> None:
        x = given[0].detach().double()
        axes = [axis for axis in range(x.ndim) if axis != 1]
        count, total, squares = sums[norm]
        sums[norm] = (count + x[:, 0].numel(), total + x.sum(axes), squares + x.square().sum(axes))

    hooks = [norm.register_forward_pre_hook(watch) for norm in norms]
    try:
        network.eval()
        with torch.no_grad():
            for batch in images:
                network(batch)
    finally:
        for hook in hooks:
            hook.remove()
    moved = [norm for norm in norms if sums[norm][0]]
    for norm in moved:
        count, total, squares = sums[norm]
        _move(norm, total / count, (squares / count - (total / count).square()).clamp(min=0))
    return len(moved)


def _move(norm: nn.Module, mean: Tensor, variance: Tensor) -> None:
    """New running statistics; scale and shift so that the norm maps as before."""
    eps: float = norm.eps  # pyright: ignore[reportAssignmentType]
    before = norm.weight.double() / (norm.running_var.double() + eps).sqrt()  # pyright: ignore
    with torch.no_grad():
        norm.bias += before * (mean - norm.running_mean.double())  # pyright: ignore
        norm.weight.copy_(before * (variance + eps).sqrt())  # pyright: ignore
        norm.running_mean.copy_(mean)  # pyright: ignore
        norm.running_var.copy_(variance)  # pyright: ignore
