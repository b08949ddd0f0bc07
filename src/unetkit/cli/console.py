"""Where words go: human text to stderr, results to stdout, progress as a bar or as plain lines."""

from __future__ import annotations

import json
import re
import shutil
import sys
import time
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from unetkit.records.progress import Progress, Quiet

if TYPE_CHECKING:
    from rich.progress import Progress as RichProgress
    from rich.progress import TaskID

SECONDS_BETWEEN_LINES = 5.0
LONG_SECONDS = 2.0
"""What takes no longer is not worth a bar of its own inside other work, or a line at its end."""
_FIGURE = re.compile(r"[-+<>]?\d|–|$")
"""How a number begins, or what stands in its place: a column of these is set to the right."""
_bars: list[Bar] = []


def watcher(*, quiet: bool) -> Progress:
    """The progress display that fits where stderr goes."""
    if quiet:
        return Quiet()
    if not sys.stderr.isatty():
        return Lines()
    _bars.append(Bar())
    return _bars[-1]


def close_displays() -> None:
    """Give the terminal back, also when an error left a bar open."""
    while _bars:
        _bars.pop().close()


def complain(text: str) -> None:
    """One error line on stderr."""
    if sys.stderr.isatty():
        from rich.console import Console
        from rich.text import Text

        words = Text.assemble(("error", "bold red"), ": ", text)  # a file's name may hold markup
        Console(stderr=True, highlight=False).print(words, soft_wrap=True)
        return
    sys.stderr.write(f"error: {text}\n")


def tell(text: str, *, quiet: bool) -> None:
    """One line for a person, on stderr."""
    if not quiet:
        sys.stderr.write(f"{text}\n")


def give_json(value: Mapping[str, Any] | Sequence[Any]) -> None:
    """A result for a program, on stdout."""
    sys.stdout.write(json.dumps(value, indent=2, ensure_ascii=False, default=str) + "\n")


