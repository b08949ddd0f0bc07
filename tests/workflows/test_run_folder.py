import json
import shutil
import subprocess
import sys

import pytest

from unetkit.errors import PreemptedError, ResourceError, UsageError
from unetkit.records.run import Run
from unetkit.workflows.run_folder import RunLog, next_folder, open_run, replaced, safe_name


def names(folder):
    return sorted(path.name for path in folder.iterdir() if path.name != ".lock")


@pytest.fixture
def old(tmp_path):
    """A run with a plan, a model, and a file that is not of the run."""
    run = Run(tmp_path / "r")
    run.note("started")
    (run.folder / "mine.txt").write_text("keep")
    run.plan.write_text("old")
    run.model.mkdir()
    (run.model / "weights.safetensors").write_text("old")
    return run


def test_a_run_is_never_overwritten_unless_told(old):
    with (
        pytest.raises(UsageError, match=r"holds a run already.*--resume.*--overwrite"),
        open_run(old.folder, resume=False, overwrite=False),
    ):
        pass
    for asked in ({"resume": True, "overwrite": False}, {"resume": False, "overwrite": True}):
        with open_run(old.folder, **asked):
            pass
        assert names(old.folder) == ["journal.jsonl", "mine.txt", "model", "plan.json"]
    with (
        pytest.raises(UsageError, match="contradict"),
        open_run(old.folder, resume=True, overwrite=True),
    ):
        pass


def test_what_is_overwritten_goes_when_the_new_plan_is_there(old):
    with open_run(old.folder, resume=False, overwrite=True) as run:
        with replaced(run):
            assert names(run.folder) == [".replaced", "mine.txt"]
            run.plan.write_text("new")
        assert names(run.folder) == ["mine.txt", "plan.json"]
    assert old.plan.read_text() == "new"


def test_without_a_new_plan_the_old_run_is_back(old):
    before = names(old.folder)

    def break_off(run):
        with replaced(run):
            run.split.write_text("new")
            run.journal.write_text("new")
            raise ValueError("no plan")

    with (
        open_run(old.folder, resume=False, overwrite=True) as run,
        pytest.raises(ValueError, match="no plan"),
    ):
        break_off(run)
    assert set(before) <= set(names(old.folder))
    assert old.plan.read_text() == (old.model / "weights.safetensors").read_text() == "old"
    assert json.loads(old.journal.read_text())["event"] == "started"


@pytest.mark.parametrize("moved", [["plan.json"], ["plan.json", "model", "journal.jsonl"]])
def test_a_kill_in_between_is_made_good(old, moved):
    before = names(old.folder)
    (old.folder / ".replaced").mkdir()
    for name in moved:
        shutil.move(old.folder / name, old.folder / ".replaced" / name)
    with (
        pytest.raises(UsageError, match="holds a run already"),
        open_run(old.folder, resume=False, overwrite=False),
    ):
        pass
    assert names(old.folder) == before


def test_a_folder_is_for_one_command_at_a_time(tmp_path):
    folder = tmp_path / "r"
    with open_run(folder, resume=False, overwrite=False):
        with (
            pytest.raises(UsageError, match="another command is at work in this folder") as caught,
            open_run(folder, resume=True, overwrite=False),
        ):
            pass
        assert caught.value.where == str(folder)
        code = (
            "import sys, pathlib; from unetkit.workflows.run_folder import open_run\n"
            "with open_run(pathlib.Path(sys.argv[1]), resume=True, overwrite=False): pass"
        )
        words = [sys.executable, "-c", code, str(folder)]
        assert "another command" in subprocess.run(words, capture_output=True, text=True).stderr
    with open_run(folder, resume=True, overwrite=False) as run:
        assert names(run.folder) == []


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with (
        pytest.raises(ResourceError, match="cannot write this file"),
        open_run(tmp_path / "file" / "run", resume=False, overwrite=False),
    ):
        pass


def test_runs_are_numbered(tmp_path):
    assert next_folder(tmp_path / "data", tmp_path / "runs").name == "data-1"
    (tmp_path / "runs" / "data-1").mkdir(parents=True)
    assert next_folder(tmp_path / "data", tmp_path / "runs").name == "data-2"


def test_names_never_leave_their_folder_and_never_meet():
    names = ["a/b", "a b", "../a", "..", "", "ok-1.x", ".hidden", "ä"]
    safe = [safe_name(name) for name in names]
    assert len(set(safe)) == len(names)
    assert not any("/" in name or name.startswith(".") for name in safe)
    assert safe[5] == "ok-1.x"


def fail(run, wrong):
    with RunLog(run):
        raise wrong


def test_tracebacks_go_to_the_log(tmp_path):
    run = Run(tmp_path)
    for text in ("one", "two"):
        with pytest.raises(ValueError, match=text):
            fail(run, ValueError(text))
    log = (tmp_path / "log.txt").read_text()
    assert log.index("ValueError: one") < log.index("ValueError: two")
    assert "Traceback" in log


def test_being_stopped_is_not_an_error(tmp_path):
    with pytest.raises(PreemptedError):
        fail(Run(tmp_path), PreemptedError("a", cure="b"))
    with RunLog(Run(tmp_path)):
        pass
    assert not (tmp_path / "log.txt").exists()
