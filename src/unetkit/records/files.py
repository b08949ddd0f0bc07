"""Files that are either whole or not there: atomic writes, hashes, and a full disk explained."""

from __future__ import annotations

import errno
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

from unetkit.errors import ResourceError

_TEMPORARY = ".part-"
_UMASK = os.umask(0o022)
os.umask(_UMASK)


@contextmanager
def atomic(path: Path) -> Iterator[IO[bytes]]:
    """Write a file so that a reader sees the old one or the new one, whatever happens in between.

    Temporary file in the same folder, fsync, rename, fsync of the folder (a plain write that is killed
    leaves an unreadable file in most cases).

    Args:
        path: The file to write.

    Yields:
        An open binary file.

    Raises:
        ResourceError: The disk is full, a quota is reached or the folder cannot be written; the old
            file, if any, is untouched.
    """
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        handle, temporary = tempfile.mkstemp(prefix=f"{_TEMPORARY}{path.name}-", dir=path.parent)
        with os.fdopen(handle, "wb") as file:
            yield file
            file.flush()
            os.fsync(file.fileno())
        Path(temporary).chmod(0o666 & ~_UMASK)
        Path(temporary).replace(path)
        temporary = None
        sync_folder(path.parent)
    except OSError as wrong:
        raise disk_error(wrong, path) from wrong
    finally:
        if temporary is not None:
            Path(temporary).unlink(missing_ok=True)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Fill a folder that appears whole, by a rename, or not at all; one that is there makes way for it.

    Args:
        path: The folder to make.

    Yields:
        A temporary folder beside it, to put files into.

    Raises:
        ResourceError: The disk is full or the place cannot be written; what was there is untouched.
    """
    part: Path | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = Path(tempfile.mkdtemp(prefix=f"{_TEMPORARY}{path.name}-", dir=path.parent))
        yield part
        for inner in (*part.rglob("*"), part):
            if inner.is_dir():
                sync_folder(inner)
            else:
                with inner.open("rb") as content:
                    os.fsync(content.fileno())
        part.chmod(0o777 & ~_UMASK)
        if path.exists():
            with tempfile.TemporaryDirectory(prefix=f"{_TEMPORARY}{path.name}-", dir=path.parent) as aside:
                path.replace(Path(aside) / path.name)
                part.replace(path)
        else:
            part.replace(path)
        sync_folder(path.parent)
    except OSError as wrong:
        raise disk_error(wrong, path) from wrong
    finally:
        if part is not None:
            shutil.rmtree(part, ignore_errors=True)


def write_text(path: Path, text: str) -> None:
    """Write ``text`` (UTF-8) to ``path``, atomically."""
    with atomic(path) as file:
        file.write(text.encode())


def write_bytes(path: Path, data: bytes) -> None:
    """Write ``data`` to ``path``, atomically."""
    with atomic(path) as file:
        file.write(data)


def sync_folder(folder: Path) -> None:
    """Make a rename in ``folder`` survive a power cut (where the system allows it)."""
    if os.name == "posix":
        handle = os.open(folder, os.O_RDONLY)
        try:
            os.fsync(handle)
        finally:
            os.close(handle)


def sweep(folder: Path) -> int:
    """Remove temporary files that a killed process left in ``folder``.

    Returns:
        How many were removed.
    """
    stale = [path for path in folder.glob(f"{_TEMPORARY}*") if path.is_file()]
    for path in stale:
        path.unlink(missing_ok=True)
    return len(stale)


def safe_name(text: str) -> str:
    """A file name from any text, different for different texts.

    Example:
        >>> safe_name("tile-7"), safe_name("../a")
        ('tile-7', '_a-61b4c9')
    """
    kept = re.sub(r"[^\w.\-]", "_", text).lstrip(".")
    return kept if kept == text and kept else f"{kept}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


def sha256(path: Path) -> str:
    """SHA-256 of a file's bytes, as hex."""
    with path.open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def disk_error(wrong: OSError, path: Path) -> ResourceError:
    """Explain an ``OSError`` met while writing ``path``."""
    if wrong.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG):
        return ResourceError(
            f"no room left to write this file ({os.strerror(wrong.errno or 0)})",
            cure="free space on that disk, then run the same command again; what was saved before is intact",
            where=path,
        )
    return ResourceError(
        f"cannot write this file ({wrong.strerror or wrong})",
        cure="choose an output folder that you may write to",
        where=path,
    )
