import json

import pytest

from unetkit.cli import main
from unetkit.workflows.models import _Bench

pytestmark = pytest.mark.usefixtures("excepthook")


def test_info_lists_every_family(capsys):
    assert main(["info"]) == 0
    told = capsys.readouterr()
    assert "focal_tversky" in told.out
    assert "unet info MODEL" in told.err
    assert main(["info", "--json"]) == 0
    assert "residual" in json.loads(capsys.readouterr().out)["families"]["encoder"]


def test_info_of_a_model(finished, capsys):
    assert main(["info", str(finished)]) == 0
    assert "1 scratch" in capsys.readouterr().out
    assert main(["info", str(finished), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["measured_on"] == "held-out"
    assert main(["info", str(finished / "pictures")]) == 2


def test_doctor(capsys):
    assert main(["doctor", "--full", "--quiet"]) == 0
    told = capsys.readouterr()
    assert "torch threads" in told.out
    assert main(["doctor", "--json"]) == 0
    assert "Python" in json.loads(capsys.readouterr().out)["facts"]


def test_doctor_names_problems(monkeypatch, capsys):
    from unetkit.workflows import doctor

    found = doctor.DoctorResult(facts={"a": "b"}, problems=("no disk",))
    monkeypatch.setattr(doctor, "doctor", lambda full: found)
    assert main(["doctor"]) == 0
    assert "problem: no disk" in capsys.readouterr().out


def test_models_lists_what_network_takes(capsys, monkeypatch):
    some = {
        "preset": "mobile",
        "encoder": "residual",
        "bottleneck": "aspp",
        "fusion": "add",
        "decoder": "unet",
    }
    monkeypatch.setattr(_Bench, "wanted", lambda _: list(some.items()))  # all of them: tests/workflows
    assert main(["models", "--patch", "64x64", "-q"]) == 0
    told = capsys.readouterr().out
    assert "Networks and parts at 64 × 64" in told
    assert "residual" in told
    assert main(["models", "--patch", "64,64", "--json", "-q"]) == 0
    rows = json.loads(capsys.readouterr().out)["rows"]
    assert {row["family"]: row["name"] for row in rows} == some
    assert main(["models", "--patch", "large"]) == 2
    assert "'--patch large' is no patch" in capsys.readouterr().err
