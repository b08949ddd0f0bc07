"""``export``: a model as a file for another runtime, published only after both were found to answer alike."""

from __future__ import annotations

import hashlib
import math
import platform
from collections.abc import Mapping, Sequence
from dataclasses import replace
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import TYPE_CHECKING, TypedDict, Unpack

from unetkit.errors import GateError, MissingPackageError, ResourceError, UsageError, nearest
from unetkit.networks.card import model_card
from unetkit.networks.store import CARD, SCORES, Description, describe, load_model
from unetkit.records.case import Case
from unetkit.records.exported import Exported, Parity
from unetkit.records.files import atomic_folder, write_text
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.records.seen import SEEN
from unetkit.runtimes import FileRuntime, Runtime
from unetkit.workflows.calibrating import calibrated
from unetkit.workflows.ends import Normalised, intensities_in, plan_with_ends
from unetkit.workflows.exported import PLAN, RECORD, file_runtime
from unetkit.workflows.model import changed_inference
from unetkit.workflows.model_folder import is_exported, trained_folder
from unetkit.workflows.parity import compare, some_cases
from unetkit.workflows.seen import copy_seen

if TYPE_CHECKING:
    from unetkit.networks.unet import UNet

SIZE_RULE = (
    "any size from 1 pixel per axis, without padding; a multiple of the stride costs no cropping inside"
)


class ExportResult(Saved):
    """What ``export`` did.

    Args:
        model: The model folder.
        out: The exported folder.
        runtime: What runs it.
        record: Its ``model.json``; None with ``dry_run``.
        planned: With ``dry_run``: the files that would be written.
    """

    model: Path
    out: Path
    runtime: str
    record: Exported | None = None
    planned: tuple[Path, ...] = ()


class ExportSettings(TypedDict, total=False):
    """What the exported network is.

    Args:
        int8: A data set, a folder of images or an image to calibrate on, at most 8 images of it: the exported
            network counts in eight bits, but for convolutions without which a class would lose more than half
            a point of Dice on the labelled ones.
        uint8: The network takes the files' own bytes and normalises them itself, where the normalisation is
            the same for every image.
        classes: It answers class ids, not logits. Overlapping tiles and mirrored images then vote.
        changes: Other values of the plan's inference, and ``network.prune_level``, as ``predict`` takes them.
            The scores of the model are not those of what is exported then, and stay behind.
    """

    int8: str | Path | None
    uint8: bool
    classes: bool
    changes: Mapping[str, str]


