"""A trained model in the hand: load it, predict with it, save what it says."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np

from unetkit.data.formats import DICOM, WindowedFormat, format_of, kind_of, stem_of
from unetkit.data.formats.checks import smallest_unsigned
from unetkit.data.labels import raw_values
from unetkit.errors import UsageError
from unetkit.inference.ensemble import Ensemble
from unetkit.inference.predict import Predictor
from unetkit.lookup import pick
from unetkit.networks.store import WEIGHTS, read_plan
from unetkit.records.plan import Plan
from unetkit.records.prediction import Prediction
from unetkit.runtimes import RUNTIMES
from unetkit.workflows.ensemble_folder import Ready, read_ensemble
from unetkit.workflows.exported import open_exported, read_exported
from unetkit.workflows.model_folder import is_ensemble, is_exported, model_folder, several

if TYPE_CHECKING:
    import torch

    from unetkit.networks.unet import UNet
    from unetkit.runtimes.devices import Layout

DEVICE, PRECISION, MEMORY_FORMAT = "device", "precision", "memory format"
"""Facts of a saved model: how it computed when it was measured."""
_MADE = ("inference.runtime", "inference.network_input", "inference.network_output")
"""Values of a plan's inference that are part of what was made."""
_LEVEL = "network.prune_level"
"""The one value of a trained network that can still change: how many levels of a nested decoder answer."""
KEPT_SHARE = 0.25
"""Share of the free memory up to which the weights of an ensemble's members stay loaded, all of them."""


class Model:
    """A model and the predictor that runs it.

    Args:
        folder: The model folder.
        plan: Its plan.
        predictor: What turns pixels into labels: one network, or several together.
        device: Where it computes.
    """

    def __init__(self, folder: Path, plan: Plan, predictor: Predictor | Ensemble, device: str) -> None:
        self.folder = folder
        self.plan = plan
        self.predictor = predictor
        self.device = device

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, background first; a class's id is its place."""
        return self.plan.data.classes

    @property
    def sole(self) -> Predictor:
        """The predictor, where the model is a single network.

        Raises:
            UsageError: It is an ensemble.
        """
        if isinstance(self.predictor, Ensemble):
            raise several(self.folder)
        return self.predictor

    def predict(
        self, source: str | Path | np.ndarray, *, tta: bool = False, probabilities: bool = False
    ) -> Prediction:
        """Predict one image.

        Args:
            source: An image file, or pixels ``(C, *S)`` (``(*S)`` for one channel).
            tta: Average over mirrored images: slower, often a little better.
            probabilities: Keep the class probabilities as well.

        Returns:
            Class ids on the image's own grid; ``np.asarray`` of it is the array.
        """
        if isinstance(source, str | Path):
            path = Path(source)
            return self.predictor.file((path,), stem_of(path), mirror=tta, probabilities=probabilities)
        return self.predictor.array(source, mirror=tta, probabilities=probabilities)

    def save(self, prediction: Prediction, path: str | Path, *, source: str | Path | None = None) -> Path:
        """Write labels in the data set's own values, losslessly, atomically.

        A DICOM segmentation has class n as segment n and refers to ``source``.

        Args:
            prediction: What ``predict`` returned.
            path: The file; its suffix decides the format (``.png``, ``.tif``, ``.nii.gz``, ``.dcm`` …).
            source: The image that was predicted; a DICOM segmentation needs it, others do not.
        """
        target = Path(path)
        if source is not None and kind_of(target) == DICOM and kind_of(Path(source)) == DICOM:
            from unetkit.data.formats.dicom import write_labels

            write_labels(target, prediction.labels, source=Path(source), names=self.classes[1:])
            return target
        kind, values = format_of(target), raw_values(prediction.labels, self.plan.data)
        levels = self.plan.inference.pyramid_levels
        if levels and isinstance(kind, WindowedFormat):
            values = smallest_unsigned(values, target)
            kind.write_rows(
                target, [values], shape=values.shape, dtype=values.dtype, grid=prediction.grid, levels=levels
            )
        else:
            kind.write(target, values, prediction.grid)
        return target

    def with_values(self, changes: Mapping[str, str]) -> Model:
        """The same network with other values of the plan's inference, or every network of an ensemble.

        Args:
            changes: As ``changed_inference`` takes them.

        Raises:
            UsageError: A key is unknown, a value does not fit or can change no more, or a first look or a
                level was asked of several networks.
        """
        plan = changed_inference(self.plan, changes)
        keys = {key.removeprefix("inference.") for key in changes}
        if not isinstance(self.predictor, Ensemble):
            predictor = _at_level(self.predictor, self.plan, plan).with_inference(plan.inference)
        elif _LEVEL in keys or any(key.startswith("screen_") for key in keys):  # those of one network
            raise several(self.folder)
        else:
            members = [
                member.changed(plan.inference, keys) if isinstance(member, Ready) else member
                for member in self.predictor.members
            ]
            predictor = Ensemble(members, plan.data, plan.inference)
        return Model(self.folder, plan, predictor, self.device)


