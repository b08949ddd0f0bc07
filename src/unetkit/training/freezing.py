"""Which encoder stages learn, from when on, and how fast; it follows from the share of the schedule alone."""

from __future__ import annotations

from types import MethodType

from torch import Tensor, nn

from unetkit.errors import UsageError
from unetkit.records.plan import TrainingPlan


class Freezing:
    """Keeps the encoder's first stages from learning, and lets go of them one after the other.

    Weights of a frozen stage take no gradient, and its batch norms keep their statistics and use them. That
    holds through ``network.train()``. With an ``unfreeze_share`` the coarsest frozen stage begins to learn
    there, the others, one by one towards the image, at equal parts of what is left of the schedule.
    The state follows from the progress alone, so a resumed training needs nothing of it saved.

    Args:
        network: With an ``encoder`` that knows its ``blocks_by_stage()``, where stages are to be frozen.
        training: The plan's slice.

    Raises:
        UsageError: The encoder has fewer stages than are to be frozen.

    Reference:
        Howard and Ruder, Universal Language Model Fine-tuning, ACL 2018 (gradual unfreezing).
    """

    def __init__(self, network: nn.Module, training: TrainingPlan) -> None:
        stages = encoder_stages(network) if training.freeze_blocks else []
        if training.freeze_blocks > len(stages):
            raise UsageError(
                f"training.freeze_blocks is {training.freeze_blocks}, the encoder has {len(stages)} stages",
                cure=f"set training.freeze_blocks to {len(stages)} or less",
            )
        self._stages = [_Stage(blocks) for blocks in stages[: training.freeze_blocks]]
        self._share = training.unfreeze_share
        if not self._share:  # before the optimiser is built: what never learns has no place in it
            self.settle(0.0)

    def frozen(self, progress: float) -> int:
        """How many stages, counted from the image, do not learn.

        Args:
            progress: Share of the schedule that is done.

        Example:
            >>> from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan
            >>> from unetkit.networks.unet import build
            >>> plan = Plan.model_validate(EXAMPLE)
            >>> network = build(plan.network, rank=2, in_channels=1, classes=2)
            >>> changes = {"freeze_blocks": 2, "unfreeze_share": 0.5}
            >>> freezing = Freezing(network, plan.training.model_copy(update=changes))
            >>> [freezing.frozen(progress) for progress in (0.0, 0.5, 0.75)]
            [2, 1, 0]
        """
        count = len(self._stages)
        if not self._share or progress < self._share:
            return count
        part = (1.0 - self._share) / max(count, 1)
        return sum(progress < self._share + place * part for place in range(count))

    def settle(self, progress: float) -> None:
        """Make the network what it is to be at this progress; call it before a step."""
        frozen = self.frozen(progress)
        for number, stage in enumerate(self._stages):
            stage.freeze() if number < frozen else stage.thaw()


class _Stage:
    """The blocks of one stage and what of them learns."""

    def __init__(self, blocks: list[nn.Module]) -> None:
        self._weights = [w for block in blocks for w in block.parameters() if w.requires_grad]
        self._norms = [m for block in blocks for m in block.modules() if keeps_statistics(m)]
        self._frozen = False

    def freeze(self) -> None:
        if self._frozen:
            return
        self._frozen = True
        for weight in self._weights:
            weight.requires_grad_(False)
            weight.grad = None
        for norm in self._norms:
            norm.eval()
            norm.train = MethodType(_stay, norm)  # what ``network.train()`` calls from now on

    def thaw(self) -> None:
        if not self._frozen:
            return
        self._frozen = False
        for weight in self._weights:
            weight.requires_grad_(True)
        for norm in self._norms:
            del norm.train
            norm.train()


def _stay(norm: nn.Module, mode: bool = True) -> nn.Module:
    """In place of ``norm.train``: it stays as it is."""
    return norm


def keeps_statistics(module: nn.Module) -> bool:
    """Whether a module updates statistics when it is called in training mode, as batch norms do."""
    return getattr(module, "running_mean", None) is not None


def encoder_stages(network: nn.Module) -> list[list[nn.Module]]:
    """The blocks of each encoder stage, the image's side first.

    Args:
        network: Any network; one built by ``networks.unet.build`` knows its stages.

    Raises:
        UsageError: It does not.
    """
    stages = getattr(getattr(network, "encoder", None), "blocks_by_stage", None)
    if stages is None:
        raise UsageError(
            f"freezing and layer-wise rates need an encoder with 'blocks_by_stage', "
            f"{type(network).__name__} has none",
            cure="set training.freeze_blocks to 0 and training.layer_decay to 1, or name another encoder",
        )
    return stages()


def rate_factors(network: nn.Module, layer_decay: float) -> dict[Tensor, float]:
    """Weight → its share of the learning rate; a weight outside of the encoder's stages is left out (1).

    The coarsest stage has the whole rate, each finer one ``layer_decay`` of the one before it.

    Args:
        network: The network.
        layer_decay: The plan's ``training.layer_decay``.

    Reference:
        Clark et al., ELECTRA, ICLR 2020 (layer-wise learning-rate decay).
    """
    if layer_decay == 1.0:
        return {}
    stages = encoder_stages(network)
    return {
        weight: layer_decay**place
        for place, blocks in enumerate(reversed(stages))
        for block in blocks
        for weight in block.parameters()
    }
