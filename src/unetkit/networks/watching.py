"""Every tensor operation of a forward pass, by the place in the network where it happens."""

from __future__ import annotations

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any

from torch import Tensor, nn
from torch.nn.modules import module as hooks
from torch.overrides import TorchFunctionMode

from unetkit.spatial.tracing import plainly

KINDS = {
    **dict.fromkeys(("add", "__add__", "__radd__", "__iadd__"), "add"),
    **dict.fromkeys(("relu", "leaky_relu", "relu6", "hardtanh"), "rectify"),
    **dict.fromkeys(("narrow", "pad", "max_pool", "__getitem__", "movedim", "unsqueeze"), "move"),
    **dict.fromkeys(("contiguous", "clone", "dropout", "feature_dropout"), "same"),
    "batch_norm": "batch_norm",
    "cat": "cat",
    "conv": "conv",
    "conv_transpose": "conv_transpose",
    "interpolate": "interpolate",
}
"""Name of a function without its rank → what it is to somebody who counts in whole numbers.

``move`` brings values to other places and ``same`` leaves them there; every other kind makes new ones.
"""


@dataclass(frozen=True)
class Operation:
    """One operation.

    Args:
        module: Name of the innermost module that is at work.
        name: The same, with the kind and its number among those of its kind there.
        kind: A value of ``KINDS``; ``other`` for whatever is not in it.
        func: What was called.
        args: With what.
        kwargs: And with what by name.
    """

    module: str
    name: str
    kind: str
    func: Callable[..., Any]
    args: tuple[Any, ...]
    kwargs: Mapping[str, Any]

    def __call__(self) -> Any:  # noqa: ANN401 - whatever the function answers
        """Do it as it was meant."""
        return self.func(*self.args, **self.kwargs)

    def given(self, place: int, name: str, default: Any = None) -> Any:  # noqa: ANN401
        """An argument by its place or its name."""
        return self.args[place] if place < len(self.args) else self.kwargs.get(name, default)

    @property
    def word(self) -> str:
        """The name of the function, without its rank."""
        return plain_name(self.func)

    def tensors(self) -> list[Tensor]:
        """The tensors among the arguments, those in a list too."""
        found: list[Tensor] = []
        for value in (*self.args, *self.kwargs.values()):
            inside = value if isinstance(value, list | tuple) else (value,)
            found += [one for one in inside if isinstance(one, Tensor)]
        return found


Answer = Callable[[Operation], Any]


@contextmanager
def watched(network: nn.Module, answer: Answer) -> Iterator[None]:
    """Within, whatever a forward pass of the network does with tensors is asked for from ``answer``.

    Layers that have several ways to compute take the plain one. What ``answer`` itself does is not watched.

    Args:
        network: Its modules give the names.
        answer: Does an operation, or something in its place.

    Example:
        >>> network, seen = nn.Sequential(nn.ReLU(), nn.ReLU()), []
        >>> with watched(network, lambda op: (seen.append(op.name), op())[1]):
        ...     _ = network(Tensor([0.0]))
        >>> seen
        ['0:rectify', '1:rectify']
    """
    watch = _Watch(network, answer)
    handles = (
        hooks.register_module_forward_pre_hook(watch.enter),
        hooks.register_module_forward_hook(watch.leave),
    )
    try:
        with plainly(), watch:
            yield
    finally:
        for handle in handles:
            handle.remove()


def plain_name(func: Callable[..., Any]) -> str:
    """The name of a function of torch without its rank and whether it works in place.

    Example:
        >>> plain_name(Tensor.relu_)
        'relu'
    """
    name = getattr(func, "__name__", "")
    return re.sub(r"\dd$", "", name if name.startswith("__") else name.rstrip("_"))


class _Watch(TorchFunctionMode):
    def __init__(self, network: nn.Module, answer: Answer) -> None:
        super().__init__()
        self._names = {module: name for name, module in network.named_modules()}
        self._answer = answer
        self._thread = threading.get_ident()
        self._inside: list[str] = [""]
        self._counts: Counter[str] = Counter()

    def enter(self, module: nn.Module, _: object) -> None:
        """A module begins; other networks, and this one at work in another thread, are none of ours."""
        if module in self._names and threading.get_ident() == self._thread:
            self._inside.append(self._names[module])

    def leave(self, module: nn.Module, _: object, __: object) -> None:
        """And ends."""
        if module in self._names and threading.get_ident() == self._thread:
            self._inside.pop()

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: object,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:  # noqa: ANN401
        kind, module = KINDS.get(plain_name(func), "other"), self._inside[-1]
        name = f"{module}:{kind}"
        if kind != "other":
            self._counts[name] += 1
            if (number := self._counts[name]) > 1:
                name = f"{name}{number}"
        return self._answer(Operation(module, name, kind, func, tuple(args), kwargs or {}))
