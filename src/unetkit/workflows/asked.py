"""What was asked for, as values of a plan: of a new one, of one that was handed in, of a run that goes on."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING

from unetkit.errors import UsageError
from unetkit.networks.store import read_plan
from unetkit.records.plan import BY_HAND, EXAMPLE, DataPlan, Plan, TrainingPlan
from unetkit.records.run import Run
from unetkit.workflows.cascading import refuse_other_previous
from unetkit.workflows.model_folder import trained_folder
from unetkit.workflows.starting import refuse_other_start
from unetkit.workflows.teaching import refuse_other_teachers
from unetkit.workflows.train import Wishes

if TYPE_CHECKING:
    from unetkit.planning.named import Wanted

DIVISION = ("training.fold", "training.folds", "training.seed")
"""What decides which cases are held out."""
_SEEN_BY = ("data.slice_axis", "data.context_slices", "data.cascade")
"""How the network sees an image: decided before it is planned."""
_SPACING = "preparation.spacing_mm"
AGAIN = "Asked for when the run was resumed."
_FIXED = (*DIVISION, "training.optimizer")
FITTED = ("training.batch_size", "training.patch_size", "training.memory_gb", "inference.tile_size")
"""What a run changes of a plan by itself, where memory does not hold it."""


def given_plan(wishes: Wishes) -> Plan | None:
    """The plan that was handed in, None when there is none; a wrong key of ``changes`` shows at once.

    Args:
        wishes: What was asked for.

    Raises:
        UsageError: The plan cannot be read, or a key or value does not fit.
    """
    if wishes.plan is None:
        _refuse_exported(Plan.model_validate(EXAMPLE).with_values(wishes.every_change()))
        return None
    plan = wishes.plan if isinstance(wishes.plan, Plan) else saved_plan(Path(wishes.plan))
    _refuse_exported(plan.with_values(wishes.every_change()))
    return plan


def _refuse_exported(plan: Plan) -> None:
    """A network in training takes normalised pixels and answers logits, whatever its export will do."""
    if (plan.inference.network_input, plan.inference.network_output) != ("float32", "logits"):
        raise UsageError(
            "inference.network_input and inference.network_output are those of an exported network",
            cure="leave them as they are by default; 'unet export --uint8 --classes' sets them",
        )


def wanted_network(wishes: Wishes) -> Wanted | None:
    """The network that was asked for: by name, or as that of the model to start from.

    Args:
        wishes: What was asked for.

    Raises:
        UsageError: There is no such network or no such model, or a plan was handed in beside the name.
    """
    if wishes.network is not None:
        from unetkit.planning.named import find

        if wishes.plan is not None:
            raise UsageError(
                f"--network {wishes.network} and --plan contradict one another: a plan has its network",
                cure="leave one of them out",
            )
        return find(wishes.network)
    own = any(key.startswith("network.") for key in wishes.changes or {})
    if wishes.init is None or wishes.plan is not None or own or Path(wishes.init).is_file():
        return None
    from unetkit.planning.named import of_model

    folder = trained_folder(wishes.init)
    return of_model(read_plan(folder), str(wishes.init))


def wanted_split(wishes: Wishes, given: Plan | None) -> TrainingPlan:
    """A slice whose ``fold``, ``folds`` and ``seed`` are as asked for, else as the given plan has them.

    Args:
        wishes: What was asked for.
        given: A plan that was handed in.
    """
    said = {key: text for key, text in wishes.every_change().items() if key in DIVISION}
    return (given or Plan.model_validate(EXAMPLE)).with_values(said).training


def asked_data(seen: DataPlan, wishes: Wishes) -> DataPlan:
    """What was seen of a data set, with the slices or the stage that was asked for: it is planned for these.

    Args:
        seen: Axes, channels and classes.
        wishes: What was asked for.

    Raises:
        UsageError: A value does not fit.
    """
    said = {key: text for key, text in wishes.every_change().items() if key in _SEEN_BY}
    example = Plan.model_validate(EXAMPLE).model_copy(update={"data": seen})
    return example.with_values(said).data


def asked_spacing(seen: DataPlan, wishes: Wishes) -> tuple[float, ...]:
    """The spacing that was asked for: the network is planned for it.

    Args:
        seen: Axes.
        wishes: What was asked for.

    Returns:
        mm per axis; empty where none was, or where it leaves axes as they come.

    Raises:
        UsageError: It is no spacing.
    """
    said = {key: text for key, text in wishes.every_change().items() if key == _SPACING}
    spacing = Plan.model_validate(EXAMPLE).with_values(said).preparation.spacing_mm
    if spacing and (len(spacing) != seen.rank or min(spacing) < 0):
        raise UsageError(
            f"{_SPACING} is {list(spacing)}, the images have {seen.rank} axes",
            cure=f"give {seen.rank} spacings in mm, 0 for an axis that is not resampled",
        )
    return spacing if all(spacing) else ()


def changed_given(given: Plan, wishes: Wishes) -> Plan:
    """A plan that was handed in, with the budgets and values that were asked for beside it.

    Minutes that are asked for count, whatever number of steps the plan had.

    Args:
        given: The plan.
        wishes: What was asked for.
    """
    changes: dict[str, str] = {}
    if wishes.minutes:
        changes |= {"training.minutes": str(wishes.minutes), "training.steps": "0"}
    if wishes.memory_gb:
        changes |= {"training.memory_gb": str(wishes.memory_gb)}
    return given.with_values(changes | wishes.every_change())


def resumed_plan(own: Plan, wishes: Wishes, *, where: Path) -> Plan:
    """The plan of a run with what may change when it goes on: ``training.*`` and ``minutes``.

    What was asked for and is so already changes nothing: the command that started a run resumes it too.

    Args:
        own: The run's plan.
        wishes: What was asked for.
        where: The run's folder, for the error.

    Raises:
        UsageError: Something was asked for that would make it another run.
    """
    said = wishes.every_change()
    training = own.training
    if wishes.minutes and wishes.minutes != training.minutes:
        said = {"training.minutes": str(wishes.minutes), "training.steps": "0"} | said
    before, after = own.flat(), own.with_values(said).flat()
    changes = {key: text for key, text in said.items() if key in before and before[key] != after[key]}
    for key in changes:
        if not key.startswith("training.") or key in _FIXED:
            raise _refused(f"{key} {after[key]}", f"{before[key]}", where)
    refuse_other_start(Run(where), wishes.init)
    refuse_other_teachers(Run(where), wishes.teachers)
    refuse_other_previous(Run(where), wishes.previous)
    if wishes.network is not None and not own.reasons.get("network", "").startswith(f"'{wishes.network}' "):
        raise _refused(f"--network {wishes.network}", own.reasons.get("network", "the planner's own"), where)
    if wishes.memory_gb and round(wishes.memory_gb, 3) != training.memory_gb:
        raise _refused(f"--memory {wishes.memory_gb:g}", f"{training.memory_gb:g} GB", where)
    if (given := given_plan(wishes)) is not None:
        theirs = changed_given(given, wishes).flat()
        odd = [key for key, value in theirs.items() if value != before[key] and key not in FITTED]
        odd = [key for key in odd if key not in changes and own.reasons.get(key) != AGAIN]
        if odd:
            raise _refused(f"--plan with {odd[0]} {theirs[odd[0]]}", f"{before[odd[0]]}", where)
    return own.with_values(changes, reason=AGAIN)


def set_by_hand(plan: Plan) -> dict[str, str]:
    """Every value of a plan that a person set, by its dotted key, as ``Plan.with_values`` takes it.

    Args:
        plan: The plan.

    Example:
        >>> set_by_hand(Plan.model_validate(EXAMPLE).with_values({"training.steps": "7"}))
        {'training.steps': '7'}
    """
    tree, found = plan.model_dump(mode="json"), {}
    for key, reason in plan.reasons.items():
        if reason in (BY_HAND, AGAIN):
            value = tree
            for part in key.split("."):
                value = value[part]
            found[key] = json.dumps(value)
    return found


def _refused(asked: str, kept: str, where: Path) -> UsageError:
    return UsageError(
        f"a resumed run keeps its own plan: {asked} was asked for, the run has {kept}",
        cure="leave it out (only --minutes and --set training.… may change, not fold, seed or optimizer), "
        "or train anew in another folder",
        where=where,
    )


def saved_plan(path: Path) -> Plan:
    """A plan in a file.

    Args:
        path: What ``unet plan -o`` wrote.

    Raises:
        UsageError: It does not exist, or is no plan.
    """
    if not path.is_file():
        raise UsageError(
            "this plan does not exist", cure="write one with 'unet plan DATA -o plan.json'", where=path
        )
    return Plan.from_json(path.read_bytes(), where=path)