def export(
    model: str | Path,
    to: str,
    out: str | Path,
    *,
    data: str | Path | None = None,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    **settings: Unpack[ExportSettings],
) -> ExportResult:
    """Write a model as a folder that predicts without torch, and prove that it answers as before.

    The reference is the model in torch, in float32. The folder appears by one rename, after the comparison.

    Args:
        model: A model folder, or a run that holds one.
        to: ``onnx``, ``openvino`` or ``tensorrt``.
        out: The folder to make; ``unet predict`` takes it as a model.
        data: A data set, a folder of images or an image to compare on, at most 8 images of it; generated
            tiles are compared in any case.
        overwrite: Replace an exported model that is there.
        dry_run: Write nothing; say what would be written.
        progress: Who watches.
        settings: See ``ExportSettings``.

    Raises:
        UsageError: There is no such runtime or no model, ``out`` is taken, or the network cannot be exported
            so.
        MissingPackageError: What the runtime needs is not installed.
        DataError: The model is damaged, or an image is refused.
        GateError: Both do not answer alike; nothing was published.
        ResourceError: The disk is full or cannot be written.
    """
    _refuse_unknown(settings)
    runtime = file_runtime(to)
    place, target = trained_folder(model), Path(out)
    whole = describe(place)
    found = _changed(whole, settings.get("changes") or {})
    _refuse_taken(target, overwrite)
    uint8, classes = settings.get("uint8", False), settings.get("classes", False)
    plan_with_ends(found.plan, uint8=uint8, classes=classes)  # before any work
    int8 = settings.get("int8")
    kept = [SCORES] * (found.scores is not None) + [SEEN] * (place / SEEN).is_file()
    names = (*runtime.FILES, PLAN, *kept, CARD, RECORD)
    if dry_run:
        planned = tuple(target / name for name in names)
        return ExportResult(model=place, out=target, runtime=to, planned=planned)
    source = int8 if data is None else data
    cases = some_cases(Path(source), target, found.plan) if source is not None else []
    changes = {"inference.runtime": to, **runtime.CHANGES}
    plan = found.plan.with_values(changes, reason=f"exported for {to}")
    level = found.plan.network.prune_level if found.plan.network != whole.plan.network else 0
    network, facts = load_model(place, prune_level=level)[0], {**found.seal.facts, "exported for": to}
    if int8 is not None:
        seen = some_cases(Path(int8), target, found.plan)
        network, plan, more = calibrated(
            network, plan, seen, progress=progress or Quiet(), symmetric=runtime.SYMMETRIC
        )
        facts |= more
    plan = plan_with_ends(plan, uint8=uint8, classes=classes)
    with atomic_folder(target) as part:
        (part / PLAN).write_text(plan.to_json(), encoding="utf-8")
        parity, counted, halo = _write_network(
            network, runtime, plan, part, cases=cases, size=found.weight_bytes, progress=progress
        )
        if faults := parity.faults():
            raise GateError(
                "the exported network does not answer as the model: " + "; ".join(faults),
                cure="predict with the model folder itself; nothing was published",
                where=target,
            )
        if found.scores is not None:
            write_text(part / SCORES, found.scores.to_json())
        copy_seen(place, part)
        write_text(part / CARD, model_card(plan, found.scores, facts))
        more = {"convolutions": counted, "facts": facts, "halo": halo}
        record = _record(found, plan, part, runtime, parity).model_copy(update=more)
        write_text(part / RECORD, record.to_json())
    return ExportResult(model=place, out=target, runtime=to, record=record)


def _changed(found: Description, changes: Mapping[str, str]) -> Description:
    """What is exported, where values were set by hand: it was never measured."""
    if not changes:
        return found
    return replace(found, plan=changed_inference(found.plan, changes), scores=None)


def _refuse_unknown(settings: Mapping[str, object]) -> None:
    for name in settings:
        if name not in (known := ExportSettings.__optional_keys__):
            raise UsageError(f"export has no option '{name}'", cure=nearest(name, known))


def _refuse_taken(target: Path, overwrite: bool) -> None:
    """Only an exported model is ever replaced, and only when that is asked for."""
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    if is_exported(target):
        if overwrite:
            return
        cure = "say --overwrite to replace it, or choose another folder for --out"
        raise UsageError("there is an exported model already", cure=cure, where=target)
    raise UsageError(
        "expected a new or empty folder, got something else that is not an exported model",
        cure="choose another folder for --out",
        where=target,
    )


def _write_network(
    network: UNet,
    runtime: type[FileRuntime],
    plan: Plan,
    part: Path,
    *,
    cases: Sequence[Case],
    size: int,
    progress: Progress | None,
) -> tuple[Parity, dict[str, int], tuple[int, ...] | None]:
    """Write the network's files, read them back as a user would, and compare.

    Returns:
        How they compare, how many convolutions are integer, and how far the network sees.
    """
    import torch

    from unetkit.inference.exact import halos
    from unetkit.networks.ends import with_ends
    from unetkit.runtimes.devices import Layout, keep_memory, use_threads
    from unetkit.runtimes.pytorch import PytorchRuntime

    watch, intensity = progress or Quiet(), intensities_in(plan)
    keep_memory()
    use_threads()
    watch.begin(f"writing {runtime.FILES[0]}")
    runtime.export(with_ends(network, plan.inference, intensity), plan, part)
    watch.end()
    files = {name: (part / name).read_bytes() for name in runtime.FILES}
    counted = {} if network.quantization is None else _counted(network, runtime, files, watch)
    before = PytorchRuntime(network, torch.device("cpu"), Layout())
    after, stand_in = _ready(runtime, files, watch)
    parity = compare(
        Normalised(before, intensity) if intensity else before,
        after,
        plan,
        cases,
        sizes=(size, sum(map(len, files.values()))),
        progress=watch,
        precision=runtime.PRECISION,
        stand_in=stand_in,
    )
    halo = None
    if plan.network.norm == "batch":  # the others take in the whole image
        watch.begin("how far the network sees")
        halo = halos(before.run, channels=plan.data.input_channels, rank=plan.data.input_rank)
        watch.end()
    return parity, counted, halo