def load(folder: str | Path, *, device: str = "auto") -> Model:
    """Load a model: trained, exported (without torch), or an ensemble.

    On the kind of device it was trained on it computes in the number type and memory order of its training,
    in every call alike; elsewhere the fastest is measured.

    Args:
        folder: A model folder, a run that holds one, or what ``unet export`` or ``unet ensemble`` wrote.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …

    Returns:
        The model, ready to predict.

    Raises:
        UsageError: There is no model in the folder, or its plan names a runtime that needs an export.
        MissingPackageError: The exported model's runtime is not installed.
        DataError: The weights are not those the folder was written with.
    """
    place = model_folder(folder)
    if is_exported(place):
        runtime, plan = open_exported(place, device=device)
        predictor = Predictor(runtime, plan.data, plan.preparation, plan.inference)
        return Model(place, plan, predictor, f"{runtime.DEVICE} ({plan.inference.runtime})")
    if is_ensemble(place):
        file, plan = read_ensemble(place)
        return load_average([place / member.folder for member in file.members], plan, place, device=device)
    return _load_trained(place, device)


def changed_inference(plan: Plan, changes: Mapping[str, str]) -> Plan:
    """A plan with other values of its inference, or with fewer levels of a nested network.

    Args:
        plan: The plan of a model.
        changes: Such as ``{"inference.overlap_fraction": "0.25"}``; ``network.prune_level`` where the model
            is a trained one whose decoder is nested (``unetpp``).

    Raises:
        UsageError: A key is unknown, a value does not fit, or it is none that can change any more.
    """
    may = (_LEVEL,) if plan.inference.runtime == "pytorch" else ()
    odd = [key for key in changes if key not in may and (not key.startswith("inference.") or key in _MADE)]
    if odd:
        raise UsageError(
            f"'{odd[0]}' was decided when the model was made",
            cure="set values of the inference, such as inference.overlap_fraction",
        )
    made = plan.with_values(changes)
    if _LEVEL in changes:
        from unetkit.networks.prune import at_level

        at_level(plan.network, made.network.prune_level)
    return made


def _at_level(predictor: Predictor, before: Plan, after: Plan) -> Predictor:
    """The same predictor, or one that computes fewer levels of the same weights."""
    level, runtime = after.network.prune_level, predictor.runtime
    if level == before.network.prune_level:
        return predictor
    from unetkit.networks.prune import pruned
    from unetkit.runtimes.pytorch import PytorchRuntime

    assert isinstance(runtime, PytorchRuntime)  # no other lets the level change
    small = pruned(runtime.network, level)  # pyright: ignore[reportArgumentType] - a UNet
    return Predictor(
        PytorchRuntime(small, runtime.device, runtime.layout),
        predictor.data,
        predictor.preparation,
        predictor.inference,
        previous=predictor.previous,
    )


