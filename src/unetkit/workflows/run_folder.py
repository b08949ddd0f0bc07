"""The folder of a run: found, refused when taken, held by one command, and a log for what goes wrong."""

from __future__ import annotations

import datetime
import errno
import os
import shutil
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType

from unetkit.errors import PreemptedError, UsageError
from unetkit.records.files import disk_error, safe_name, write_text
from unetkit.records.run import Run
from unetkit.workflows.nameless import data_without_names

OURS = (
    "plan.json",
    "fingerprint.json",
    "split.json",
    "start.json",
    "teachers.json",
    "previous.json",
    "memory",
    "importance.safetensors",
    "update.json",
    "journal.jsonl",
    "checkpoints",
    "model",
    "predictions",
    "pictures",
    "cache",
    "report.html",
    "manifest.json",
    "log.txt",
)
"""Everything a run writes; ``overwrite`` replaces these and nothing else."""

LOCK = ".lock"
"""Held by whoever writes into a folder; it stays there."""
_ASIDE = ".replaced"


@contextmanager
def open_run(folder: Path, *, resume: bool, overwrite: bool) -> Iterator[Run]:
    """Make or find the folder of a run, and hold it for the block: no second command may write there.

    Nothing of a run that is there is removed here; see ``replaced``.

    Args:
        folder: Where.
        resume: Whether to go on with what is there.
        overwrite: Whether a run that is there may be replaced.

    Raises:
        UsageError: There is a run already, and neither ``resume`` nor ``overwrite`` was said; or another
            command is at work there.
        ResourceError: The folder cannot be written.
    """
    run = Run(folder)
    if not (folder / _ASIDE).exists():  # else the old run must be back first
        refuse_taken(run, resume=resume, overwrite=overwrite)
    with held(folder):
        _settle(folder)
        # Again: it may have been taken, or an old run put back, since the first look.
        refuse_taken(run, resume=resume, overwrite=overwrite)
        yield run


@contextmanager
def held(folder: Path) -> Iterator[None]:
    """Hold a folder for the block: no second command may write there.

    Args:
        folder: Where; made when missing.

    Raises:
        UsageError: Another command is at work there.
        ResourceError: The folder cannot be written.
    """
    try:
        folder.mkdir(parents=True, exist_ok=True)
        handle = os.open(folder / LOCK, os.O_RDWR | os.O_CREAT, 0o644)
    except OSError as wrong:
        raise disk_error(wrong, folder) from wrong
    try:
        _lock(handle, folder)
        yield
    finally:
        os.close(handle)


def _lock(handle: int, folder: Path) -> None:
    """Take the folder's lock; the system gives it back when the process ends, however it ends."""
    try:
        import fcntl
    except ImportError:
        return  # no such locks here (Windows)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as wrong:
        if wrong.errno not in (errno.EWOULDBLOCK, errno.EACCES):
            return  # a file system without locks
        raise UsageError(
            "another command is at work in this folder",
            cure="wait until it has ended, or name another folder",
            where=folder,
        ) from None


@contextmanager
def replaced(run: Run) -> Iterator[None]:
    """Put the run that is there aside while the block writes a new plan, then remove it.

    If the block ends without a ``plan.json`` the old run is back; a kill in between is made good when the
    folder is opened next.

    Args:
        run: Held by ``open_run``.

    Raises:
        ResourceError: The folder cannot be written.
    """
    aside = run.folder / _ASIDE
    try:
        aside.mkdir(exist_ok=True)
        for name in OURS:  # the plan first: without one in its place, the old run is put back
            if (run.folder / name).exists():
                (run.folder / name).rename(aside / name)
    except OSError as wrong:
        raise disk_error(wrong, aside) from wrong
    try:
        yield
    finally:
        _settle(run.folder)


def _settle(folder: Path) -> None:
    """Remove what was put aside if a new plan is in its place, else put it back."""
    aside = folder / _ASIDE
    try:
        if not (folder / OURS[0]).exists() and aside.is_dir():
            for name in reversed(OURS):  # the plan last, for a kill in between
                if (aside / name).exists():
                    _remove(folder / name)
                    (aside / name).rename(folder / name)
        for path in (*(aside / name for name in OURS), folder / ".part-probe"):
            _remove(path)
        if aside.is_dir():
            aside.rmdir()
        (folder / ".part-probe").touch()
        (folder / ".part-probe").unlink()
    except OSError as wrong:
        raise disk_error(wrong, folder) from wrong


def _remove(path: Path) -> None:
    shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)


def refuse_taken(run: Run, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a run.

    Raises:
        UsageError: It does, and neither ``resume`` nor ``overwrite`` was said.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite contradict one another", cure="say one of them")
    if run.cross_validation.exists():
        raise UsageError(
            "this folder holds several runs and their ensemble",
            cure="name another folder; a cross-validation goes on with the same --fold all/n",
            where=run.folder,
        )
    if not (resume or overwrite) and (run.journal.exists() or run.plan.exists()):
        raise UsageError(
            "this folder holds a run already",
            cure="go on with it (--resume), replace it (--overwrite), or name another folder",
            where=run.folder,
        )


def next_folder(source: Path, parent: Path = Path("runs")) -> Path:
    """``runs/<name>-<n>`` with the first free number.

    Args:
        source: The data set, which gives the name.
        parent: Where runs are kept.
    """
    name = safe_name(source.resolve().name or "data")
    number = 1
    while (parent / f"{name}-{number}").exists():
        number += 1
    return parent / f"{name}-{number}"


class RunLog:
    """An error inside the block leaves its traceback in the run's ``log.txt``.

    The person who is there reads which file it was; the log, which travels, says whose case it is.

    Args:
        run: The run.
        sources: Data sets whose files are called by the ids of their cases.
    """

    def __init__(self, run: Run, *sources: Path) -> None:
        self._run = run
        self._sources = sources

    def __enter__(self) -> RunLog:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        if (
            kind is None
            or issubclass(kind, PreemptedError | KeyboardInterrupt)
            or not self._run.folder.is_dir()
        ):
            return
        path = self._run.folder / "log.txt"
        before = path.read_text(encoding="utf-8") if path.is_file() else ""
        now = datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds")
        text = "".join(traceback.format_exception(kind, wrong, trace))
        text = data_without_names(text, self._sources)
        write_text(path, f"{before}{now}\n{text}\n")
