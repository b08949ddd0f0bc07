"""Bad input, one row per kind: the file is named, the cause and the cure are worded, nothing is lost."""

from __future__ import annotations

import errno
import hashlib
import json
import os
from pathlib import Path

import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.cli import main
from unetkit.data.formats import format_of
from unetkit.records.case import Grid

pytestmark = pytest.mark.usefixtures("excepthook")
SIZE = (24, 28)


def picture(seed=0):
    return np.random.default_rng(seed).integers(1, 255, SIZE, dtype=np.uint8)


def mask(value=1):
    array = np.zeros(SIZE, np.uint8)
    array[4:12, 6:20] = value
    return array


def save(path: Path, array: np.ndarray) -> Path:
    """Write a picture, in place of the one of that name in any format."""
    for old in path.parent.glob(f"{path.name.partition('.')[0]}.*"):
        old.unlink()
    if path.suffix == ".tif":
        tifffile.imwrite(path, array, photometric="minisblack")
    elif path.name.endswith(".nii.gz"):
        format_of(path).write(path, array, Grid.plain(array.ndim))
    else:
        Image.fromarray(array).save(path)
    return path


def cut(path: Path) -> Path:
    data = path.read_bytes()
    path.write_bytes(data[: len(data) // 2])
    return path


def missing_mask(data: Path) -> Path:
    (data / "masks" / "1.png").unlink()
    return data / "images" / "1.png"


def empty_folder(data: Path) -> Path:
    for path in sorted(data.rglob("*"), reverse=True):
        path.rmdir() if path.is_dir() else path.unlink()
    return data


def value_beyond_classes(data: Path) -> Path:
    (data / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "scratch": 1}}))
    return save(data / "masks" / "1.png", mask(3))


def nan_pixels(data: Path) -> Path:
    array = picture().astype(np.float32)
    array[3, 5] = np.nan
    return save(data / "images" / "1.tif", array)


def all_background(data: Path) -> Path:
    for path in (data / "masks").iterdir():
        save(path, mask(0))
    return data


def mixed_channels(data: Path) -> str:
    save(data / "images" / "1.tif", np.stack([picture(), picture(1)]))
    return "'1'"


def two_classes_of_one_name(data: Path) -> Path:
    labels = {"0": "background", "1": "scratch", "2": "scratch"}
    (data / "dataset.json").write_text(json.dumps({"labels": labels}))
    return data


def truncated_volume(data: Path) -> Path:
    volume = np.random.default_rng(0).integers(0, 255, (20, *SIZE), dtype=np.uint8)
    return cut(save(data / "images" / "1.nii.gz", volume))


KINDS = {
    "missing mask": (missing_mask, "missing mask: expected a file named '1' in masks/", "add the mask"),
    "mask of another size": (
        lambda data: save(data / "masks" / "1.png", mask()[:, :-3]),
        "a mask of another size: the image 1.png has 24 × 28 pixels, its mask 24 × 25",
        "export the mask at the size of the image",
    ),
    "RGB mask": (
        lambda data: save(data / "masks" / "1.png", np.stack([mask(), mask(), 0 * mask()], axis=-1)),
        "an RGB mask: expected one channel of class numbers",
        "save the mask as a grey or palette PNG whose pixel values are the class numbers",
    ),
    "float labels": (
        lambda data: save(data / "masks" / "1.tif", mask() * np.float32(0.5)),
        "float labels: expected whole numbers, got 0.5",
        "save the label as whole class numbers",
    ),
    "label value beyond classes": (
        value_beyond_classes,
        "the label value 3 is beyond the 2 classes of dataset.json (0 background, 1 scratch)",
        "correct the mask, or add the class",
    ),
    "truncated PNG": (lambda data: cut(data / "images" / "1.png"), "truncated", "copy the file again"),
    "truncated TIFF": (
        lambda data: cut(save(data / "images" / "1.tif", picture())),
        "this TIFF is truncated",
        "copy the file again",
    ),
    "truncated NIfTI": (truncated_volume, "truncated", "copy the file again"),
    "NaN pixels": (nan_pixels, "NaN pixels: 1 of 672 values are not finite", "replace them"),
    "empty folder": (empty_folder, "this is an empty folder", "put the pictures in images/"),
    "all-background labels": (
        all_background,
        "all-background labels: no mask of this data set holds anything but 0",
        "check that the masks are not empty",
    ),
    "mixed channel counts": (
        mixed_channels,
        "mixed channel counts: 1 channels in '0', 2 channels in '1'",
        "give every image the same channels",
    ),
    "two classes of one name": (
        two_classes_of_one_name,
        "dataset.json gives the label values 1 and 2 one name, 'scratch'",
        "give each label value its own name",
    ),
}


