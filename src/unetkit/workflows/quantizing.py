"""A stage of a compression: a model counts in eight bits, by calibration, or trained to do so."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetkit.errors import PreemptedError, UsageError
from unetkit.networks.store import read_plan
from unetkit.records.plan import Plan
from unetkit.records.run import Run
from unetkit.workflows.deployed import engine
from unetkit.workflows.stages import Chain
from unetkit.workflows.train import TrainedRun, Wishes, reopen

if TYPE_CHECKING:
    import torch

    from unetkit.networks.unet import UNet
    from unetkit.workflows.fitting import Trained
    from unetkit.workflows.readying import Ready

WAYS = ("ptq", "qat")
"""By calibration on training cases alone (post-training quantisation), or trained on from there."""
RATE_SHARE = 0.1
"""Learning rate of a training in eight bits, as a share of the plan's: what is there is to be kept."""


@dataclass(frozen=True)
class Quantizing:
    """Make a model count in eight bits.

    Args:
        way: ``ptq`` or ``qat``.
        whole: Whether nothing at all may stay in floating point.

    Raises:
        UsageError: There is no such way.
    """

    way: str
    whole: bool = False

    def __post_init__(self) -> None:
        if self.way not in WAYS:
            raise UsageError(
                f"'{self.way}' is no way to eight bits",
                cure="say --int8 ptq (calibrated, no training) or --int8 qat (trained in eight bits)",
            )

    @property
    def words(self) -> str:
        """What it does."""
        return f"in eight bits ({self.way})"

    @property
    def asked(self) -> dict[str, Any]:
        """Every argument."""
        return asdict(self)

    @property
    def trainings(self) -> int:
        """One, or none."""
        return int(self.way == "qat")

    def planned(self, plan: Plan) -> Plan:
        """The plan of the model in eight bits.

        Args:
            plan: Of the one in floating point.

        Raises:
            UsageError: It is in eight bits already, or something would have to stay in floating point.
        """
        import torch

        from unetkit.compression.quantize import eight_bits
        from unetkit.networks.unet import build

        network, data = eight_bits(plan.network, whole=self.whole), plan.data
        with torch.device("meta"):  # what cannot be done so is refused here
            build(network, rank=data.input_rank, in_channels=data.input_channels, classes=len(data.classes))
        changes = {"training.precision": "float32"}
        made = plan.with_values(changes, reason="Steps of eight bits are lost in bfloat16.")
        reasons = {**made.reasons, "network.quantization": "Asked for: convolutions count in eight bits."}
        return made.model_copy(update={"network": network, "reasons": reasons})

    def work(self, chain: Chain, model: Path) -> TrainedRun:
        """Calibrate, and train where that was asked for.

        Args:
            chain: What all stages work with.
            model: Folder of the model in floating point.

        Raises:
            UsageError: It cannot be done to this model.
            MissingPackageError: No engine is installed that it could be measured in.
            PreemptedError: It was asked to stop.
        """
        engine()  # what none is installed for is known before anything is computed
        plan = self.planned(read_plan(model))
        run = chain.done["ptq"] = calibrated_run(chain, model, plan, whole=self.whole)
        if self.way == "ptq":
            return run
        rate = plan.training.learning_rate * RATE_SHARE
        slower = run.plan.with_values(
            {"training.learning_rate": str(rate)}, reason="A tenth: the model has learned already."
        )
        return chain.train("qat", slower, init=run.run.model)


def calibrated_run(chain: Chain, model: Path, plan: Plan, *, whole: bool) -> TrainedRun:
    """A run in which nothing was trained: the model was calibrated on training cases, and is measured.

    Args:
        chain: What all stages work with.
        model: Folder of the model in floating point.
        plan: Of the model in eight bits.
        whole: Whether nothing at all may stay in floating point.

    Raises:
        UsageError: It cannot be done to this model.
        PreemptedError: It was asked to stop.
    """
    from unetkit.training.signals import Preemptible
    from unetkit.workflows.measuring import finish
    from unetkit.workflows.readying import make_ready
    from unetkit.workflows.run_folder import RunLog, open_run

    folder = chain.folder / "ptq"
    if (finished := reopen(Run(folder))) is not None:
        return finished
    wishes = Wishes(
        plan=plan, init=model, changes=chain.changes, device=chain.device, resume=True, cache=chain.cache
    )
    try:
        with (
            Preemptible(folder, cure="run the same command again") as preemptible,
            open_run(folder, resume=True, overwrite=False) as run,
            RunLog(run, chain.source),
        ):
            ready = make_ready(chain.source, run, wishes, progress=chain.progress)
            preemptible.check()
            trained = _calibrated(chain, model, ready, whole=whole)
            preemptible.check()
            scores = finish(trained, progress=chain.progress)
    except PreemptedError as stopped:
        raise type(stopped)(
            stopped.problem, cure="run the same command again to go on", where=chain.folder
        ) from stopped
    return TrainedRun(run, trained.ready.plan, scores)


def _calibrated(chain: Chain, model: Path, ready: Ready, *, whole: bool) -> Trained:
    from unetkit.compression.quantize import quantized
    from unetkit.networks.store import load_model
    from unetkit.runtimes.devices import Layout, keep_memory, pick_device, use_threads
    from unetkit.training.loop import Outcome
    from unetkit.workflows.fitting import Trained

    keep_memory()
    use_threads()
    device, layout = pick_device(chain.device), Layout()
    network, _ = load_model(model)
    images = [batch.pixels.cpu() for batch in chain.batches(device)]
    chain.progress.say(f"calibrating on {sum(map(len, images))} patches of training cases")
    made = quantized(network, images, whole=whole)
    chain.progress.say(what_is_integer(made))
    layout.place(made, device)
    return Trained(ready, made, device, layout, Outcome(0, None, 0.0, "calibrated"))


def what_is_integer(network: UNet) -> str:
    """Which operations count in whole numbers and which do not, in a sentence.

    Args:
        network: In eight bits.
    """
    assert network.quantization is not None
    placement = network.quantization.placement
    words = ", ".join(f"{count} × {name}" for name, count in placement.islands.items())
    islands = f"; in floating point between them: {words}" if words else "; nothing else is left"
    return f"{len(placement.convolutions)} convolutions in eight bits{islands}"


def stored_bytes(network: UNet) -> int:
    """Bytes of the weights, where a kernel that is rounded takes one byte per weight and the rest four.

    Args:
        network: In eight bits, or not.
    """
    small: set[torch.Tensor] = set()
    if network.quantization is not None:
        modules = map(network.get_submodule, network.quantization.placement.convolutions)
        small = {module.weight for module in modules}  # pyright: ignore[reportAssignmentType]
    return sum(weight.numel() * (1 if weight in small else 4) for weight in network.parameters())
