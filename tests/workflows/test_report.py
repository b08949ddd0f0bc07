import json
import re
import shutil

import pytest

from unetkit.errors import UsageError
from unetkit.workflows.case_pictures import SHOWN_BYTES
from unetkit.workflows.report import report


def test_an_update_shows_what_it_kept(finished, tmp_path):
    run = shutil.copytree(finished, tmp_path / "run")
    assert "Kept and gained" not in report(run).path.read_text()
    one = {"value": 0.123}
    kept = dict.fromkeys(("accuracy", "backward", "forward", "forgetting"), one)
    file = {"method": "ewc", "model": "m", "model_sha256": "", "data": "d", "stages": ["before"]}
    file |= {"domains": ["new"], "classes": {"mean": {"matrix": [[one]], **kept}}}
    (run / "update.json").write_text(json.dumps(file))
    text = report(run).path.read_text()
    assert ">Kept and gained</h2>" in text
    assert "0.123" in text


def test_it_holds_every_section_and_nothing_from_outside(finished, tmp_path):
    result = report(finished, out=tmp_path / "r.html")
    text = result.path.read_text()
    for heading in (
        "Scores",
        "Look closer",
        "Pictures, worst first",
        "Learning",
        "Every case, worst first",
        "Can the confidence be trusted?",
        "Data",
        "Plan and reasons",
        "Use the model",
        "Versions and hashes",
    ):
        assert f">{heading}</h2>" in text
    assert not re.search(r'(?:src|href)="(?!#|data:)', text)
    assert "unet predict" in text
    assert "uk.load(&quot;" in text
    assert result.cases == 4


@pytest.mark.parametrize(("calibrated", "units"), [((True, True), "mm"), ((False, True), "mm or px")])
def test_distances_say_what_they_are_in(finished, tmp_path, calibrated, units):
    text = report(finished, out=tmp_path / "r.html").path.read_text()
    head = re.findall(r"<th[^>]*>([^<]*)", text)
    assert {"HD95 (px)", "ASSD (px)", "NSD @ 1 px", "Dice"} <= set(head)  # pictures state no spacing
    assert not [word for word in head if " mm" in word or "(mm)" in word]
    shutil.copytree(finished, tmp_path / "run")
    path = tmp_path / "run" / "model" / "scores.json"
    scores = json.loads(path.read_text())
    for case, stated in zip(scores["cases"], calibrated * 2, strict=True):
        case["calibrated"] = stated
    path.write_text(json.dumps(scores))
    text = report(tmp_path / "run").path.read_text()
    assert f">HD95 ({units})</th>" in text


def test_worst_cases_come_first(finished, tmp_path):
    text = report(finished, out=tmp_path / "r.html").path.read_text()
    values = [float(v) for v in re.findall(r"<figcaption>Dice ([0-9.]+)", text)]
    assert values == sorted(values)


def test_it_needs_neither_torch_nor_the_data(finished, tmp_path):
    import subprocess
    import sys

    run = tmp_path / "moved"
    shutil.copytree(finished, run)
    code = f"import sys, unetkit as u; u.report({str(run)!r}); print('torch' in sys.modules)"
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_an_unfinished_run_has_a_report_too(finished, tmp_path):
    for name in ("plan.json", "journal.jsonl"):
        shutil.copy(finished / name, tmp_path)
    text = report(tmp_path).path.read_text()
    assert "training not finished" in text
    assert "--resume" in text


def test_names_from_files_cannot_become_html(finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    evil = "<img src=x onerror=alert(1)>"
    for name in ("pictures/cases.json", "model/scores.json", "manifest.json", "split.json"):
        path = run / name
        path.write_text(path.read_text().replace("wafer00", json.dumps(evil)[1:-1]))
    text = report(run).path.read_text()
    assert evil not in text
    assert "&lt;img src=x" in text


def test_only_models_of_medical_formats_are_called_no_medical_device(finished, tmp_path):
    words = "Not a medical device"
    assert words not in report(finished, out=tmp_path / "r.html").path.read_text()
    run = tmp_path / "run"
    shutil.copytree(finished, run)
    seal = run / "model" / "model.json"
    assert '"file format": "raster"' in seal.read_text()
    seal.write_text(seal.read_text().replace('"file format": "raster"', '"file format": "dicom"'))
    assert words in report(run).path.read_text()


def test_it_stays_within_the_size_its_pictures_are_given(finished, tmp_path):
    result = report(finished, out=tmp_path / "r.html")
    assert result.bytes < 2 * SHOWN_BYTES
    assert "<script>" in result.path.read_text()


def test_what_is_no_run_is_refused(tmp_path):
    with pytest.raises(UsageError, match="not the folder of a run"):
        report(tmp_path)
