"""``predict``: images in, labels out: same stems, same geometry, the data set's own label values."""

from __future__ import annotations

import io
import re
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats import SUFFIXES, stem_of, suffix_of
from unetkit.errors import DataError, UsageError
from unetkit.records.files import disk_error, write_bytes
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.model import Model, load
from unetkit.workflows.model_folder import model_folder

OUTPUT_SUFFIX = {"raster": ".png", "tiff": ".tif", "nifti": ".nii.gz"}
_CHANNEL = re.compile(r"(.+)_(\d{4})")


@dataclass(frozen=True)
class Input:
    """One image to predict: its name, its files (one, or one per channel), and where its labels go."""

    id: str
    paths: tuple[Path, ...]
    target: Path


class Written(Saved):
    """One image that was predicted.

    Args:
        id: Its name.
        path: The label file.
        probabilities: The probabilities' file, None when not asked for.
        pixels: Class name → predicted pixels, background left out.
        seconds: Time it took.
    """

    id: str
    path: Path
    probabilities: Path | None = None
    pixels: dict[str, int]
    seconds: float


class Refused(Saved):
    """One image that could not be predicted, and why."""

    id: str
    where: str
    problem: str
    cure: str


class PredictResult(Saved):
    """What ``predict`` did.

    Args:
        model: The model folder.
        device: Where it computed.
        out: The output folder.
        written: Images predicted.
        refused: Images refused; every other one is done.
        planned: With ``dry_run``: the files that would be written.
    """

    model: Path
    device: str
    out: Path
    written: tuple[Written, ...] = ()
    refused: tuple[Refused, ...] = ()
    planned: tuple[Path, ...] = ()


def predict(
    model: str | Path | Model,
    source: str | Path,
    out: str | Path,
    *,
    tta: bool = False,
    probabilities: bool = False,
    device: str = "auto",
    dry_run: bool = False,
    progress: Progress | None = None,
) -> PredictResult:
    """Predict one file or every image of a folder.

    A file that is refused stops nothing: it is listed in the result, and the others are done.

    Args:
        model: A model folder, a run, or a loaded model.
        source: An image file or a folder of images (``name_0000`` … are the channels of one image).
        out: Output folder. Pictures give PNG, TIFF gives TIFF, volumes give ``.nii.gz``.
        tta: Average over mirrored images.
        probabilities: Also write ``<stem>.probabilities.npz``: ``probabilities`` (K, *S) float16
            and ``classes``.
        device: ``auto``, ``cpu``, ``cuda`` …
        dry_run: Write nothing; say what would be written.
        progress: Who watches.

    Raises:
        UsageError: There is no model, or a label file would overwrite its image.
        DataError: There is no image.
        ResourceError: The output cannot be written.
    """
    watch = progress or Quiet()
    target = Path(out)
    place = model.folder if isinstance(model, Model) else model_folder(model)
    channels = len(model.plan.data.channels) if isinstance(model, Model) else 0
    if not channels:
        from unetkit.records.plan import Plan

        channels = len(
            Plan.from_json((place / "plan.json").read_bytes(), where=place / "plan.json").data.channels
        )
    inputs = find_inputs(Path(source), target, channels=channels)
    if dry_run:
        return PredictResult(
            model=place, device=device, out=target, planned=tuple(each.target for each in inputs)
        )
    _make(target)
    ready = model if isinstance(model, Model) else load(place, device=device)
    written: list[Written] = []
    refused: list[Refused] = []
    watch.begin("predicting", len(inputs))
    for each in inputs:
        try:
            written.append(_one(ready, each, tta=tta, probabilities=probabilities))
        except DataError as wrong:
            row = Refused(
                id=each.id, where=wrong.where or str(each.paths[0]), problem=wrong.problem, cure=wrong.cure
            )
            refused.append(row)
            watch.say(f"refused {wrong}")
        watch.advance(1, case=each.id)
    watch.end()
    return PredictResult(
        model=place, device=ready.device, out=target, written=tuple(written), refused=tuple(refused)
    )


