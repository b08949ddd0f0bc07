"""A pull back to the weights of an earlier model: elastic weight consolidation and L2-SP."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from pathlib import Path

import torch
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import DataError, UsageError
from unetkit.losses.pixel import cross_entropy
from unetkit.records.files import write_bytes
from unetkit.records.plan import WrapperTerm
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import (
    Objective,
    Past,
    joined_states,
    load_inner,
    options_of,
    outputs,
)

DECAY = 0.95
"""What is left of the importance of older tasks with each new one."""


class Pull:
    """An objective, and a pull of every weight towards where it was: ``strength / 2 · Σ F (θ − θ*)²``.

    The pull is not left to the optimiser, which diverges where ``rate · strength · F`` is above 2, and which
    with Adam's or a clipped step answers a hundredfold strength with the same step. It is applied after the
    step, exactly: ``θ ← (θ + rate · strength · F θ*) / (1 + rate · strength · F)`` minimises the penalty plus
    the squared way from where the step went. Strength 0 changes no bit, and an endless one moves nothing.

    Args:
        inner: What computes the losses.
        anchors: ``θ*`` by name; weights of another name or shape are left free.
        importance: ``F`` by name, None for 1 everywhere.
        strength: ``0`` or more.
        name: Of the term.

    Raises:
        DataError: No weight of the network has both an anchor and an importance (at the first step).

    Reference:
        Kirkpatrick et al., Overcoming catastrophic forgetting, PNAS 2017, equation 3; Li et al., L2-SP,
        ICML 2018; the step: Parikh and Boyd, Proximal Algorithms, 2014, section 6.1.1.
    """

    def __init__(
        self,
        inner: Objective,
        anchors: Mapping[str, Tensor],
        importance: Mapping[str, Tensor] | None,
        *,
        strength: float,
        name: str,
    ) -> None:
        self._inner, self._anchors, self._importance = inner, anchors, importance
        self._strength, self._name = strength, name
        self._pairs: list[tuple[nn.Parameter, Tensor, Tensor]] | None = None

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of what is wrapped, and the penalty as a number to be watched, without a gradient."""
        if self._pairs is None:
            self._pairs = self._matched(network)
        return {**self._inner.terms(network, batch), self._name: self.penalty()}

    @torch.no_grad()
    def penalty(self) -> Tensor:
        """``strength / 2 · Σ F (θ − θ*)²`` at the weights as they are, a scalar."""
        parts = [(share * (weight - anchor) ** 2).sum() for weight, anchor, share in self._pairs or ()]
        return 0.5 * self._strength * torch.stack(parts).sum()

    @torch.no_grad()
    def after_step(self, rate: float) -> None:
        """Pull every weight back by its share."""
        self._inner.after_step(rate)
        for weight, anchor, importance in self._pairs or ():
            weight.lerp_(anchor, 1 / (1 + 1 / (rate * self._strength * importance)))

    def state(self) -> dict[str, Tensor]:
        """That of what is wrapped: anchors and importance are files of the run."""
        return joined_states(self._inner, {})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what ``state`` gave."""
        load_inner(self._inner, tensors)

    def _matched(self, network: nn.Module) -> list[tuple[nn.Parameter, Tensor, Tensor]]:
        pairs = []
        for name, weight in network.named_parameters():
            anchor = self._anchors.get(name)
            share = torch.ones(()) if self._importance is None else self._importance.get(name)
            if anchor is None or share is None or anchor.shape != weight.shape:
                continue
            if share.ndim and share.shape != weight.shape:
                continue
            pairs.append((weight, anchor.detach().to(weight).clone(), share.to(weight)))
        if not pairs:
            raise DataError(
                f"'{self._name}' pulls weights back to an earlier model, and none of this network is in it",
                cure="start from a model of the same network",
            )
        return pairs


class Ewc(Pull):
    """Elastic weight consolidation: weights that matter to what was learned are pulled back the most.

    Args:
        inner: What computes the losses.
        term: Option ``strength`` (100): importance is normalised to a mean of 1, so that it compares.
        layout: Not needed.
        past: The earlier network and the importance of its weights (``fisher``).
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        strength = options_of(term, {"strength": 100.0})["strength"]
        anchors = _anchors(past, term.name)
        if not past.importance:
            raise UsageError(
                "'ewc' must know which weights matter to what the model has learned, and nothing says so",
                cure="name data that the model knows with --memory (it is looked at once and not kept), or "
                "choose --method lwf",
            )
        super().__init__(inner, anchors, normalised(past.importance), strength=strength, name="ewc")