def _ready(runtime: type[FileRuntime], files: Mapping[str, bytes], progress: Progress) -> tuple[Runtime, str]:
    """What runs the files here; and what that is, where it is not the runtime itself but stands in for it."""
    try:
        return runtime.load(files), ""
    except (MissingPackageError, ResourceError) as wrong:
        if (stand_in := getattr(runtime, "stand_in", None)) is None:
            raise
        after, words = stand_in(files)
        progress.say(f"{wrong.problem}: compared in {words}; neither the engine nor its speed is tested")
        return after, words


def _counted(
    network: UNet, runtime: type[FileRuntime], files: Mapping[str, bytes], progress: Progress
) -> dict[str, int]:
    """How many convolutions are integer in the engine's own graph, which all that are rounded should be."""
    assert network.quantization is not None  # asked for such networks alone
    wanted, found = len(network.quantization.in_use(network)), runtime.convolutions(files)
    if found["integer"] < wanted:
        progress.say(
            f"warning: of {wanted} convolutions in eight bits the engine computes {found['integer']} as "
            "integers on this machine and the others, rightly but slowly, in floating point"
        )
    return found


def _record(
    found: Description, plan: Plan, part: Path, runtime: type[FileRuntime], parity: Parity
) -> Exported:
    from unetkit.planning.count import count_tile

    data, axes = plan.data, "B, {}, " + ", ".join(f"S{axis}" for axis in range(plan.data.input_rank))
    scores, counted = found.scores, count_tile(plan)
    return Exported(
        runtime=plan.inference.runtime,
        files={
            name: hashlib.sha256((part / name).read_bytes()).hexdigest() for name in (*runtime.FILES, PLAN)
        },
        weights_sha256=found.seal.weights_sha256,
        parameters=counted.parameters if plan.network.prune_level else found.seal.parameters,
        multiply_adds=counted.multiply_adds,
        elements=counted.elements,
        channels=data.channels,
        classes=data.classes,
        label_values=data.label_values,
        image=f"({axes.format(data.input_channels)}) "
        + (
            "uint8, as in the files; the network normalises"
            if plan.inference.network_input == "uint8"
            else "float32, normalised and resampled as plan.json says"
        )
        + f", seen {data.sight}",
        logits=f"({axes.replace(' {},', '')}) class ids"
        if plan.inference.network_output == "classes"
        else f"({axes.format(len(data.classes))}) float32",
        stride=tuple(math.prod(steps) for steps in zip(*plan.network.strides, strict=True)),
        size_rule=SIZE_RULE,
        tile_size=plan.inference.tile_size,
        overlap_fraction=plan.inference.overlap_fraction,
        packages=_versions(runtime),
        facts=found.seal.facts,
        dice={name: row["dice"].mean for name, row in scores.summary.items() if "dice" in row}
        if scores
        else {},
        measured_on=scores.split if scores else "",
        parity=parity,
        float_layers=plan.network.float_layers,
    )


def _versions(runtime: type[FileRuntime]) -> dict[str, str]:
    found = {"python": platform.python_version()}
    for name in ("unetkit", *runtime.PACKAGES):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            found[name] = "unknown"
    return found
