import io
import json
import sys

import pytest

from unetkit.cli import console


class Terminal(io.StringIO):
    def isatty(self):
        return True


def test_plain_lines_come_every_few_seconds_with_the_time_left(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    watch = console.watcher(quiet=False)
    assert isinstance(watch, console.Lines)
    watch.begin("reading", 10)
    for _ in range(4):
        clock[0] += 2.0
        watch.advance(1, case="a")
    assert capsys.readouterr().err == "reading: 3/10 · 30% · 14 s left · case a\n"
    watch.end()
    assert capsys.readouterr().err == "reading: done in 8 s\n"
    watch.begin("short")
    watch.end()
    watch.advance()
    watch.end()
    watch.say("hello")
    assert capsys.readouterr().err == "hello\n"


def test_work_of_unknown_length_tells_no_time(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    watch = console.Lines()
    watch.begin("searching")
    clock[0] = 6.0
    watch.advance(2.5)
    assert capsys.readouterr().err == "searching: 2.5\n"


def test_long_work_inside_other_work_stands_on_the_same_line(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    watch = console.Lines()
    watch.begin("predicting", 2)
    watch.begin("tiles of a", 4)  # shorter than two seconds: not worth a word
    clock[0] += 1.0
    watch.advance(4)
    watch.end()
    watch.advance(1, case="a")
    watch.begin("tiles of b", 8)
    clock[0] += 4.0
    watch.advance(2)
    assert (
        capsys.readouterr().err
        == "predicting: 1/2 · 50% · 5 s left · case a | tiles of b: 2/8 · 25% · 12 s left\n"
    )
    watch.end()
    assert capsys.readouterr().err == ""
    watch.end()
    assert capsys.readouterr().err == "predicting: done in 5 s\n"


def test_the_time_left_of_work_that_goes_on_is_told_from_what_was_done_now(monkeypatch, capsys):
    clock = [0.0]
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    watch = console.Lines()
    watch.begin("training", 1.0, done=0.5)
    clock[0] = 10.0
    watch.advance(0.1)
    assert capsys.readouterr().err == "training: 60% · 40 s left\n"


def test_a_bar_inside_a_bar_shows_after_two_seconds(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(sys, "stderr", Terminal())
    monkeypatch.setattr(console.time, "monotonic", lambda: clock[0])
    watch = console.Bar()
    watch.begin("predicting", 2, done=1)
    watch.begin("tiles", 3)
    try:
        tasks = watch._live.tasks
        watch.advance()
        assert [(task.description, task.visible) for task in tasks] == [
            ("predicting", True),
            ("tiles", False),
        ]
        clock[0] = 2.5
        watch.advance()
        assert [(task.completed, task.visible) for task in tasks] == [(1, True), (2, True)]
    finally:
        watch.close()


def test_a_terminal_gets_a_bar_that_goes_away(monkeypatch):
    screen = Terminal()
    monkeypatch.setattr(sys, "stderr", screen)
    watch = console.watcher(quiet=False)
    assert isinstance(watch, console.Bar)
    watch.say("before")
    watch.begin("outer", 2)
    watch.begin("inner", 5)
    watch.advance(1, case="[bold]")
    watch.say("between")
    watch.end()
    watch.advance()
    watch.end()
    watch.advance()
    watch.end()
    watch.begin("left open", 1)
    console.close_displays()
    console.complain("bad [file]")
    text = screen.getvalue()
    assert "before" in text
    assert "between" in text
    assert "outer" in text
    assert "bad [file]" in text


def test_quiet_is_quiet(capsys):
    watch = console.watcher(quiet=True)
    watch.begin("a", 1)
    watch.advance()
    watch.say("b")
    watch.end()
    console.tell("c", quiet=True)
    assert capsys.readouterr().err == ""


def test_results_go_to_stdout(capsys):
    console.give_table("Title", ("a", "b"), [("x", None), ("[red]", 2)])
    console.give_json({"é": 1})
    console.give_line("end")
    told = capsys.readouterr()
    assert told.err == ""
    assert "[red]" in told.out
    assert '"é": 1' in told.out
    assert told.out.endswith("end\n")
    assert all(line == line.rstrip() for line in told.out.splitlines())


def test_columns_of_figures_end_alike(capsys):
    rows = [
        ("a", "0.500 [0.1, 0.9]", 3, "–", "7 of"),
        ("bb", "12.00", 140, "+0.1", "x"),
        ("c", None, "", "<1", ""),
    ]
    console.give_table("Title", ("name", "mean", "n", "p", "words"), rows)
    _, head, _, *lines = capsys.readouterr().out.splitlines()
    for name, cells in (("n", ("3", "140")), ("p", ("–", "+0.1", "<1"))):
        end = head.index(f" {name} ") + 2
        assert [line[:end].split()[-1] for line, cell in zip(lines, cells, strict=False)] == list(cells)
    at = head.index("words")
    assert (lines[0][at:], lines[1][at:]) == ("7 of", "x")


@pytest.mark.parametrize(("seconds", "words"), [(0.4, "0 s"), (59.6, "1 min 0 s"), (3600, "1 h 0 min")])
def test_durations(seconds, words):
    assert console.duration(seconds) == words


def test_commands_to_copy_work_where_the_reader_is(monkeypatch):
    monkeypatch.setattr(console.shutil, "which", lambda name: None)
    monkeypatch.setattr(sys, "argv", [".venv/bin/unet", "demo"])
    assert console.program() == ".venv/bin/unet"
    monkeypatch.setattr(console.shutil, "which", lambda name: "/bin/unet")
    assert console.program() == "unet"


def test_what_a_dry_run_would_do_is_lines_or_json(capsys):
    console.give_preview(["write a", "write b"], as_json=False)
    assert capsys.readouterr().out == "would write a\nwould write b\n"
    console.give_preview((word for word in ("write a", "write b")), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"would": ["write a", "write b"]}