def find_inputs(source: Path, out: Path, *, channels: int) -> list[Input]:
    """List the images to predict and where each one's labels go.

    Args:
        source: A file or a folder.
        out: Output folder.
        channels: Channels of the model; with more than one, ``name_0000``, ``name_0001`` … belong together.

    Raises:
        DataError: There is no image.
        UsageError: Two images would give one label file, or a label file would overwrite an image.
    """
    if not source.exists():
        raise DataError("this file or folder does not exist", cure="correct the path", where=source)
    files = sorted(path for path in source.iterdir() if suffix_of(path)) if source.is_dir() else [source]
    if not files:
        raise DataError(
            "this folder holds no image",
            cure=f"name a folder with files of {', '.join(SUFFIXES)}",
            where=source,
        )
    if source.is_file() and suffix_of(source) is None:
        raise DataError("no format reads this file", cure=f"give one of {', '.join(SUFFIXES)}", where=source)
    inputs: dict[Path, Input] = {}
    for name, paths in _grouped(source, files, channels):
        target = out / f"{name}{OUTPUT_SUFFIX[SUFFIXES[suffix_of(paths[0]) or '']]}"
        if target in inputs:
            first = inputs[target].paths[0].name
            raise UsageError(
                f"'{first}' and '{paths[0].name}' would both be written as '{target.name}'",
                cure="rename one, or predict them into different folders",
                where=source,
            )
        if any(target.resolve() == path.resolve() for path in files):
            raise UsageError(
                "the labels would overwrite an image", cure="choose another folder for --out", where=target
            )
        inputs[target] = Input(name, paths, target)
    return list(inputs.values())


def _grouped(source: Path, files: list[Path], channels: int) -> list[tuple[str, tuple[Path, ...]]]:
    """Image name and its files. Channel numbers are understood where they can only be that."""
    named = [(path, _CHANNEL.fullmatch(stem_of(path))) for path in files]
    single = source.is_file()
    if single and channels > 1 and named[0][1] is not None:
        stem, suffix = named[0][1][1], suffix_of(files[0]) or ""
        files = [files[0].with_name(f"{stem}_{number:04d}{suffix}") for number in range(channels)]
        return [(stem, tuple(files))]
    numbered = all(match is not None for _, match in named)
    if single or not numbered or (channels == 1 and any(match and match[2] != "0000" for _, match in named)):
        return [(stem_of(path), (path,)) for path in files]
    together: dict[str, list[Path]] = {}
    for path, match in named:
        if match is not None:
            together.setdefault(match[1], []).append(path)
    return [(name, tuple(paths)) for name, paths in together.items()]


def _one(model: Model, each: Input, *, tta: bool, probabilities: bool) -> Written:
    start = time.monotonic()
    prediction = model.predictor.file(each.paths, each.id, mirror=tta, probabilities=probabilities)
    model.save(prediction, each.target)
    beside: Path | None = None
    if prediction.probabilities is not None:
        beside = each.target.with_name(f"{each.id}.probabilities.npz")
        write_bytes(beside, _packed(prediction, model.classes))
    counts = np.bincount(prediction.labels.ravel(), minlength=len(model.classes))
    return Written(
        id=each.id,
        path=each.target,
        probabilities=beside,
        pixels={name: int(counts[index]) for index, name in enumerate(model.classes) if index},
        seconds=round(time.monotonic() - start, 3),
    )


def _packed(prediction: Prediction, classes: tuple[str, ...]) -> bytes:
    buffer = io.BytesIO()
    assert prediction.probabilities is not None  # the caller has looked
    np.savez_compressed(
        buffer, probabilities=prediction.probabilities.astype(np.float16), classes=np.array(classes)
    )
    return buffer.getvalue()


def _make(folder: Path) -> None:
    """Make the output folder now: better refused before the work than after it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
        probe = folder / ".part-probe"
        probe.touch()
        probe.unlink()
    except OSError as wrong:
        raise disk_error(wrong, folder) from wrong
