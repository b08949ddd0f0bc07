"""A stage of a compression: channels are cut out of a model, and what is left is trained, round by round."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetkit.errors import UsageError, nearest
from unetkit.records.figures import per_cent
from unetkit.records.plan import NetworkPlan, Plan
from unetkit.workflows.stages import Chain
from unetkit.workflows.train import TrainedRun

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

    from torch import Tensor

    from unetkit.networks.unet import UNet


@dataclass(frozen=True)
class Pruning:
    """Cut a share of the channels of every stage.

    Args:
        share: Of the channels, above 0 and below 1.
        importance: Which go first: a name of ``compression.importance.IMPORTANCES``.
        rounds: In how many rounds, each followed by training.

    Raises:
        UsageError: The share or the number of rounds is none, or there is no such importance.
    """

    share: float
    importance: str = "l1"
    rounds: int = 1

    def __post_init__(self) -> None:
        if not 0 < self.share < 1:
            raise UsageError(
                f"a share of channels above 0 and below 1 was expected, got {self.share:g}",
                cure="say --prune 0.5 to cut half of them",
            )
        refuse_words(self.importance, self.rounds)

    @property
    def words(self) -> str:
        """What it does."""
        return f"{per_cent(self.share, digits=0)} of the channels cut"

    @property
    def asked(self) -> dict[str, Any]:
        """Every argument."""
        return asdict(self)

    @property
    def trainings(self) -> int:
        """One in each round."""
        return self.rounds

    def planned(self, plan: Plan) -> Plan:
        """The plan with narrower stages.

        Args:
            plan: Of the model that is cut.

        Raises:
            UsageError: Nothing of it can be cut.
        """
        from unetkit.compression.prune import narrowed
        from unetkit.networks.unet import build

        data = plan.data
        network = build(
            plan.network, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes)
        )
        return plan.model_copy(update={"network": narrowed(network, self.share)})

    def work(self, chain: Chain, model: Path) -> TrainedRun:
        """Cut and train, as often as was asked for; a round that is finished already is kept.

        Args:
            chain: What all stages work with.
            model: Folder of the model that is cut.

        Raises:
            UsageError: Nothing of it can be cut.
            PreemptedError: It was asked to stop.
        """
        from unetkit.compression.prune import steps
        from unetkit.networks.store import load_model

        goals = [
            (f"{per_cent(share, digits=0)} of the channels cut", goal)
            for share, goal in steps(load_model(model)[0], self.share, self.rounds)
        ]
        return cut_in_rounds(chain, model, goals, importance=self.importance)


def refuse_words(importance: str, rounds: int) -> None:
    """Refuse what nothing can be cut by.

    Args:
        importance: Which channels go first.
        rounds: In how many rounds.

    Raises:
        UsageError: There is no such importance, or not one round.
    """
    from unetkit.compression.importance import IMPORTANCES
    from unetkit.lookup import names

    if rounds < 1:
        raise UsageError(f"1 round or more were expected, got {rounds}", cure="correct --rounds")
    if importance not in (known := names("importance", IMPORTANCES)):
        raise UsageError(f"there is no importance '{importance}'", cure=nearest(importance, known))


def cut_in_rounds(
    chain: Chain, model: Path, goals: Sequence[tuple[str, NetworkPlan]], *, importance: str
) -> TrainedRun:
    """Cut a model to one plan after the other, and train after each; what is finished already is kept.

    Args:
        chain: What all stages work with.
        model: Folder of the model that is cut.
        goals: What was done, in words, and what is left; at least one.
        importance: Which channels go first.

    Raises:
        PreemptedError: It was asked to stop.
    """
    from unetkit.networks.store import read_plan

    run: TrainedRun | None = None
    for number, (words, goal) in enumerate(goals, start=1):
        start = chain.folder / f"start-{number}"
        if not (start / "model.json").is_file():
            _cut(chain, model, start, goal, f"{words}, the least by {importance}", importance)
            chain.progress.say(f"{words}, the least by {importance}")
        plan = read_plan(start)
        chain.progress.say(f"round {number}/{len(goals)}: widths {list(plan.network.widths)}")
        run = chain.train(f"run-{number}", plan, init=start)
        model = run.run.model
    assert run is not None  # there is at least one goal
    return run


def _cut(chain: Chain, model: Path, start: Path, goal: NetworkPlan, why: str, importance: str) -> None:
    """Write the pruned model from which a round begins."""
    from unetkit.compression.prune import cut_to
    from unetkit.networks.store import load_model, save_model

    network, plan = load_model(model)
    small = cut_to(network, goal, by=importance, gradients=gradients(chain, network, plan, importance))
    save_model(start, small.cpu(), _told(plan, small, f"{why}.", taught=bool(chain.teachers)))


def gradients(chain: Chain, network: UNet, plan: Plan, importance: str) -> Iterator[dict[str, Tensor]]:
    """The gradients of the labels' loss on training patches, where an importance looks at them.

    Args:
        chain: What all stages work with.
        network: Moved to the chain's device where it is looked at.
        plan: Its plan.
        importance: Which channels go first.
    """
    from unetkit.compression.importance import FROM_IMAGES, loss_gradients
    from unetkit.runtimes.devices import Layout, pick_device
    from unetkit.training.objective import build_objective

    if importance not in FROM_IMAGES:
        return iter(())
    device = pick_device(chain.device)
    objective = build_objective(plan.objective.model_copy(update={"wrappers": ()}), Layout())
    return loss_gradients(network.to(device), chain.batches(device), objective)


def _told(plan: Plan, small: UNet, reason: str, *, taught: bool) -> Plan:
    """The plan of what is left; of what was wrapped around its objective only the teachers stay."""
    keys = [key for key in ("widths", "decoder_widths") if getattr(small.plan, key)]
    reasons = {**plan.reasons, **{f"network.{key}": reason for key in keys}}
    wrappers = tuple(term for term in plan.objective.wrappers if taught and term.name == "distill")
    objective = plan.objective.model_copy(update={"wrappers": wrappers})
    return plan.model_copy(update={"network": small.plan, "objective": objective, "reasons": reasons})
