import json

import pytest

from unetkit.cli import main
from unetkit.errors import GateError

pytestmark = pytest.mark.usefixtures("excepthook")


def test_a_dry_run_shows_what_is_left_and_writes_nothing(finished, wafers, tmp_path, capsys):
    words = [
        "compress",
        str(finished),
        str(wafers),
        "--out",
        str(tmp_path / "s"),
        "--prune",
        "0.5",
        "--dry-run",
    ]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "4 8" in told
    assert "2 4" in told
    assert f"would train it and, if the gate is passed, write {tmp_path / 's'}" in told.replace("\n", "")
    assert main([*words, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["network"]["widths"] == [2, 4]
    assert list(tmp_path.iterdir()) == []


@pytest.mark.parametrize(
    ("words", "told"),
    [
        (["--all-integer"], "add --int8 ptq or --int8 qat, or leave --all-integer out"),
        (["--int8", "ptq", "--rounds", "2"], "an importance and rounds say how channels are cut"),
        (["--importance", "l3"], "there is no importance 'l3'"),
        (["--teacher", "other"], "more teachers were named, and there is nobody to teach"),
        (["--max-loss", "-1"], "a loss and minutes of 0 or more were expected"),
        (["--distill", "residual", "--teacher", "nowhere"], "there is no model here"),
    ],
)
def test_a_dry_run_refuses_what_the_command_would_refuse(wafers, tmp_path, capsys, words, told):
    (tmp_path / "m").mkdir()
    for name in ("weights.safetensors", "plan.json"):
        (tmp_path / "m" / name).touch()
    command = ["compress", str(tmp_path / "m"), str(wafers), "--out", str(tmp_path / "s"), *words]
    for extra in (["--dry-run"], []):
        assert main([*command, *extra]) == 2
        assert told in capsys.readouterr().err
    assert list(tmp_path.iterdir()) == [tmp_path / "m"]


def test_the_words_reach_the_work_and_the_tables_are_shown(finished, wafers, tmp_path, capsys):
    out = tmp_path / "s"
    words = ["compress", str(finished), str(wafers), "--out", str(out), "--max-loss", "100"]
    assert main([*words, "--set", "training.steps=1", "--importance", "geometric_median"]) == 0
    told = capsys.readouterr()
    assert "Scores on the same cases" in told.out
    assert f"model: {out}" in told.out.replace("\n", "")
    assert "next:" in told.err
    assert (
        json.loads((out / "compress.json").read_text())["asked"]["stages"][0]["importance"]
        == "geometric_median"
    )
    assert main([*words, "--quiet"]) == 2
    assert "there is something here already" in capsys.readouterr().err


def test_a_gate_that_is_not_met_ends_with_4(monkeypatch, tmp_path, capsys):
    def fail(model, data, out, **asked):
        assert (asked["prune"], asked["max_loss"], asked["minutes"], asked["rounds"]) == (0.25, 0.1, 3.0, 2)
        assert (asked["distill"], asked["teachers"]) == ("mobile", ["other", "third"])
        assert (asked["target"], asked["int8"], asked["all_integer"]) == ("size<4MB", "qat", True)
        raise GateError("lost", cure="cut less")

    monkeypatch.setattr("unetkit.workflows.compress.compress", fail)
    words = ["compress", "m", "d", "--out", str(tmp_path / "s"), "--prune", "0.25", "--max-loss", "0.1"]
    words += ["--distill", "mobile", "--teacher", "other", "--teacher", "third", "--target", "size<4MB"]
    words += ["--int8", "qat", "--all-integer"]
    assert main([*words, "--minutes", "3", "--rounds", "2"]) == 4
    assert capsys.readouterr().err == "error: lost. Do this: cut less.\n"
