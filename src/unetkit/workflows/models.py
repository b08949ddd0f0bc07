"""``models``: every network and every part that can be asked for, with what each costs."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from unetkit.errors import UnetkitError, UsageError
from unetkit.lookup import names
from unetkit.records.plan import Axes, NetworkPlan, Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved

if TYPE_CHECKING:
    from unetkit.planning.count import Count

PATCH = (512, 512)
PRESET = "preset"
_BATCH = 2
_SMALLEST_EDGE, _MOST_STAGES = 8, 7


class ModelRow(Saved):
    """A network or a part.

    Args:
        family: ``preset``, or the part's family.
        name: What ``--network`` takes.
        parameters: Weights that can be learned; of a part: of the plain U-Net that has it.
        multiply_adds: Of one patch, forward.
        memory_gb: Of a training step, GB.
        published: Parameters as published, 0 where nobody stated them or for other axes than the patch's.
        remark: Its paper, or why it was not counted.
    """

    family: str
    name: str
    parameters: int | None = None
    multiply_adds: int | None = None
    memory_gb: float | None = None
    published: int = 0
    remark: str = ""


class ModelsResult(Saved):
    """Everything that can be asked for.

    Args:
        patch: Pixels per axis everything is counted for.
        batch: Patches per step that the memory is counted for.
        channels: Input channels.
        classes: Output classes.
        rows: Presets, then parts.
    """

    patch: Axes
    batch: int
    channels: int
    classes: int
    rows: tuple[ModelRow, ...]


def models(
    *, patch: Axes = (), plan: str | Path | Plan | None = None, progress: Progress | None = None
) -> ModelsResult:
    """List every preset and every part with its parameters, multiply-adds and memory; nothing is computed.

    A part is counted in a plain U-Net for the patch, or in the plan's network, in place of its own.

    Args:
        patch: Pixels per axis; ``(512, 512)``, or the plan's.
        plan: Count at this plan's patch, batch, channels and classes.
        progress: Who watches.

    Raises:
        UsageError: The patch has neither 2 nor 3 positive numbers or other axes than the plan, or there is
            no such plan.
    """
    if plan is not None and not isinstance(plan, Plan):
        from unetkit.workflows.asked import saved_plan

        plan = saved_plan(Path(plan))
    size = patch or (plan.training.patch_size if plan else PATCH)
    _check(size, plan)
    bench = _Bench(size, plan)
    watch = progress or Quiet()
    wanted = bench.wanted()
    watch.begin("counting", len(wanted))
    rows = []
    for family, name in wanted:
        rows.append(bench.row(family, name))
        watch.advance(1, network=name)
    watch.end()
    return ModelsResult(
        patch=size, batch=bench.batch, channels=bench.channels, classes=bench.classes, rows=tuple(rows)
    )


class _Bench:
    """What everything is counted in and for."""

    def __init__(self, patch: Axes, plan: Plan | None) -> None:
        self.patch = patch
        self.batch = plan.training.batch_size if plan else _BATCH
        self.channels = plan.data.input_channels if plan else 1
        self.classes = len(plan.data.classes) if plan else 2
        self.network = plan.network if plan else _plain(patch)

    def wanted(self) -> list[tuple[str, str]]:
        """Family and name of everything there is."""
        from unetkit.networks.presets import PRESETS
        from unetkit.planning.named import FAMILIES

        parts = [(family, name) for family, table in FAMILIES.items() for name in names(family, table)]
        return [(PRESET, name) for name in PRESETS] + parts

    def row(self, family: str, name: str) -> ModelRow:
        """One network or part, counted; a part that asks for more than its name says so instead."""
        from unetkit.networks.presets import PRESETS
        from unetkit.planning.cost import step_bytes_counted
        from unetkit.planning.named import completed

        row = ModelRow(family=family, name=name)
        if family == PRESET:
            preset = PRESETS[name]
            same = preset.rank == len(self.patch)
            published = {"published": preset.parameters, "remark": preset.paper}
            other = {"remark": f"{preset.paper} (published for {preset.rank} axes)"}
            row = row.model_copy(update=published if same else other)
        try:
            if family == PRESET:
                found = self._count(PRESETS[name].plan(len(self.patch)))
            else:
                found = self._count(completed(self.network, {family: name}))
        except UnetkitError as wrong:
            return row.model_copy(update={"remark": f"{wrong.problem}; {wrong.cure}"})
        memory = step_bytes_counted(found.saved_bytes, found.parameters, self.batch)
        counted = {"parameters": found.parameters, "multiply_adds": found.multiply_adds}
        return row.model_copy(update=counted | {"memory_gb": round(memory / 1e9, 3)})

    def _count(self, network: NetworkPlan) -> Count:
        from unetkit.planning.count import count

        return count(
            network,
            rank=len(self.patch),
            in_channels=self.channels,
            classes=self.classes,
            patch=self.patch,
        )


def _plain(patch: Axes) -> NetworkPlan:
    """nnU-Net's plain U-Net for the patch, with one output."""
    from unetkit.planning.topology import network_for, topology

    shape = topology((1.0,) * len(patch), patch, smallest_edge=_SMALLEST_EDGE, most_stages=_MOST_STAGES)
    return network_for(shape).model_copy(update={"deep_supervision": 1})


def _check(patch: Axes, plan: Plan | None) -> None:
    axes = (plan.data.input_rank,) if plan else (2, 3)
    if len(patch) not in axes or min(patch) < 1:
        wanted = " or ".join(map(str, axes))
        raise UsageError(
            f"a patch of {wanted} positive numbers was expected, got {list(patch)}",
            cure="write it as 256,256 or 64,64,64" if plan is None else f"give {wanted} numbers, or none",
        )
    if plan is None and min(patch) < 2 * _SMALLEST_EDGE:
        raise UsageError(
            f"a patch of at least {2 * _SMALLEST_EDGE} pixels per axis was expected, got {list(patch)}",
            cure="give a larger patch: a U-Net halves it at least once",
        )
