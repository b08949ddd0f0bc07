import subprocess
import sys

from unetkit.workflows import doctor


def test_it_needs_no_torch():
    code = "import sys, unetkit; unetkit.doctor(); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_too_little_is_a_problem_with_a_cure(monkeypatch):
    monkeypatch.setattr(doctor, "free_memory", lambda: 1_000_000_000)
    monkeypatch.setattr(doctor, "LEAST_DISK_GB", 1e9)
    found = doctor.doctor()
    assert any("--memory 0.7" in problem for problem in found.problems)
    assert any("train with --out" in problem for problem in found.problems)
    assert found.facts["free memory"] == "1.0 GB"


def test_a_missing_torch_is_said(monkeypatch):
    monkeypatch.setattr(doctor, "package_versions", lambda names: {})
    monkeypatch.setattr(doctor, "free_memory", lambda: None)
    found = doctor.doctor(full=True)
    assert any("torch is not installed" in problem for problem in found.problems)
    assert "free memory" not in found.facts


def test_every_format_and_every_extra_is_named(monkeypatch):
    needed = [
        "numpy>=1.26",
        "highdicom>=0.26; extra == 'dicom'",
        'pydicom>=3; extra == "dicom"',
        "zarr ; extra == 'zarr'",
    ]
    monkeypatch.setattr(doctor, "requires", lambda name: needed)
    monkeypatch.setattr(
        doctor, "package_versions", lambda names: {name: "3.0" for name in names if name == "pydicom"}
    )
    facts = doctor.doctor().facts
    assert {".png", ".dcm", ".nrrd", ".npy", ".zarr"} <= set(facts["formats"].split())
    assert facts["extra dicom"] == "pydicom 3.0; lacks highdicom (pip install 'unetkit[dicom]')"
    assert facts["extra zarr"] == "lacks zarr (pip install 'unetkit[zarr]')"
    assert "extra numpy" not in facts
