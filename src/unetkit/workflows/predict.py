"""``predict``: images in, labels out: same stems, same geometry, the data set's own label values."""

from __future__ import annotations

import io
import os
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from typing import TypedDict, Unpack

import numpy as np

from unetkit.data.folders import channel_word, is_mask_word
from unetkit.data.formats import DICOM, SUFFIXES, channel_of, is_image_folder, kind_of, sort_folder, stem_of
from unetkit.data.labels import COLOURS
from unetkit.data.matching import DECLARED, INDEX, listed
from unetkit.errors import DataError, UsageError, nearest
from unetkit.records.files import disk_error, write_bytes
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows.batch import Batch, work_of
from unetkit.workflows.kept_screen import kept_screen
from unetkit.workflows.model import Model, changed_inference, load, plan_in
from unetkit.workflows.model_folder import model_folder
from unetkit.workflows.streaming import predict_rows
from unetkit.workflows.uncertainty import write_uncertainty

OUTPUT_SUFFIX = {
    "raster": ".png",
    "tiff": ".tif",
    "nifti": ".nii.gz",
    "dicom": ".dcm",
    "nrrd": ".nrrd",
    "metaimage": ".mha",
    "npy": ".npy",
    "zarr": ".zarr",
    "slide": ".tif",
}


_MOST_FOLDERS = 10_000
"""Folders that are looked through for an example to name."""


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
        uncertainty: The map of entropy, None when not asked for.
        disagreement: The map of how far mirrored images disagree, None when not asked for.
        pixels: Class name → predicted pixels, background left out.
        seconds: Time it took.
    """

    id: str
    path: Path
    probabilities: Path | None = None
    uncertainty: Path | None = None
    disagreement: Path | None = None
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
        kept: With ``resume``: images that an earlier call had predicted.
        refused: Images refused; every other one is done.
        planned: With ``dry_run``: the files that would be written.
    """

    model: Path
    device: str
    out: Path
    written: tuple[Written, ...] = ()
    kept: tuple[Written, ...] = ()
    refused: tuple[Refused, ...] = ()
    planned: tuple[Path, ...] = ()


class PredictSettings(TypedDict, total=False):
    """How images are predicted, and what is written beside the labels.

    Args:
        tta: Average over mirrored images.
        probabilities: Also write ``<stem>.probabilities.npz``: ``probabilities`` (K, *S) float16
            and ``classes``.
        uncertainty: Also write ``uncertainty/<stem>``, in the format of the labels: the entropy of the
            probabilities, 0 (certain) to 255 (every class equally likely). With ``tta``: of their mean over
            mirrored images, and ``disagreement/<stem>``: the share of mirrored images that give another
            class, 0 to 255.
        screen: Take the first look that ``unet screen --keep`` found for this model: tiles in which it rules
            every class out are not computed.
        changes: Other values of the plan's inference, such as ``{"inference.pyramid_levels": "4"}``.
    """

    tta: bool
    probabilities: bool
    uncertainty: bool
    screen: bool
    changes: Mapping[str, str]


