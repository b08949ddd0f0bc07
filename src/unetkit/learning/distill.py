"""Learning from what another model says: its soft answers as a second target."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from jaxtyping import Float
from torch import Tensor, nn

from unetkit.data.patches import Batch
from unetkit.errors import UsageError
from unetkit.learning.unbiased import as_background
from unetkit.records.plan import WrapperTerm
from unetkit.runtimes.devices import Layout
from unetkit.training.objective import Objective, Past, joined_states, load_inner, options_of, outputs


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
    ours = F.log_softmax(student.float() / temperature, dim=1)
    theirs = F.log_softmax(teacher.detach().float() / temperature, dim=1)
    apart = F.kl_div(ours, theirs, reduction="none", log_target=True)
    return temperature**2 * apart.sum(dim=1).mean()


class Distillation:
    """An objective, and the earlier model's answers on the same images: learning without forgetting (LwF).

    The earlier model sees exactly what the network saw, mixed in or not, and its answer is compared with the
    network's finest output. Classes that the network has beyond those of the earlier model come after them
    and are counted as background: that is what the earlier model was told they are (MiB).

    Args:
        inner: What computes the losses on labels.
        term: Options ``weight`` (1) and ``temperature`` (2).
        layout: Number type and memory format of the earlier model's forward pass.
        past: The earlier network.

    Raises:
        UsageError: There is no earlier network, it has more classes, or the temperature is 0.

    Reference:
        Li and Hoiem, Learning without Forgetting, TPAMI 2018, equation 3; Cermelli et al., MiB, CVPR 2020,
        equation 8.
    """

    def __init__(self, inner: Objective, term: WrapperTerm, layout: Layout, past: Past) -> None:
        options = options_of(term, {"weight": 1.0, "temperature": 2.0})
        if not options["temperature"]:
            raise UsageError("'lwf' has a temperature of 0", cure="give it one above 0, such as 2")
        if past.network is None:
            raise UsageError(
                "'lwf' learns from an earlier model, and this training starts from none",
                cure="use 'unet update MODEL DATA', or start from a model folder with --init",
            )
        self._inner, self._teacher, self._layout = inner, past.network, layout
        self._weight, self._temperature = options["weight"], options["temperature"]

    def terms(self, network: nn.Module, batch: Batch) -> dict[str, Tensor]:
        """The terms of what is wrapped, and ``lwf``."""
        seen: list[tuple[Tensor, Tensor]] = []

        def watch(_: nn.Module, shown: tuple[Tensor, ...], answer: Tensor | list[Tensor]) -> None:
            seen.append((shown[0], answer if isinstance(answer, Tensor) else answer[0]))

        with network.register_forward_hook(watch):
            terms = self._inner.terms(network, batch)
        parts = []
        for pixels, student in seen:
            with torch.no_grad():
                teacher = outputs(self._teacher, pixels, self._layout)[0]
            parts.append(soft_loss(_as_known(student, teacher), teacher, temperature=self._temperature))
        return {**terms, "lwf": self._weight * torch.stack(parts).mean()}

    def after_step(self, rate: float) -> None:
        """Nothing of its own."""
        self._inner.after_step(rate)

    def state(self) -> dict[str, Tensor]:
        """That of what is wrapped: the earlier model is a file that the run names."""
        return joined_states(self._inner, {})

    def load(self, tensors: dict[str, Tensor]) -> None:
        """Become what ``state`` gave."""
        load_inner(self._inner, tensors)


def _as_known(student: Tensor, teacher: Tensor) -> Tensor:
    """The student's answer in the classes that the earlier model knows."""
    known, classes = teacher.shape[1], student.shape[1]
    if known > classes:
        raise UsageError(
            f"'lwf' compares answers class by class: the earlier model has {known} classes, this one "
            f"{classes}",
            cure="choose --method replay, or a model of the same classes",
        )
    if known == classes:
        return student
    fresh = (torch.arange(classes, device=student.device) >= known).expand(len(student), -1)
    return as_background(student, fresh)[:, :known]
