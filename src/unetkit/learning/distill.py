"""Learning from what other models say: their soft answers and where they look, as a second target."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.learning.replay import Exchanging, share_of
from unetkit.losses.target import wide
from unetkit.records.plan import WrapperTerm
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import Objective, Past, joined_states, load_inner, options_of, outputs

DEFAULTS = {
    "weight": 1.0,
    "temperature": 2.0,
    "channels": 1.0,
    "channel_temperature": 4.0,
    "features": 1.0,
    "unlabelled": 0.5,
}
"""Options of ``distill``: weights of the three losses, their temperatures, and the share of each batch that
comes from images without a label, where there are any."""


def soft_loss(
    student: Float[Tensor, "b k *s"], teacher: Float[Tensor, "b k *s"], *, temperature: float
) -> Tensor:
    """``T² · KL(softmax(teacher / T) ‖ softmax(student / T))``, the mean over pixels.

    Args:
        student: Logits ``(B, K, *S)``.
        teacher: Likewise; no gradient goes there.
        temperature: ``T``, above 0; the higher, the more the unlikely classes count.

    Reference:
        Hinton, Vinyals and Dean, Distilling the Knowledge in a Neural Network, 2015, section 2.

    Example:
        >>> logits = torch.tensor([[[1.0], [3.0]]])
        >>> float(soft_loss(logits, logits, temperature=2))
        0.0
    """
    return _divergence(student, teacher, temperature).sum(dim=1).mean()


def channel_loss(
    student: Float[Tensor, "b k *s"], teacher: Float[Tensor, "b k *s"], *, temperature: float
) -> Tensor:
    """The divergence between *where* each channel is high: a softmax over pixels, the mean over channels.

    A pixel of background costs next to nothing here, so that small objects are not lost among many of these.

    Args:
        student: ``(B, K, *S)``.
        teacher: Likewise; no gradient goes there.
        temperature: ``T``, above 0; the higher, the more the pixels count that are not the highest.

    Reference:
        Shu et al., Channel-wise Knowledge Distillation for Dense Prediction, ICCV 2021 (arXiv:2011.13256).

    Example:
        >>> one = torch.tensor([[[1.0, 3.0, 2.0]]])
        >>> float(channel_loss(one + 5, one, temperature=4))
        0.0
    """
    ours, theirs = (each.flatten(2).transpose(1, 2) for each in (student, teacher))
    return _divergence(ours, theirs, temperature).sum(dim=1).mean()


def attention_map(features: Float[Tensor, "b c *s"]) -> Float[Tensor, "b n"]:
    """Where features are strong, whatever their number: the sum of squares over channels, of length 1.

    Args:
        features: ``(B, C, *S)``.

    Reference:
        Zagoruyko and Komodakis, Paying More Attention to Attention, ICLR 2017 (arXiv:1612.03928).

    Example:
        >>> attention_map(torch.tensor([[[1.0, 0.0], [1.0, 2.0]]])).norm(dim=1).tolist()
        [1.0]
    """
    return F.normalize(wide(features).square().sum(dim=1).flatten(1), dim=1)


def attention_loss(student: Float[Tensor, "b n"], teacher: Float[Tensor, "b n"]) -> Tensor:
    """The squared distance of two attention maps, 0 to 2, the mean over samples.

    Args:
        student: As ``attention_map`` gives it.
        teacher: Likewise, or the mean of several; no gradient goes there.
    """
    return (student - teacher.detach()).square().sum(dim=1).mean()


def _divergence(student: Tensor, teacher: Tensor, temperature: float) -> Tensor:
    """``T² · p · (log p - log q)`` with softmax along axis 1, element by element."""
    ours = F.log_softmax(wide(student) / temperature, dim=1)
    theirs = F.log_softmax(wide(teacher.detach()) / temperature, dim=1)
    return temperature**2 * F.kl_div(ours, theirs, reduction="none", log_target=True)


@dataclass(frozen=True)
class Answer:
    """What a network said of some pixels.

    Args:
        pixels: What it saw, ``(B, C, *S)``.
        logits: Its finest answer, ``(B, K, *S)``.
        levels: Size of a decoder's output → its attention map; empty where nobody asked.
    """

    pixels: Tensor
    logits: Tensor
    levels: Mapping[torch.Size, Tensor]


@contextmanager
def listen(network: nn.Module, *, features: bool) -> Iterator[list[Answer]]:
    """Keep every answer that a network gives in the block.

    Args:
        network: Answers with one tensor or with several, fine to coarse.
        features: Whether to keep where its decoder's outputs are strong, too.

    Raises:
        UsageError: It has no decoder to look at.
    """
    found: list[Answer] = []
    levels: dict[torch.Size, Tensor] = {}

    def look(_: nn.Module, __: tuple[object, ...], maps: Sequence[Tensor]) -> None:
        levels.clear()
        for each in maps:  # of those of one size the first: the deepest of a nested decoder
            levels.setdefault(each.shape[2:], attention_map(each))

    def hear(_: nn.Module, shown: tuple[Tensor, ...], answer: Tensor | list[Tensor]) -> None:
        logits = answer if isinstance(answer, Tensor) else answer[0]
        found.append(Answer(shown[0], logits, dict(levels)))

    handles = [network.register_forward_hook(hear)]
    try:
        if features:
            decoder = getattr(network, "decoder", None)
            if not isinstance(decoder, nn.Module):
                raise UsageError(
                    "features are learned from a decoder's outputs, and this network has no decoder",
                    cure="give 'distill' the option features 0",
                )
            handles.append(decoder.register_forward_hook(look))
        yield found
    finally:
        for handle in handles:
            handle.remove()


class Taught:
    """An objective, and other models' answers on the same images.

    The teachers see exactly what the network saw, mixed in or not. Several of them answer with the mean of
    their logits, which is the geometric mean of their distributions. Pixels without a label count like all
    others.

    Args:
        inner: What computes the losses on labels.
        teachers: Networks of the same classes, frozen, in evaluation mode.
        layout: Number type and memory format of their forward pass.
        options: Those of ``DEFAULTS`` that weigh losses; the ones that are missing weigh nothing.
        name: Of the terms.

    Raises:
        UsageError: A temperature is 0.

    Reference:
        Hinton, Vinyals and Dean, 2015, section 2.
    """

    def __init__(
        self,
        inner: Objective,
        teachers: Sequence[nn.Module],
        layout: Layout,
        *,
        options: Mapping[str, float],
        name: str,
    ) -> None:
        for key in ("temperature", "channel_temperature"):
            if options.get(key) == 0:
                raise UsageError(f"'{name}' has a {key} of 0", cure="give it one above 0, such as 2")
        self._inner, self._teachers, self._layout = inner, tuple(teachers), layout
        self._options, self._name = dict(options), name

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of what is wrapped, and one for each way of learning from the teachers."""
        features = self._options.get("features", 0.0) > 0
        with listen(network, features=features) as heard:
            terms = self._inner.terms(network, batch)
        found: dict[str, list[Tensor]] = {}
        for ours in heard:
            theirs = self._taught(ours.pixels, features=features)
            if theirs.logits.shape[1] != ours.logits.shape[1]:
                raise self._other_classes(theirs.logits.shape[1], ours.logits.shape[1])
            for key, value in self._apart(ours, theirs).items():
                found.setdefault(key, []).append(value)
        return {**terms, **{key: torch.stack(values).mean() for key, values in found.items()}}

    def after_step(self, rate: float) -> None:
        """Nothing of its own."""
        self._inner.after_step(rate)

    def state(self) -> dict[str, Tensor]:
        """That of what is wrapped: the teachers are files that the run names."""
        return joined_states(self._inner, {})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what ``state`` gave."""
        load_inner(self._inner, tensors)

    @torch.no_grad()
    def _taught(self, pixels: Tensor, *, features: bool) -> Answer:
        """What the teachers say together; where one of them has no output of a size, the others do."""
        answers = []
        for teacher in self._teachers:
            with listen(teacher, features=features) as heard:
                outputs(teacher, pixels, self._layout)
            answers += heard
        sizes = dict.fromkeys(size for answer in answers for size in answer.levels)
        levels = {
            size: _mean([answer.levels[size] for answer in answers if size in answer.levels])
            for size in sizes
        }
        return Answer(pixels, _mean([wide(answer.logits) for answer in answers]), levels)

    def _apart(self, ours: Answer, theirs: Answer) -> dict[str, Tensor]:
        """Term → how far the network is from its teachers, weighted."""
        options, name, logits = self._options, self._name, (ours.logits, theirs.logits)
        found = {name: options["weight"] * soft_loss(*logits, temperature=options["temperature"])}
        if weight := options.get("channels", 0.0):
            apart = channel_loss(*logits, temperature=options["channel_temperature"])
            found[f"{name}_channels"] = weight * apart
        if weight := options.get("features", 0.0):
            shared = [size for size in ours.levels if size in theirs.levels]
            if not shared:
                raise UsageError(
                    f"'{name}' compares decoder outputs of one size, and the two networks share none",
                    cure=f"give '{name}' the option features 0",
                )
            apart = [attention_loss(ours.levels[size], theirs.levels[size]) for size in shared]
            found[f"{name}_features"] = weight * torch.stack(apart).mean()
        return found

    def _other_classes(self, theirs: int, ours: int) -> UsageError:
        return UsageError(
            f"'{self._name}' compares answers class by class: the other model has {theirs} classes, this one "
            f"{ours}",
            cure="choose --method replay to update, or a model of the same classes",
        )


def _mean(tensors: Sequence[Tensor]) -> Tensor:
    return tensors[0] if len(tensors) == 1 else torch.stack(tuple(tensors)).mean(dim=0)


class WithoutForgetting(Taught):
    """Learning without forgetting (LwF): the earlier model's answers on the new images.

    Args:
        inner: What computes the losses on labels.
        term: Options ``weight`` (1) and ``temperature`` (2).
        layout: Number type and memory format of the earlier model's forward pass.
        past: The earlier network.

    Raises:
        UsageError: There is no earlier network, or the temperature is 0.

    Reference:
        Li and Hoiem, Learning without Forgetting, TPAMI 2018, equation 3.
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        options = options_of(term, {key: DEFAULTS[key] for key in ("weight", "temperature")})
        if past.network is None:
            raise UsageError(
                "'lwf' learns from an earlier model, and this training starts from none",
                cure="use 'unet update MODEL DATA', or start from a model folder with --init",
            )
        super().__init__(inner, (past.network,), layout, options=options, name="lwf")


class Distillation(Taught):
    """A smaller network learns from larger ones, on images with and without labels.

    Args:
        inner: What computes the losses on labels.
        term: The options of ``DEFAULTS``.
        layout: Number type and memory format of the teachers' forward pass.
        past: The teachers, and images without a label where there are any: a share of each batch is
            exchanged for patches of these, so that a step costs what it did.

    Raises:
        UsageError: There is no teacher, a temperature is 0, or the share is above 1.

    Reference:
        Hinton, Vinyals and Dean, 2015; Shu et al., ICCV 2021; Zagoruyko and Komodakis, ICLR 2017.
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        options = options_of(term, DEFAULTS)
        if not past.teachers:
            raise UsageError(
                "'distill' learns from other models, and this training names none",
                cure="use 'unet compress MODEL DATA --distill STUDENT', or take 'distill' out of "
                "objective.wrappers",
            )
        share = share_of(term, options["unlabelled"])
        if past.unlabelled is not None and share:
            inner = Exchanging(inner, past.unlabelled, share=share)
        super().__init__(inner, past.teachers, layout, options=options, name="distill")
