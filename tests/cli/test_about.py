import json

import pytest

from unetkit.cli import main

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