def predict(
    model: str | Path | Model,
    source: str | Path,
    out: str | Path,
    *,
    device: str = "auto",
    resume: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
    **settings: Unpack[PredictSettings],
) -> PredictResult:
    """Predict one file or every image of a folder.

    A file that is refused stops nothing: it is listed in the result, and the others are done.

    Args:
        model: A model folder, a run, an exported model, or a loaded model.
        source: An image file, a folder of images or of DICOM slices; see ``find_inputs`` for channels in
            files of their own.
        out: Output folder. Pictures give PNG, TIFF and slides TIFF, DICOM a DICOM SEG, NRRD, MetaImage, .npy
            and Zarr their own, other volumes ``.nii.gz``.
        device: ``auto``, ``cpu``, ``cuda`` …
        resume: Keep what an earlier call has done with the same model, settings and images.
        dry_run: Write nothing; say what would be written.
        progress: Who watches.
        settings: See ``PredictSettings``.

    Raises:
        UsageError: There is no model, a label file would overwrite its image, or a setting does not fit.
        DataError: There is no image, or what the model folder holds is not its own.
        ResourceError: The output cannot be written.
    """
    for name in settings:
        if name not in PredictSettings.__optional_keys__:
            known = PredictSettings.__optional_keys__
            raise UsageError(f"predict has no option '{name}'", cure=nearest(name, known))
    watch, target = progress or Quiet(), Path(out)
    place = model.folder if isinstance(model, Model) else model_folder(model)
    changes = {**(kept_screen(place) if settings.get("screen") else {}), **settings.get("changes", {})}
    plan = changed_inference(model.plan if isinstance(model, Model) else plan_in(place), changes)
    if settings.get("tta") and not plan.inference.mirror_axes:
        watch.say("warning: this model was not trained on mirrored images: --tta changes nothing")
    inputs = find_inputs(
        Path(source), target, channels=plan.data.channels, rank=plan.data.rank, progress=watch
    )
    batch = Batch(target, work_of(place, plan, settings, device=device))
    kept = {each.target: row for each in inputs if resume and (row := _kept(batch, each))}
    left = [each for each in inputs if each.target not in kept]
    if dry_run or not left:
        planned = tuple(each.target for each in left)
        return PredictResult(
            model=place, device=device, out=target, kept=tuple(kept.values()), planned=planned
        )
    _make(target)
    ready = model if isinstance(model, Model) else load(place, device=device)
    if changes:
        ready = ready.with_values(changes)
    if not resume and len(inputs) > 1:
        batch.forget()
    written: list[Written] = []
    refused: list[Refused] = []
    several = watch if len(inputs) > 1 else Quiet()  # of a single image, its tiles are the progress
    several.begin("predicting", len(inputs), done=len(kept))
    for each in left:
        try:
            row = _one(ready, each, settings, progress=watch)
            written.append(row)
            if len(inputs) > 1:
                batch.note(each.paths, each.target, row.model_dump(mode="json"))
        except DataError as wrong:
            where = wrong.where or str(each.paths[0])
            refused.append(Refused(id=each.id, where=where, problem=wrong.problem, cure=wrong.cure))
        several.advance(1, case=each.id)
    several.end()
    return PredictResult(
        model=place,
        device=ready.device,
        out=target,
        written=tuple(written),
        kept=tuple(kept.values()),
        refused=tuple(refused),
    )


def _kept(batch: Batch, each: Input) -> Written | None:
    """What an earlier call did for an image, where nothing of it changed since."""
    row = batch.find(each.paths, each.target)
    return None if row is None else Written.model_validate(row)


def find_inputs(
    source: Path,
    out: Path,
    *,
    channels: Sequence[str],
    rank: int = 2,
    progress: Progress | None = None,
) -> list[Input]:
    """List the images to predict and where each one's labels go.

    Args:
        source: A file or a folder.
        out: Output folder.
        channels: Channel names of the model. With more than one, ``name_0000``, ``name_0001`` … belong
            together where exactly as many are there, and so do the files of a folder that are named as the
            channels are, as in ``find_parts``; the colours of a picture lie in one file.
        rank: Axes of the model's images. A folder of DICOM slices is one volume, or as many pictures.
        progress: Told what else lies in the folder and is left out.

    Raises:
        DataError: There is no image.
        UsageError: Two images would give one label file, or a label file would overwrite an image.
    """
    if not source.exists():
        raise DataError("this file or folder does not exist", cure="correct the path", where=source)
    slices = kind_of(source) == DICOM and source.is_dir()  # one volume, or as many pictures
    whole = source.is_file() or (is_image_folder(source) and (rank > 2 or not slices))
    files, others = ([source], []) if whole else sort_folder(source)
    cases = [] if whole else _case_folders(source, channels)
    if files and not cases and progress is not None:
        _say_left_out(others, out, progress)
    if not files and not cases:
        first = _first_below(source)
        cure = f"name a folder with files of {', '.join(SUFFIXES)}"
        if first is not None:
            cure = f"name the folder of the images itself, such as {first}"
        raise DataError("this folder holds no image", cure=cure, where=source)
    if whole and kind_of(source) is None:
        raise DataError("no format reads this file", cure=f"give one of {', '.join(SUFFIXES)}", where=source)
    inputs: dict[Path, Input] = {}
    sources = {path.resolve() for path in files}
    for name, paths in cases or _grouped(files, channels, single=whole):
        target = out / f"{name}{OUTPUT_SUFFIX[kind_of(paths[0]) or '']}"
        if target in inputs:
            first = inputs[target].paths[0].name
            raise UsageError(
                f"'{first}' and '{paths[0].name}' would both be written as '{target.name}'",
                cure="rename one, or predict them into different folders",
                where=source,
            )
        if target.resolve() in sources:
            raise UsageError(
                "the labels would overwrite an image", cure="choose another folder for --out", where=target
            )
        inputs[target] = Input(name, paths, target)
    return list(inputs.values())


