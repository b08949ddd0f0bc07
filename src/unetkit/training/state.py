"""Everything that makes a training continue exactly where it stopped: tensors and a few numbers."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import torch
from torch import Tensor, nn

from unetkit.errors import DataError
from unetkit.records.plan import TrainingPlan
from unetkit.training.averaging import Average
from unetkit.training.freezing import Freezing
from unetkit.training.horizon import Horizon
from unetkit.training.optimizer import build_optimizer

if TYPE_CHECKING:
    from unetkit.training.objective import Objective


@dataclass
class State:
    """A training between two steps. There is no random state: all randomness follows from seed and step.

    Args:
        network: The network being trained, on its device.
        optimizer: Its optimiser.
        average: Its averaged weights.
        horizon: Where the schedule ends.
        optimizer_name: A name of ``OPTIMIZERS``.
        freezing: What of the encoder learns.
        objective: What is minimised, where it has a state of its own.
        step: Steps done.
        best: Best validation Dice so far.
        best_step: Where that was.
        judged: Validations due so far that were made (see ``validation.Judge``).
        judged_step: Step of the latest validation, -1 for none.
        seconds: Time spent so far, over all sessions, s.
    """

    network: nn.Module
    optimizer: torch.optim.Optimizer
    average: Average
    horizon: Horizon
    optimizer_name: str
    freezing: Freezing
    objective: Objective | None = None
    step: int = 0
    best: float | None = None
    best_step: int = -1
    judged: int = 0
    judged_step: int = -1
    seconds: float = 0.0

    @property
    def progress(self) -> float:
        """Share of the schedule that is done."""
        return self.horizon.progress(self.step)

    @staticmethod
    def fresh(network: nn.Module, training: TrainingPlan, objective: Objective | None = None) -> State:
        """The state before the first step."""
        freezing = Freezing(network, training)
        optimizer = build_optimizer(network, training)
        average = Average(network, training.ema_decay)
        horizon = Horizon.planned(training)
        return State(network, optimizer, average, horizon, training.optimizer, freezing, objective)

    def tensors(self) -> dict[str, Tensor]:
        """Weights, averages, the objective's state and the optimiser's memory, by name."""
        named = {f"network.{name}": tensor for name, tensor in self.network.state_dict().items()}
        named |= {f"average.{name}": tensor for name, tensor in self.average.tensors().items()}
        if self.objective is not None:
            named |= {f"objective.{name}": tensor for name, tensor in self.objective.state().items()}
        for index, weight in enumerate(self._weights()):
            for slot, value in self.optimizer.state.get(weight, {}).items():
                if isinstance(value, Tensor):
                    named[f"optimizer.{index}.{slot}"] = value
        return named

    def numbers(self) -> dict[str, Any]:
        """Everything else, as JSON values."""
        return {
            "step": self.step,
            "horizon": [self.horizon.steps, self.horizon.bend, self.horizon.done],
            "optimizer": self.optimizer_name,
            "best": self.best,
            "best_step": self.best_step,
            "judged": self.judged,
            "judged_step": self.judged_step,
            "seconds": self.seconds,
        }

    def load(self, tensors: dict[str, Tensor], numbers: dict[str, Any], *, where: str) -> None:
        """Become the state that was saved, in place.

        Args:
            tensors: As ``tensors()`` gave them.
            numbers: As ``numbers()`` gave them.
            where: The file, for the error.

        Raises:
            DataError: The saved state belongs to another network or optimiser.
        """
        if numbers["optimizer"] != self.optimizer_name:
            raise _foreign(f"was made with the optimizer '{numbers['optimizer']}'", where)
        load_network(self.network, _under("network.", tensors), where=where)
        self.average.load(_under("average.", tensors))
        self._load_optimizer(_under("optimizer.", tensors), where)
        if self.objective is not None:
            self.objective.load(_under("objective.", tensors))
        steps, bend, done = numbers["horizon"]
        self.horizon = Horizon(steps, bend, done)
        self.step, self.seconds = numbers["step"], numbers["seconds"]
        self.best, self.best_step = numbers["best"], numbers["best_step"]
        self.judged, self.judged_step = numbers["judged"], numbers["judged_step"]

    def _weights(self) -> list[nn.Parameter]:
        return [weight for group in self.optimizer.param_groups for weight in group["params"]]

    def _load_optimizer(self, tensors: dict[str, Tensor], where: str) -> None:
        weights = self._weights()
        saved: dict[int, dict[str, Tensor]] = {}
        for key, tensor in tensors.items():
            number, _, slot = key.partition(".")
            index = int(number)
            if index >= len(weights):
                raise _foreign("belongs to a network with more weights", where)
            weight = weights[index]
            if tensor.shape == weight.shape:
                # In the weight's own memory order, which the fused step relies on.
                tensor = torch.empty_like(weight, requires_grad=False).copy_(tensor)
            saved.setdefault(index, {})[slot] = tensor
        groups = self.optimizer.state_dict()["param_groups"]
        self.optimizer.load_state_dict({"state": saved, "param_groups": groups})


def load_network(network: nn.Module, tensors: dict[str, Tensor], *, where: str) -> None:
    """Copy saved weights and buffers into a network.

    Args:
        network: The network.
        tensors: One per entry of its ``state_dict``.
        where: The file, for the error.

    Raises:
        DataError: Names or shapes differ.
    """
    own = network.state_dict()
    if own.keys() != tensors.keys():
        odd = sorted(own.keys() ^ tensors.keys())[0]
        raise _foreign(f"belongs to another network ('{odd}' is in one of the two only)", where)
    for name, tensor in own.items():
        if tensor.shape != tensors[name].shape:
            shapes = f"{tuple(tensor.shape)} expected, {tuple(tensors[name].shape)} found"
            raise _foreign(f"belongs to another network ('{name}': {shapes})", where)
    network.load_state_dict(tensors)


def _under(prefix: str, tensors: dict[str, Tensor]) -> dict[str, Tensor]:
    return {name.removeprefix(prefix): tensor for name, tensor in tensors.items() if name.startswith(prefix)}


def _foreign(problem: str, where: str) -> DataError:
    return DataError(
        f"this resume point {problem}",
        cure="resume with the plan the run was started with, or start anew in another folder",
        where=where,
    )