def load_average(members: Sequence[Path], plan: Plan, place: Path, *, device: str = "auto") -> Model:
    """Several trained models as one that answers with the mean of their probabilities.

    All of them stay loaded where their weights take no more than a quarter of the free memory; else one is
    loaded at a time, for every image anew.

    Args:
        members: Their model folders.
        plan: Which objects of the mean are believed, and the random field of every member.
        place: The folder that the whole is called by.
        device: As in ``load``.

    Raises:
        DataError: A member is damaged.
    """
    from unetkit.planning.capacity import default_memory_gb
    from unetkit.runtimes.devices import pick_device

    where = str(pick_device(device))
    weights = sum(path.stat().st_size for member in members for path in member.rglob(WEIGHTS))
    keep = weights <= KEPT_SHARE * 1e9 * default_memory_gb(where)
    ready = [Ready(_loads(member, device), plan.inference, keep=keep) for member in members]
    return Model(place, plan, Ensemble(ready, plan.data, plan.inference), where)


def _loads(place: Path, device: str) -> Callable[[], Predictor]:
    """What loads a model as often as it is called, each time in the layout of the first."""
    layout: Layout | None = None

    def load() -> Predictor:
        nonlocal layout
        found = _load_trained(place, device, layout).sole
        layout = getattr(found.runtime, "layout", None)
        return found

    return load


def plan_in(place: Path) -> Plan:
    """The plan of a model folder, trained, exported or an ensemble; torch is not needed.

    Args:
        place: What ``model_folder`` found.

    Raises:
        DataError: The folder was changed or is damaged.
    """
    if is_exported(place):
        return read_exported(place)[1]
    return read_ensemble(place)[1] if is_ensemble(place) else read_plan(place)


def _load_trained(place: Path, device: str, layout: Layout | None = None) -> Model:
    from unetkit.networks.store import load_model, previous_folder, read_seal
    from unetkit.runtimes.devices import keep_memory, pick_device, use_threads

    keep_memory()
    use_threads()
    where = pick_device(device)
    network, plan = load_model(place)
    layout = layout or _layout(network, plan, where, read_seal(place).facts)
    row = pick("runtime", RUNTIMES, plan.inference.runtime)
    if hasattr(row, "export"):
        raise UsageError(
            f"the plan wants the runtime '{plan.inference.runtime}', which runs exported models",
            cure=f"unet export {place} --to {plan.inference.runtime} --out FOLDER, and predict with that",
            where=place / "plan.json",
        )
    first = previous_folder(place)
    predictor = Predictor(
        row(network, where, layout),
        plan.data,
        plan.preparation,
        plan.inference,
        previous=None if first is None else _load_trained(first, device).sole,
    )
    return Model(place, plan, predictor, str(where))


def layout_facts(device: torch.device, layout: Layout) -> dict[str, str]:
    """How a model computes, as facts to be saved with it.

    Args:
        device: Where.
        layout: In which numbers, and in which order they lie in memory.
    """
    return {DEVICE: str(device), PRECISION: layout.precision, MEMORY_FORMAT: layout.memory_format}


def _layout(network: UNet, plan: Plan, device: torch.device, facts: Mapping[str, str]) -> Layout:
    """The layout the model was trained and measured in; timed anew only on another kind of device.

    Timing at each load would let two calls disagree: bfloat16 and float32 differ in the last digits.
    """
    from unetkit.runtimes.devices import MEMORY_FORMATS, PRECISIONS, Layout, fastest_layout

    saved = Layout(facts.get(PRECISION, ""), facts.get(MEMORY_FORMAT, ""))
    same = facts.get(DEVICE, "").partition(":")[0] == device.type
    if same and saved.precision in PRECISIONS and saved.memory_format in MEMORY_FORMATS:
        return saved
    shape = (plan.inference.batch_size, plan.data.input_channels, *plan.inference.tile_size)
    return fastest_layout(
        network,
        shape,
        device,
        training=False,
        wanted_precision=plan.training.precision,
        wanted_format=plan.training.memory_format,
    )