@pytest.fixture
def data(tmp_path: Path) -> Path:
    """Three good pictures with masks."""
    folder = tmp_path / "data"
    for name in ("images", "masks"):
        (folder / name).mkdir(parents=True)
    for number in range(3):
        save(folder / "images" / f"{number}.png", picture(number))
        save(folder / "masks" / f"{number}.png", mask())
    return folder


def digests(folder: Path) -> dict[Path, str]:
    files = (path for path in sorted(folder.rglob("*")) if path.is_file())
    return {path: hashlib.sha256(path.read_bytes()).hexdigest() for path in files}


@pytest.mark.parametrize("kind", KINDS)
def test_refused_with_file_cause_and_cure(kind, data, tmp_path, capsys):
    spoil, cause, cure = KINDS[kind]
    place = spoil(data)
    before = digests(data)
    assert main(["train", str(data), "--out", str(tmp_path / "run"), "-q"]) == 3
    told = capsys.readouterr().err
    assert f"error: {place}: " in told if isinstance(place, Path) else place in told
    assert cause in told
    assert f"Do this: {cure}" in told
    assert not (tmp_path / "run" / "model").exists()

    assert main(["check", str(data), "--json", "-q"]) == 3
    told = capsys.readouterr()
    if told.out:  # an empty folder has nothing to list
        rows = [row for row in json.loads(told.out)["problems"] if row["severity"] == "refused"]
        assert any(cause in row["problem"] and row["cure"].startswith(cure) for row in rows)
    assert digests(data) == before


@pytest.mark.parametrize(
    "words",
    [
        ["train", "DATA", "--out", "FILE/run"],
        ["plan", "DATA", "--out", "FILE/plan.json"],
        ["check", "DATA", "--html", "FILE/check.html"],
        ["predict", "MODEL", "DATA/images", "--out", "FILE/out"],
    ],
    ids=lambda words: words[0],
)
def test_an_output_that_cannot_be_written_is_named(words, wafers, finished, tmp_path, capsys):
    (tmp_path / "taken").write_text("a file, so that nothing can lie below it, whoever asks")
    names = {"DATA": wafers, "MODEL": finished, "FILE": tmp_path / "taken"}
    before = digests(wafers) | digests(finished)
    for name, place in names.items():
        words = [word.replace(name, str(place)) for word in words]
    assert main([*words, "-q"]) == 5
    told = capsys.readouterr().err
    assert f"error: {words[-1]}: cannot write this file" in told
    assert "Do this: choose an output folder that you may write to." in told
    assert digests(wafers) | digests(finished) == before
    assert [path.name for path in tmp_path.iterdir()] == ["taken"]


def test_a_full_disk_loses_nothing(wafers, tiny_words, tmp_path, capsys, monkeypatch):
    run, before = tmp_path / "run", digests(wafers)
    words = [
        "train",
        str(wafers),
        "--out",
        str(run),
        "-q",
        *tiny_words,
        "--set",
        "training.checkpoint_steps=2",
    ]
    sync, record = os.fsync, run / "checkpoints" / "last.json"

    def full(handle: int) -> None:
        if record.exists():
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        sync(handle)

    monkeypatch.setattr(os, "fsync", full)
    assert main(words) == 5
    told = capsys.readouterr().err
    assert f"error: {run}" in told
    assert "no room left to write this file (No space left on device)" in told
    assert "Do this: free space on that disk, then run the same command again" in told
    assert "what was saved before is intact" in told
    monkeypatch.undo()
    assert main([*words, "--resume"]) == 0
    assert (run / "model" / "weights.safetensors").is_file()
    assert digests(wafers) == before
