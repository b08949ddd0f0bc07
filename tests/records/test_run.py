"""The journal only grows, and a torn line costs that line alone."""

from __future__ import annotations

from unetkit.records.run import Run


def test_events_come_back_in_order(tmp_path):
    run = Run(tmp_path / "run")
    run.note("step", step=1, loss=0.5)
    run.note("validation", step=1)
    run.note("step", step=2)
    assert [row["step"] for row in run.events("step")] == [1, 2]
    assert len(list(run.events())) == 3


def test_a_torn_line_is_skipped_and_harms_no_other(tmp_path):
    run = Run(tmp_path)
    run.note("step", step=1)
    with run.journal.open("a") as file:
        file.write('{"event":"st')
    run.note("step", step=2)
    run.note("step", step=3)
    assert [row["step"] for row in run.events("step")] == [1, 2, 3]


def test_no_journal_has_no_events(tmp_path):
    assert list(Run(tmp_path).events()) == []
