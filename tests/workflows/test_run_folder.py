import pytest

from unetkit.errors import PreemptedError, ResourceError, UsageError
from unetkit.records.run import Run
from unetkit.workflows.run_folder import RunLog, next_folder, open_run, safe_name


def test_a_run_is_never_overwritten_unless_told(tmp_path):
    run = open_run(tmp_path / "r", resume=False, overwrite=False)
    run.note("started")
    (run.folder / "mine.txt").write_text("keep")
    (run.folder / "model").mkdir()
    with pytest.raises(UsageError, match=r"holds a run already.*--resume.*--overwrite"):
        open_run(run.folder, resume=False, overwrite=False)
    open_run(run.folder, resume=True, overwrite=False)
    assert run.journal.exists()
    open_run(run.folder, resume=False, overwrite=True)
    assert [path.name for path in run.folder.iterdir()] == ["mine.txt"]
    with pytest.raises(UsageError, match="contradict"):
        open_run(run.folder, resume=True, overwrite=True)


def test_a_folder_that_cannot_be_written_is_refused_before_any_work(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceError, match="cannot write this file"):
        open_run(tmp_path / "file" / "run", resume=False, overwrite=False)


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