class L2sp(Pull):
    """L2-SP: every weight is pulled back alike, which is EWC with an importance of 1; FedProx's term, too.

    Args:
        inner: What computes the losses.
        term: Option ``strength`` (1).
        layout: Not needed.
        past: The earlier network.
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        strength = options_of(term, {"strength": 1.0})["strength"]
        super().__init__(inner, _anchors(past, term.name), None, strength=strength, name="l2sp")


def fisher(network: nn.Module, batches: Iterable[Batch], layout: Layout) -> dict[str, Tensor]:
    """How much each weight matters to what a network says: the diagonal of its empirical Fisher information.

    The mean, over single images, of the squared gradient of the log-likelihood of their labels (mean over
    known pixels). Squaring the gradient of a batch's mean instead, as is often done, makes the result depend
    on the size of the batch. Norms use their running statistics, and dropout is off.

    Args:
        network: On its device; left in evaluation mode, its weights unchanged.
        batches: Patches with labels.
        layout: Number type and memory format of the forward pass.

    Returns:
        Name of each trainable weight to a tensor of its shape, ``0`` or more.

    Raises:
        DataError: There is no image.

    Reference:
        Kirkpatrick et al., PNAS 2017; Martens, New Insights on the Natural Gradient, JMLR 2020, section 11.

    Example:
        >>> from unetkit.spatial.layers import Pointwise
        >>> batch = Batch(torch.ones(1, 1, 1, 1), torch.zeros(1, 1, 1, dtype=torch.long), None, ("a",))
        >>> network = Pointwise(1, 2)
        >>> _ = nn.init.zeros_(network.weight), nn.init.zeros_(network.bias)
        >>> fisher(network, [batch], Layout())["bias"].tolist()
        [0.25, 0.25]
    """
    network.eval()
    named = {name: weight for name, weight in network.named_parameters() if weight.requires_grad}
    total = {name: torch.zeros_like(weight) for name, weight in named.items()}
    count = 0
    for batch in batches:
        for item in range(batch.pixels.shape[0]):
            one = slice(item, item + 1)
            known = None if batch.known is None else batch.known[one]
            if known is not None and not bool(known.any()):
                continue
            with torch.enable_grad():
                logits = outputs(network, batch.pixels[one], layout)[0].float()
                loss = cross_entropy(logits, batch.target[one], known)
            for name, slope in zip(
                named, torch.autograd.grad(loss, list(named.values()), allow_unused=True), strict=True
            ):
                if slope is not None:
                    total[name] += slope.detach() ** 2
            count += 1
    if not count:
        raise DataError(
            "no labelled image says which weights matter", cure="name data with labels with --memory"
        )
    return {name: tensor / count for name, tensor in total.items()}


def normalised(importance: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Importance with a mean of 1 over all weights, so that one strength means the same for every model.

    Args:
        importance: By name.

    Raises:
        DataError: Every importance is 0.

    Example:
        >>> normalised({"a": torch.tensor([1.0, 3.0])})["a"].tolist()
        [0.5, 1.5]
    """
    weights = sum(tensor.numel() for tensor in importance.values())
    mean = float(sum(tensor.double().sum() for tensor in importance.values())) / max(weights, 1)
    if not mean > 0:
        raise DataError(
            "no weight matters to the labels of these images, so none can be held",
            cure="name images that the model was trained for, or choose --method replay",
        )
    return {name: (tensor.double() / mean).to(tensor.dtype) for name, tensor in importance.items()}


def accumulated(
    older: Mapping[str, Tensor], newer: Mapping[str, Tensor], *, decay: float = DECAY
) -> dict[str, Tensor]:
    """Online EWC: the importance for everything learned so far, ``decay · older + newer``, both normalised.

    Args:
        older: Of the tasks before; empty when there were none.
        newer: Of the last task, at the weights as they are now.
        decay: What is left of the older importance.

    Reference:
        Schwarz et al., Progress and Compress, ICML 2018, section 3.

    Example:
        >>> one = {"a": torch.tensor([2.0, 0.0])}
        >>> accumulated({"a": torch.tensor([1.0, 1.0])}, one, decay=0.5)["a"].tolist()
        [2.5, 0.5]
    """
    now = normalised(newer)
    if not older:
        return now
    past = normalised(older)
    return {
        name: tensor + decay * past[name].to(tensor)
        if name in past and past[name].shape == tensor.shape
        else tensor
        for name, tensor in now.items()
    }


def save_importance(path: Path, importance: Mapping[str, Tensor]) -> None:
    """Write importance by name as a safetensors file, atomically."""
    import safetensors.torch

    plain = {name: tensor.detach().cpu().contiguous() for name, tensor in importance.items()}
    write_bytes(path, safetensors.torch.save(plain))


def read_importance(path: Path) -> dict[str, Tensor]:
    """Read what ``save_importance`` wrote.

    Raises:
        DataError: It is no such file, or holds values that are negative or not finite.
    """
    from unetkit.networks.weights import read_weights

    found = read_weights(path)
    for name, tensor in found.items():
        if not tensor.is_floating_point() or bool((tensor < 0).any()):
            raise DataError(
                f"'{name}' is no importance: expected numbers of 0 or more",
                cure="remove the file and name the old data with --memory",
                where=path,
            )
    return found


def _anchors(past: Past, name: str) -> dict[str, Tensor]:
    if past.network is None:
        raise UsageError(
            f"'{name}' keeps a model near an earlier one, and this training starts from none",
            cure="use 'unet update MODEL DATA', or start from a model folder with --init",
        )
    return dict(past.network.named_parameters())
