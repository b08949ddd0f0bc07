"""A stage of a compression: widths are searched that meet a target, such as ``onnx cpu <20ms``."""

from __future__ import annotations

import re
import tempfile
from dataclasses import asdict, dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetkit.compression.sensitivity import Sensitivity, Tried, ordered_cuts, patch_dice, sensitivities
from unetkit.errors import GateError, UsageError, nearest
from unetkit.records.figures import per_cent
from unetkit.records.files import write_text
from unetkit.records.plan import NetworkPlan, Plan
from unetkit.records.saved import Saved
from unetkit.runtimes import RUNTIMES
from unetkit.workflows.deployed import ENGINES, engine
from unetkit.workflows.exported import file_runtime
from unetkit.workflows.pruning import cut_in_rounds, gradients, refuse_words
from unetkit.workflows.stages import Chain
from unetkit.workflows.train import TrainedRun

if TYPE_CHECKING:
    from collections.abc import Callable

    from torch import nn

    from unetkit.networks.unet import UNet

SEARCH = "search.json"
MARGIN = 0.05
"""Share of a time that is left free in the search: the same network takes another time a minute later."""
_SIZE = re.compile(r"size\s*<\s*(\d+(?:\.\d+)?)\s*([kKMG]?)B")
_TIME = re.compile(r"(\w+)\s+([\w:]+)\s*<\s*(\d+(?:\.\d+)?)\s*ms")
_UNITS = {"": 1, "k": 1e3, "K": 1e3, "M": 1e6, "G": 1e9}
_EXAMPLES = "write 'onnx cpu <20ms' (one tile) or 'size<4MB' (the weights), for example"


@dataclass(frozen=True)
class Target:
    """What a model is to cost at most.

    Args:
        below: Milliseconds of one tile; or bytes of the weights, where there is no runtime.
        runtime: A name of ``RUNTIMES``; empty for a size.
        device: Where it runs.
    """

    below: float
    runtime: str = ""
    device: str = ""

    def shown(self, value: float) -> str:
        """A value with its unit."""
        return f"{value / self._one:.3g} {self._unit}"

    def tried(self, network: NetworkPlan, value: float, dice: float) -> Tried:
        """A row of the table of what was tried.

        Args:
            network: The widths.
            value: What they cost.
            dice: What is left of the Dice before any training.
        """
        return Tried(
            widths=network.widths,
            decoder_widths=network.decoder_widths,
            value=value / self._one,
            unit=self._unit,
            dice=dice,
        )

    @property
    def _unit(self) -> str:
        return "ms" if self.runtime else "MB"

    @property
    def _one(self) -> float:
        return 1.0 if self.runtime else 1e6

    def cost(self, plan: Plan, network: NetworkPlan) -> float:
        """What grows with the time or the size, counted: tells which cuts save most.

        Args:
            plan: Data and tile.
            network: Of which network.
        """
        from unetkit.planning.count import count

        data = plan.data
        found = count(
            network,
            rank=data.input_rank,
            in_channels=data.input_channels,
            classes=len(data.classes),
            patch=plan.inference.tile_size,
        )
        return float(found.lane_multiply_adds if self.runtime else found.parameters)

    def measure(self, network: UNet, plan: Plan) -> float:
        """The time of one tile on the runtime, ms, or the size of the weights, bytes.

        Args:
            network: In evaluation mode, on the CPU; in eight bits, what is weighed is the exported network.
            plan: Its plan.

        Raises:
            MissingPackageError: What the runtime needs is not installed.
        """
        from unetkit.compression.parity import seconds_per_tile
        from unetkit.lookup import pick
        from unetkit.runtimes.devices import Layout, keep_memory, pick_device, use_threads

        if not self.runtime and network.quantization is None:
            import safetensors.torch

            return float(len(safetensors.torch.save(network.state_dict())))
        keep_memory()
        use_threads()
        row = pick("runtime", RUNTIMES, self.runtime or engine())
        if hasattr(row, "export"):
            with tempfile.TemporaryDirectory() as folder:
                row.export(network, plan, Path(folder))
                files = {name: (Path(folder) / name).read_bytes() for name in row.FILES}
            if not self.runtime:
                return float(sum(map(len, files.values())))
            runtime = row.load(files)
        else:
            runtime = row(network, pick_device(self.device), Layout())
        shape = (plan.data.input_channels, *plan.inference.tile_size)
        return 1000 * seconds_per_tile([runtime], shape)[0]