def _first_below(source: Path) -> Path | None:
    """The first folder that holds an image, however deep an archive or a scanner has put it."""
    for root, folders, _ in islice(os.walk(source), _MOST_FOLDERS):
        folders.sort()
        if any(map(kind_of, Path(root).iterdir())):
            return Path(root)
    return None


def _say_left_out(others: Sequence[Path], out: Path, progress: Progress) -> None:
    """Entries of a folder that are no images: nothing is left out in silence."""
    names = [
        f"{path.name}/" if path.is_dir() else path.name
        for path in others
        if path.name not in (INDEX, DECLARED) and path.resolve() != out.resolve()
    ]
    if names:
        progress.say(f"warning: {len(names)} entries are no images and were left out: {listed(names)}")


def _case_folders(source: Path, channels: Sequence[str]) -> list[tuple[str, tuple[Path, ...]]]:
    """Folders of one case each: a file per channel, named as the channel is, and at most masks besides."""
    alone = any(map(kind_of, source.iterdir()))
    found: list[tuple[str, tuple[Path, ...]]] = []
    for folder in [source] if alone else sorted(path for path in source.iterdir() if path.is_dir()):
        words = {channel_word(path, folder): path for path in sorted(folder.iterdir()) if kind_of(path)}
        wanted = [name.lower() for name in channels]
        others = words.keys() - set(wanted)
        # a folder with nothing but image.png is a folder of images
        if set(wanted) <= words.keys() and all(map(is_mask_word, others)) and len(words) > alone:
            found.append((folder.name, tuple(words[name] for name in wanted)))
    return found


def _grouped(
    files: list[Path], channels: Sequence[str], *, single: bool
) -> list[tuple[str, tuple[Path, ...]]]:
    """Image name and its files. Numbers are channels only where they can be nothing else."""
    if len(channels) == 1 or tuple(channels) == COLOURS:  # one file per image, whatever its name
        hits = [channel_of(path) for path in files]
        if not single and all(hit is not None and hit[1] == 0 for hit in hits):
            return [(stem_of(path).removesuffix("_0000"), (path,)) for path in files]
        return [(stem_of(path), (path,)) for path in files]
    numbered: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for path in _with_neighbours(files[0]) if single else files:
        hit = channel_of(path)
        if hit is not None:
            numbered[hit[0]].append((hit[1], path))
    together: dict[Path, tuple[str, tuple[Path, ...]]] = {}
    for stem, parts in numbered.items():
        parts.sort()
        if [number for number, _ in parts] == list(range(len(channels))):
            group = (stem, tuple(path for _, path in parts))
            together |= dict.fromkeys(group[1], group)
    return list(dict.fromkeys(together.get(path, (stem_of(path), (path,))) for path in files))


def _with_neighbours(path: Path) -> list[Path]:
    """A file and those beside it whose names differ from its own in the channel number alone."""
    hit = channel_of(path)
    if hit is None:
        return [path]
    beside = (each for each in path.parent.iterdir() if kind_of(each))
    return [each for each in beside if (other := channel_of(each)) and other[0] == hit[0]]


def _one(model: Model, each: Input, wanted: PredictSettings, *, progress: Progress) -> Written:
    start, tta = time.monotonic(), wanted.get("tta", False)
    files: dict[str, Path | None] = {}
    counts = None
    keep = wanted.get("probabilities", False), wanted.get("uncertainty", False)
    if not any(keep):  # they are kept for the whole image
        counts = predict_rows(
            model, each.paths, id=each.id, target=each.target, mirror=tta, progress=progress
        )
    if counts is None:
        prediction = model.predictor.file(
            each.paths, each.id, mirror=tta, probabilities=any(keep), progress=progress
        )
        model.save(prediction, each.target, source=each.paths[0])
        if keep[0]:
            files["probabilities"] = each.target.with_name(f"{each.id}.probabilities.npz")
            write_bytes(files["probabilities"], _packed(prediction, model.classes))
        if keep[1]:
            maps = write_uncertainty(model, prediction, each.target, paths=each.paths, tta=tta)
            files["uncertainty"], files["disagreement"] = maps
        counts = np.bincount(prediction.labels.ravel(), minlength=len(model.classes))
    return Written(
        id=each.id,
        path=each.target,
        pixels={name: int(counts[index]) for index, name in enumerate(model.classes) if index},
        seconds=round(time.monotonic() - start, 3),
        **files,
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