def give_table(title: str, head: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A result for a person, on stdout; without padding when stdout is not a terminal."""
    from rich import box
    from rich.console import Console
    from rich.table import Table
    from rich.text import Text

    terminal = sys.stdout.isatty()
    console = Console(width=None if terminal else 160, highlight=False)
    table = Table(box=box.SIMPLE_HEAD)
    cells = [["" if cell is None else str(cell) for cell in row] for row in rows]
    for index, name in enumerate(head):
        figures = index > 0 and all(_FIGURE.match(row[index]) for row in cells)
        table.add_column(
            name,
            justify="right" if figures else "left",
            overflow="fold",
            no_wrap=index == 0 and len(head) < 6,
        )
    for row in cells:
        table.add_row(*map(Text, row))
    if terminal:
        console.print(Text(title, style="bold"))
        console.print(table)
        return
    with console.capture() as drawn:
        console.print(Text(title))
        console.print(table)
    lines = (line.rstrip() for line in drawn.get().splitlines())
    sys.stdout.write("\n".join(line for line in lines if line) + "\n")


def give_line(text: str) -> None:
    """One line of result on stdout."""
    sys.stdout.write(f"{text}\n")


def give_preview(steps: Iterable[str], *, as_json: bool) -> None:
    """What a dry run would do, on stdout: a line for each step, or all of them for a program.

    Args:
        steps: Each in words that go on from "would".
        as_json: Whether a program asked.
    """
    if as_json:
        give_json({"would": list(steps)})
        return
    for step in steps:
        give_line(f"would {step}")


def program() -> str:
    """How to call this program from where the reader is: ``unet``, or its path where that is not found."""
    called = sys.argv[0]
    return called if Path(called).name == "unet" and shutil.which("unet") is None else "unet"


def duration(seconds: float) -> str:
    """Seconds as a person says them.

    Example:
        >>> duration(4), duration(75), duration(7300)
        ('4 s', '1 min 15 s', '2 h 1 min')
    """
    whole = round(seconds)
    if whole < 60:
        return f"{whole} s"
    if whole < 3600:
        return f"{whole // 60} min {whole % 60} s"
    return f"{whole // 3600} h {whole % 3600 // 60} min"


class Lines:
    """Progress where stderr is a file: one plain line every few seconds and one at the end of long work."""

    def __init__(self) -> None:
        self._open: list[_Task] = []
        self._last = time.monotonic()

    def begin(self, task: str, total: float | None = None, *, done: float = 0.0) -> None:
        """A task starts; it is quiet for its first seconds."""
        now = time.monotonic()
        if not self._open:  # a task inside another must not put the other's next line off
            self._last = now
        self._open.append(_Task(task, total, now, done))

    def advance(self, amount: float = 1.0, /, **shown: str) -> None:
        """Some of the current task is done."""
        if not self._open:
            return
        task = self._open[-1]
        task.done += amount
        task.shown.update(shown)
        now = time.monotonic()
        if now - self._last >= SECONDS_BETWEEN_LINES:
            self._last = now
            outermost, *inner = self._open
            long = (each for each in inner if now - each.started >= LONG_SECONDS)
            sys.stderr.write(" | ".join(each.line(now) for each in (outermost, *long)) + "\n")

    def end(self) -> None:
        """The current task is over; one inside another ends without a word."""
        if self._open:
            task = self._open.pop()
            spent = time.monotonic() - task.started
            if spent >= LONG_SECONDS and not self._open:
                sys.stderr.write(f"{task.name}: done in {duration(spent)}\n")

    def say(self, text: str) -> None:
        """One line for a person."""
        sys.stderr.write(f"{text}\n")


class _Task:
    """One piece of work and how far it is."""

    def __init__(self, name: str, total: float | None, started: float, done: float = 0.0) -> None:
        self.name, self.total, self.started = name, total, started
        self.done = self.before = done
        self.shown: dict[str, str] = {}

    def line(self, now: float) -> str:
        """The state in words, with the time left where it can be told."""
        parts = [f"{self.done:g}"] if self.total is None else []
        if self.total is not None and self.total != 1:  # a total of 1 is a share, not a count
            parts = [f"{self.done:g}/{self.total:g}"]
        if self.total and self.before < self.done <= self.total:
            left = (now - self.started) / (self.done - self.before) * (self.total - self.done)
            parts += [f"{self.done / self.total:.0%}", f"{duration(left)} left"]
        parts += [f"{key} {value}" for key, value in self.shown.items()]
        return f"{self.name}: {' · '.join(parts)}"


class Bar:
    """Progress on a terminal: a bar with the time left; words said meanwhile scroll above it."""

    def __init__(self) -> None:
        self._live: RichProgress | None = None
        self._open: list[TaskID] = []
        self._shown: list[dict[str, str]] = []
        self._started: list[float] = []

    def begin(self, task: str, total: float | None = None, *, done: float = 0.0) -> None:
        """A task starts; a task inside a task gets its own line once it has gone on for two seconds."""
        if self._live is None:
            self._live = self._display()
            self._live.start()
        outermost = not self._open
        self._open.append(self._live.add_task(task, total=total, visible=outermost, shown=""))
        self._live.update(self._open[-1], completed=done)
        self._shown.append({})
        self._started.append(time.monotonic())

    def advance(self, amount: float = 1.0, /, **shown: str) -> None:
        """Some of the current task is done."""
        if self._live is None or not self._open:
            return
        self._shown[-1].update(shown)
        words = " · ".join(f"{key} {value}" for key, value in self._shown[-1].items())
        long = len(self._open) == 1 or time.monotonic() - self._started[-1] >= LONG_SECONDS
        self._live.update(self._open[-1], advance=amount, visible=long, shown=words)

    def end(self) -> None:
        """The current task is over; the display goes away with the last one."""
        if self._live is None or not self._open:
            return
        task = self._open.pop()
        self._shown.pop()
        self._started.pop()
        if self._open:
            self._live.remove_task(task)
            return
        self.close()

    def close(self) -> None:
        """Stop drawing."""
        if self._live is not None:
            self._live.stop()
        self._live = None
        self._open.clear()
        self._shown.clear()
        self._started.clear()

    def say(self, text: str) -> None:
        """One line for a person, above the bar."""
        if self._live is not None:
            self._live.console.print(text, markup=False, highlight=False, soft_wrap=True)
        else:
            sys.stderr.write(f"{text}\n")

    @staticmethod
    def _display() -> RichProgress:
        from rich.console import Console
        from rich.progress import (
            BarColumn,
            SpinnerColumn,
            TaskProgressColumn,
            TextColumn,
            TimeElapsedColumn,
            TimeRemainingColumn,
        )
        from rich.progress import Progress as Display

        return Display(
            SpinnerColumn(),
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=28),
            TaskProgressColumn(),
            TimeElapsedColumn(),
            TextColumn("left"),
            TimeRemainingColumn(),
            TextColumn("{task.fields[shown]}", markup=False),
            console=Console(stderr=True, highlight=False),
            refresh_per_second=4,
        )
