"""Where the weights of a new network come from: chance, a trained model, or ImageNet."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import TYPE_CHECKING

from unetkit.errors import DataError, UsageError
from unetkit.networks.store import describe
from unetkit.records.files import sha256, write_text
from unetkit.records.matched import Matched
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.workflows.model_folder import trained_folder

if TYPE_CHECKING:
    from torch import Tensor

    from unetkit.networks.unet import UNet

IMAGENET = "ImageNet"


class Start(Saved):
    """``start.json`` of a run: what its weights started from.

    Args:
        source: A model folder, a file of weights, or ``ImageNet``.
        weights_sha256: Of the weights; empty for ImageNet.
        matched: What became of each tensor; None before the network was made.
    """

    version: int = 1
    source: str
    weights_sha256: str = ""
    matched: Matched | None = None


def asked_start(init: str | Path | None) -> Start | None:
    """The start that was asked for with ``--init``; the weights are not read into a network yet.

    Args:
        init: A model folder, a run that holds one, or a file of weights.

    Raises:
        UsageError: There is no model.
        DataError: The model is damaged.
    """
    if init is None:
        return None
    path = Path(init)
    if path.is_file():
        return Start(source=str(path), weights_sha256=sha256(path))
    folder = trained_folder(path)
    return Start(source=str(folder), weights_sha256=describe(folder).seal.weights_sha256)


def read_start(run: Run) -> Start | None:
    """What a run started from; None for chance."""
    return Start.from_json(run.start.read_bytes(), where=run.start) if run.start.is_file() else None


def refuse_other_start(run: Run, init: str | Path | None) -> None:
    """Refuse to go on with a run from other weights than it began with.

    Raises:
        UsageError: Another model was asked for.
    """
    if init is None:
        return
    asked, own = asked_start(init), read_start(run)
    if asked is None or own is None or asked.weights_sha256 != own.weights_sha256:
        raise UsageError(
            f"a resumed run keeps its start: --init {init} was asked for, the run began with "
            f"{own.source if own else 'random weights'}",
            cure="leave --init out, or train anew in another folder",
            where=run.folder,
        )


def start_network(
    network: UNet, plan: Plan, run: Run, *, images: Iterable[Tensor], resume: bool, progress: Progress
) -> None:
    """Give a new network its first weights, and write down which; a resume point's own weights win.

    Batch norms that had been folded away are moved to the statistics of ``images``: they answer as before,
    and training begins from what the weights know instead of from what a new normalisation makes of it.

    Args:
        network: Changed in place.
        plan: The plan.
        run: Its ``start.json`` says what was asked for, and afterwards what became of it.
        images: Batches ``(B, C, *S)`` as in training; looked at only where norms were folded away.
        resume: Whether the run goes on.
        progress: Told what was taken over.

    Raises:
        UsageError: The encoder has no ImageNet weights, or the network counts in eight bits and was never
            calibrated.
        DataError: The model has changed since it was named, is damaged, or nothing of it fits.
    """
    from unetkit.networks.pretrained import folded_norms, settle_norms, start_from, start_from_imagenet

    if resume and (run.checkpoints / "last.json").is_file():
        return
    start = read_start(run)
    if start is not None and start.weights_sha256:
        refuse_changed(start)
        report = start_from(network, Path(start.source), classes=plan.data.classes)
    elif plan.training.pretrained == "imagenet":
        report, start = start_from_imagenet(network), Start(source=IMAGENET)
    else:
        _refuse_unmeasured(network)
        return
    _refuse_unmeasured(network)
    write_text(run.start, start.model_copy(update={"matched": report}).to_json())
    progress.say(f"start: {report.sentence()}")
    if norms := folded_norms(network.encoder):  # pyright: ignore[reportArgumentType] - a module
        settle_norms(network.encoder, images, norms)  # pyright: ignore[reportArgumentType] - a module
        progress.say(f"start: {len(norms)} batch norms had been folded away and were settled on this data")


def _refuse_unmeasured(network: UNet) -> None:
    """Eight bits need to know how far values reach, which a new network does not."""
    if network.quantization is not None and not network.quantization.calibrated:
        raise UsageError(
            "a plan with network.quantization was asked for, and nothing has measured how far values reach",
            cure="train with network.quantization=none, then say unet compress MODEL DATA --int8 qat",
        )


def refuse_changed(start: Start) -> None:
    """Refuse weights that are no longer those the run was to start from.

    Args:
        start: As the run wrote it down.

    Raises:
        DataError: The weights have changed.
    """
    now = asked_start(start.source)
    if now is None or now.weights_sha256 != start.weights_sha256:
        raise DataError(
            "these weights are not those the run was to start from: they have changed since",
            cure="put them back, or train anew (--overwrite) from these",
            where=start.source,
        )
