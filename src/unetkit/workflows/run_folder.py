"""The folder of a run: found, refused when it is taken, emptied when told, and a log for what goes wrong."""

from __future__ import annotations

import datetime
import hashlib
import re
import shutil
import traceback
from pathlib import Path
from types import TracebackType

from unetkit.errors import PreemptedError, UsageError
from unetkit.records.files import disk_error, write_text
from unetkit.records.run import Run

OURS = (
    "plan.json",
    "fingerprint.json",
    "split.json",
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
"""Everything a run writes; ``overwrite`` removes these and nothing else."""


def open_run(folder: Path, *, resume: bool, overwrite: bool) -> Run:
    """Make or find the folder of a run.

    Args:
        folder: Where.
        resume: Whether to go on with what is there.
        overwrite: Whether a run that is there may be removed.

    Raises:
        UsageError: There is a run already, and neither ``resume`` nor ``overwrite`` was said.
        ResourceError: The folder cannot be written.
    """
    run = Run(folder)
    refuse_taken(run, resume=resume, overwrite=overwrite)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        if overwrite and not resume:
            for name in OURS:
                path = folder / name
                shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        probe = folder / ".part-probe"
        probe.touch()
        probe.unlink()
    except OSError as wrong:
        raise disk_error(wrong, folder) from wrong
    return run


def refuse_taken(run: Run, *, resume: bool, overwrite: bool) -> None:
    """Refuse a folder that holds a run.

    Raises:
        UsageError: It does, and neither ``resume`` nor ``overwrite`` was said.
    """
    if resume and overwrite:
        raise UsageError("--resume and --overwrite contradict one another", cure="say one of them")
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


def safe_name(text: str) -> str:
    """A file name from any text, different for different texts.

    Example:
        >>> safe_name("tile-7"), safe_name("../a")
        ('tile-7', '_a-61b4c9')
    """
    kept = re.sub(r"[^\w.\-]", "_", text).lstrip(".")
    return kept if kept == text and kept else f"{kept}-{hashlib.sha256(text.encode()).hexdigest()[:6]}"


class RunLog:
    """An error inside the block leaves its traceback in the run's ``log.txt``.

    Args:
        run: The run.
    """

    def __init__(self, run: Run) -> None:
        self._run = run

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
        write_text(path, f"{before}{now}\n{text}\n")