def read_target(text: str) -> Target:
    """A target from the words of a command.

    Args:
        text: ``RUNTIME DEVICE <N ms``, or ``size<N MB``.

    Raises:
        UsageError: It is of another form, there is no such runtime, or that does not run there.

    Example:
        >>> read_target("onnx cpu <20ms")
        Target(below=20.0, runtime='onnx', device='cpu')
        >>> read_target("size<4MB").below
        4000000.0
    """
    if size := _SIZE.fullmatch(text.strip()):
        target = Target(float(size[1]) * _UNITS[size[2]])
    elif time := _TIME.fullmatch(text.strip()):
        target = Target(float(time[3]), time[1], time[2])
    else:
        raise UsageError(f"'{text}' is no target", cure=_EXAMPLES)
    if not target.below > 0:
        raise UsageError(f"expected a target above 0, got '{text}'", cure=_EXAMPLES)
    if target.runtime and target.runtime not in RUNTIMES:
        raise UsageError(f"there is no runtime '{target.runtime}'", cure=nearest(target.runtime, RUNTIMES))
    device = "" if target.runtime in ("", "pytorch") else file_runtime(target.runtime).DEVICE
    if device and target.device != device:
        raise UsageError(
            f"the runtime '{target.runtime}' runs on '{device}', '{target.device}' was asked for",
            cure=f"write '{target.runtime} {device} <{target.below:g}ms'",
        )
    return target


class Search(Saved):
    """``search.json`` of a work folder: which widths were chosen, so that a second call does not choose anew.

    Args:
        whole: What the model costs as it is.
        reached: What the chosen widths cost before training.
        plans: What is left after each round.
        rows: How much each stage matters.
        tried: The widths that were looked at, the whole network first.
    """

    version: int = 1
    whole: float
    reached: float
    plans: tuple[NetworkPlan, ...]
    rows: tuple[Sensitivity, ...]
    tried: tuple[Tried, ...] = ()


