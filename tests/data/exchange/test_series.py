from __future__ import annotations

import numpy as np
import pytest

from unetkit.data.exchange.series import folders_below, objects_in, public_names
from unetkit.data.problems import Problem

pytest.importorskip("pydicom", reason="pydicom is not installed")


def test_objects_are_listed_and_damage_is_a_problem(tmp_path, write_series):
    paths = write_series(tmp_path / "a" / "b", np.zeros((3, 4, 4), np.uint16))
    paths[0].write_bytes(paths[0].read_bytes()[:400])
    (tmp_path / "a" / "b" / "notes.txt").write_text("no image")
    (tmp_path / ".hidden").mkdir()
    assert list(folders_below(tmp_path)) == [tmp_path, tmp_path / "a", tmp_path / "a" / "b"]
    problems: list[Problem] = []
    found = list(objects_in(tmp_path / "a" / "b", problems))
    assert [each.path for each in found] == sorted(paths[1:])
    assert len({each.series for each in found}) == 1
    assert [problem.where for problem in problems] == [str(paths[0])]
    assert "CANARY" not in problems[0].problem


def test_without_a_number_the_folder_stands_for_the_patient(tmp_path, write_series):
    for name in "ab":
        write_series(tmp_path / name, np.zeros((2, 4, 4), np.uint16), PatientID="")
    patients = [each.patient for name in "ab" for each in objects_in(tmp_path / name, [])]
    assert [group for _, group in public_names(patients)] == ["patient-1"] * 2 + ["patient-2"] * 2


def test_only_public_names_are_written():
    names = public_names(["Miller", "LIDC-IDRI-0012", "Smith", "LIDC-IDRI-0012", "Miller", "LIDC-IDRI-12"])
    assert [name for name, _ in names] == [
        "patient-1", "LIDC-IDRI-0012", "patient-2", "LIDC-IDRI-0012-2", "patient-1-2", "patient-3",
    ]  # fmt: skip
    assert [group for _, group in names] == [
        "patient-1", "LIDC-IDRI-0012", "patient-2", "LIDC-IDRI-0012", "patient-1", "patient-3",
    ]  # fmt: skip
