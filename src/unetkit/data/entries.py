"""One prepared sample as a folder of arrays that is whole or not there."""

from __future__ import annotations

import errno
import os
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from unetkit.errors import UsageError
from unetkit.records.case import Grid, Intensity, Placement, Sample
from unetkit.records.files import disk_error, sync_folder
from unetkit.records.saved import Saved

_PART = ".part-"
_STALE_SECONDS = 24 * 3600.0
_RECORD = "sample.json"
_ATTEMPTS = 8
_TAKEN = (errno.ENOTEMPTY, errno.EEXIST, errno.ENOTDIR)


class _Entry(Saved):
    """What lies beside the arrays of one cached sample; written last, it makes the entry count.

    Args:
        files: Bytes per array file.
        grid: Where the pixels lie.
        placement: The way back to the file's own array.
        intensity: How each channel is still to be normalised.
        foreground: Rows (class id, number of places) in the order in which they lie in ``foreground.npy``.
        reader_count: How many people read the case.
    """

    files: dict[str, int]
    grid: Grid
    placement: Placement | None
    intensity: tuple[Intensity, ...]
    foreground: tuple[tuple[int, int], ...]
    reader_count: int = 0


def store_entry(entry: Path, sample: Sample) -> None:
    """Write a sample beside ``entry`` and rename it there, so that it appears whole or not at all.

    A damaged entry makes way; a whole one that another process was faster to write stays.

    Args:
        entry: The folder to make.
        sample: What to write.

    Raises:
        ResourceError: The disk is full or cannot be written.
    """
    part: Path | None = None
    try:
        part = Path(tempfile.mkdtemp(prefix=f"{_PART}{entry.name[:8]}-", dir=entry.parent))
        _write(part, sample)
        part.chmod(0o755)
        _publish(part, entry, sample.id)
    except OSError as wrong:
        raise disk_error(wrong, entry) from wrong
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def load_entry(entry: Path, id: str) -> Sample | None:
    """Memory-map a sample.

    Args:
        entry: Its folder.
        id: The case's id, which the sample takes.

    Returns:
        The sample; None where the entry is absent or not exactly as it was written.
    """
    try:
        record = _Entry.from_json((entry / _RECORD).read_bytes(), where=entry / _RECORD)
        if any((entry / name).stat().st_size != size for name, size in record.files.items()):
            return None
        arrays = {
            name.removesuffix(".npy"): np.load(entry / name, mmap_mode="r", allow_pickle=False)
            for name in record.files
        }
        counts = [count for _, count in record.foreground]
        ends = np.cumsum(counts, dtype=np.int64)
        places = {
            value: arrays["foreground"][end - count : end]
            for (value, count), end in zip(record.foreground, ends, strict=True)
        }
        pixels, label, known = arrays["pixels"], arrays.get("label"), arrays.get("known")
    except (OSError, ValueError, KeyError, UsageError):
        return None
    return Sample(
        id,
        pixels,
        record.grid,
        label,
        known,
        record.placement,
        places,
        record.intensity,
        arrays.get("readers"),
        record.reader_count,
        arrays.get("previous"),
    )


def sweep_parts(folder: Path) -> None:
    """Remove what a killed process left half-written; what is younger than a day may still be at work.

    Args:
        folder: Where the entries lie.
    """
    for part in folder.glob(f"{_PART}*"):
        if _quietly(lambda part=part: part.stat().st_mtime < time.time() - _STALE_SECONDS):
            shutil.rmtree(part, ignore_errors=True)


def _write(folder: Path, sample: Sample) -> None:
    """Write the arrays, then the record that says how long they are; everything reaches the disk."""
    classes = sorted(sample.foreground)
    arrays = {"pixels.npy": sample.pixels, "label.npy": sample.label, "known.npy": sample.known}
    arrays |= {"readers.npy": sample.readers, "previous.npy": sample.previous}
    if classes:
        small = np.uint32 if sample.pixels[0].size <= np.iinfo(np.uint32).max else np.int64
        places = np.concatenate([sample.foreground[value] for value in classes])
        arrays["foreground.npy"] = places.astype(small)
    sizes: dict[str, int] = {}
    for name, array in arrays.items():
        if array is None:
            continue
        with (folder / name).open("wb") as file:
            np.save(file, array, allow_pickle=False)
            file.flush()
            os.fsync(file.fileno())
        sizes[name] = (folder / name).stat().st_size
    record = _Entry(
        files=sizes,
        grid=sample.grid,
        placement=sample.placement,
        intensity=sample.intensity,
        foreground=tuple((value, len(sample.foreground[value])) for value in classes),
        reader_count=sample.reader_count,
    )
    with (folder / _RECORD).open("wb") as file:
        file.write(record.to_json().encode())
        file.flush()
        os.fsync(file.fileno())
    sync_folder(folder)


def _publish(part: Path, entry: Path, id: str) -> None:
    """Rename ``part`` to ``entry``; a damaged entry makes way, a whole one from another process stays."""
    for _ in range(_ATTEMPTS):
        try:
            part.rename(entry)
        except OSError as wrong:
            # Something lay there at that moment; by now another process may have moved it away again.
            if wrong.errno not in _TAKEN:
                raise
        else:
            sync_folder(entry.parent)
            return
        if load_entry(entry, id) is not None:
            return
        aside = Path(tempfile.mkdtemp(prefix=f"{_PART}damaged-", dir=entry.parent))
        _quietly(lambda aside=aside: entry.rename(aside / "entry"))
        shutil.rmtree(aside, ignore_errors=True)


def _quietly(action: Callable[[], object]) -> object:
    """What ``action`` returns, None where another process was faster and its file is gone."""
    try:
        return action()
    except FileNotFoundError:
        return None