@dataclass(frozen=True)
class Targeting:
    """Cut the stages that lose least for what they save, until a target is met.

    Args:
        target: As ``read_target`` reads it.
        importance: Which channels of a stage go first: a name of ``compression.importance.IMPORTANCES``.
        rounds: In how many rounds, each followed by training.
        int8: Whether it counts in eight bits at last: that network is what has to meet the target then.

    Raises:
        UsageError: The target or the number of rounds is none, there is no such importance, or eight bits are
            to be timed in a runtime that only plays them through.
    """

    target: str
    importance: str = "l1"
    rounds: int = 1
    int8: bool = False

    def __post_init__(self) -> None:
        refuse_words(self.importance, self.rounds)
        if read_target(self.target).runtime == "pytorch" and self.int8:
            raise UsageError(
                f"'{self.target}' was asked for in eight bits, which pytorch does not count in",
                cure=f"name an engine: {', '.join(ENGINES)}",
            )

    @property
    def words(self) -> str:
        """What it does."""
        return f"cut to {self.target}"

    @property
    def asked(self) -> dict[str, Any]:
        """Every argument."""
        return asdict(self)

    @property
    def trainings(self) -> int:
        """One in each round."""
        return self.rounds

    @property
    def runtime(self) -> str:
        """The runtime that a time was asked for in; empty for a size."""
        return self._read.runtime

    @cached_property
    def _read(self) -> Target:
        return read_target(self.target)

    def planned(self, plan: Plan) -> Plan:
        """Nothing can be said without the data.

        Raises:
            UsageError: Always.
        """
        raise UsageError(
            "which widths meet a target shows on training images, so that there is no preview of it",
            cure="leave --dry-run or --target out",
        )

    def work(self, chain: Chain, model: Path) -> TrainedRun | None:
        """Search widths, cut and train; what is finished already is kept.

        Args:
            chain: What all stages work with.
            model: Folder of the model that is cut.

        Returns:
            The last training; None where the target is met without cutting.

        Raises:
            UsageError: The model meets the target as it is, and nothing else is to be done.
            GateError: No widths meet it.
            PreemptedError: It was asked to stop.
        """
        from unetkit.networks.store import load_model

        note = chain.folder / SEARCH
        if not note.is_file():
            write_text(note, self._search(chain, model).to_json())
        found = Search.from_json(note.read_bytes(), where=note)
        target = self._read
        if not found.plans:
            how = "in eight bits" if self.int8 else "already"
            chain.progress.say(f"{self.target}: met {how}, {target.shown(found.whole)}; nothing is cut")
            return None
        goals = [(f"cut for {self.target}", plan) for plan in found.plans]
        run = cut_in_rounds(chain, model, goals, importance=self.importance)
        value = self._cost(chain, *load_model(run.run.model))
        chain.progress.say(f"{self.target}: {target.shown(value)}, it was {target.shown(found.whole)}")
        if value >= target.below:
            raise GateError(
                f"expected {self.target}, got {target.shown(value)} after training (the search had "
                f"{target.shown(found.reached)}); nothing was published",
                cure="run it on a machine that does nothing else, or ask for a little less",
                where=chain.folder,
            )
        return run

    def _search(self, chain: Chain, model: Path) -> Search:
        """The mildest cut that meets the target, and plans on the way there."""
        from unetkit.networks.store import load_model
        from unetkit.networks.unet import build

        network, plan = load_model(model)
        target, data = self._read, plan.data
        bound = target.below * (1 - MARGIN if target.runtime else 1)

        def cost(goal: NetworkPlan) -> float:
            made = build(
                goal, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes)
            )
            return self._cost(chain, made.eval(), plan.model_copy(update={"network": goal}))

        whole = cost(network.plan)
        if whole < bound:
            if not chain.done and not self.int8:
                raise UsageError(
                    f"the model meets '{self.target}' as it is: {target.shown(whole)}",
                    cure="ask for less, or leave --target out",
                )
            return Search(whole=whole, reached=whole, plans=(), rows=())
        plans, rows, dice_of = self._ordered(chain, network, plan)
        tried = [target.tried(network.plan, whole, dice_of(network.plan))]

        def look(goal: NetworkPlan) -> float:
            value = cost(goal)
            tried.append(target.tried(goal, value, dice_of(goal)))
            return value

        reached = look(plans[-1]) if plans else whole
        if reached >= bound:
            narrowest = list((plans[-1] if plans else plan.network).widths)
            raise GateError(
                f"expected {self.target}, got {target.shown(reached)} with the narrowest stages {narrowest}, "
                f"from {target.shown(whole)}; nothing was trained",
                cure=f"teach a smaller network first (--distill){self._bits}, or ask for less",
                where=chain.folder,
            )
        low, high = 0, len(plans) - 1
        while low < high:  # the first that is below
            middle = (low + high) // 2
            value = look(plans[middle])
            chain.progress.say(f"widths {list(plans[middle].widths)}: {target.shown(value)}")
            if value < bound:
                high, reached = middle, value
            else:
                low = middle + 1
        steps = sorted({-(-(low + 1) * number // self.rounds) - 1 for number in range(1, self.rounds + 1)})
        chosen = tuple(plans[step] for step in steps)
        return Search(whole=whole, reached=reached, plans=chosen, rows=rows, tried=tuple(tried))

    def _cost(self, chain: Chain, network: UNet, plan: Plan) -> float:
        """What the target is about; of a network that is to count in eight bits, in eight bits."""
        if self.int8:
            import torch

            from unetkit.compression.quantize import quantized

            images = [batch.pixels for batch in chain.batches(torch.device("cpu"), 1)]
            network = quantized(network, images)
            plan = plan.model_copy(update={"network": network.plan})
        return self._read.measure(network, plan)

    @property
    def _bits(self) -> str:
        """What else makes a network cheaper, in words."""
        return "" if self.int8 or self._read.runtime == "pytorch" else ", count in eight bits (--int8)"

    def _ordered(
        self, chain: Chain, network: UNet, plan: Plan
    ) -> tuple[tuple[NetworkPlan, ...], tuple[Sensitivity, ...], Callable[[NetworkPlan], float]]:
        """Plans with ever less cost, told by what each stage's cut loses on training patches.

        The last is the Dice there of the network cut to a plan.
        """
        from unetkit.compression.channels import trace
        from unetkit.compression.importance import importance
        from unetkit.compression.prune import cut_to
        from unetkit.runtimes.devices import Layout, pick_device

        device, layout = pick_device(chain.device), Layout()
        batches = chain.batches(device)
        slopes = gradients(chain, network, plan, self.importance)
        scores = importance(trace(network), network.state_dict(), self.importance, slopes)

        def judge(each: nn.Module) -> float:
            found = patch_dice(each.to(device), batches, layout)
            chain.progress.advance(1)
            return found

        chain.progress.begin("Cutting each stage alone")
        rows = sensitivities(network.cpu(), judge, lambda goal: self._read.cost(plan, goal), by=scores)
        chain.progress.end()
        for row in rows:
            chain.progress.say(
                f"stage {row.stage}, {per_cent(row.share, digits=0)} cut: {row.loss:+.2f} points of Dice lost"
            )

        def dice_of(goal: NetworkPlan) -> float:
            each = network if goal == network.plan else cut_to(network.cpu(), goal, by=scores)
            return patch_dice(each.to(device), batches, layout)

        return ordered_cuts(network.cpu(), rows), rows, dice_of
