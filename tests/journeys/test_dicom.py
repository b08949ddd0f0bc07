"""A hospital's road: series in, a model, a DICOM segmentation out, and no word of a patient on the way."""

import json
import shutil
import subprocess

import numpy as np
import pytest

from unetkit.cli import main
from unetkit.data.formats import format_of, stem_of

pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
pytestmark = pytest.mark.usefixtures("excepthook")


@pytest.fixture
def scans(tmp_path, write_series):
    """Four series in folders named by a number, masks as NIfTI and one as a DICOM segmentation."""
    from unetkit.data.formats.dicom import write_labels

    data = tmp_path / "scans"
    for number in range(4):
        random = np.random.default_rng(number)
        z, y, x = np.mgrid[:10, :20, :22]
        cz, cy, cx = random.uniform((4, 8, 8), (6, 12, 14))
        ball = ((2 * (z - cz)) ** 2 + (y - cy) ** 2 + (x - cx) ** 2 < 25).astype(np.uint8)
        stored = (random.normal(1100, 10, ball.shape) + 60 * ball).astype(np.uint16)
        series = data / "images" / f"1.2.{number}"
        write_series(series, stored, origin=(5, -7, 3 * number), RescaleSlope=1, RescaleIntercept=-1024)
        (data / "masks").mkdir(exist_ok=True)
        if number:
            path = data / "masks" / f"1.2.{number}.nii.gz"
            format_of(path).write(path, ball, format_of(series).describe(series).grid)
        else:
            write_labels(data / "masks" / "1.2.0.dcm", ball, source=series, names=["ball"])
    names = {"channel_names": {"0": "CT"}, "labels": {"background": 0, "ball": 1}}
    (data / "dataset.json").write_text(json.dumps(names))
    return data


def canaries(folder):
    """Files that hold the patient's name or number, or the doctor's."""
    return {
        path.relative_to(folder)
        for path in folder.rglob("*")
        if path.is_file() and b"canary" in path.read_bytes().lower()
    }


def test_from_series_to_a_segmentation_a_viewer_opens(scans, tiny_volume_words, tmp_path, capfd):
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["check", str(scans), "--html", str(tmp_path / "run" / "check.html")]) == 0
    assert main(["train", str(scans), "--out", str(run), "--fold", "0/2", "--debug", *tiny_volume_words]) == 0
    assert canaries(run) == set()
    assert sorted(path.suffix for path in (run / "predictions").iterdir()) == [".gz", ".gz"]

    series = scans / "images" / "1.2.3"
    assert main(["predict", str(run), str(series), "--out", str(out), "--json", "--probabilities"]) == 0
    (path,) = out.glob("*.dcm")
    assert stem_of(path) == "1.2.3"
    assert canaries(out) == {path.relative_to(out)}
    labels, grid = format_of(path).read_label(path)
    header = format_of(series).describe(series)
    assert labels.shape == header.shape
    assert grid.matches(header.grid)
    probabilities = np.load(out / "1.2.3.probabilities.npz", allow_pickle=False)["probabilities"]
    assert (probabilities.argmax(axis=0) == labels).mean() > 0.99
    ds = pydicom.dcmread(path)
    assert [item.SegmentLabel for item in ds.SegmentSequence] == ["ball"]
    if shutil.which("dciodvfy"):  # where it is not, test_dicom_segments says so
        said = subprocess.run(["dciodvfy", str(path)], capture_output=True, text=True, check=False).stderr
        assert [line for line in said.splitlines() if line.startswith(("Error", "Abort"))] == []

    assert main(["predict", str(run), str(scans / "images"), "--out", str(out), "--quiet"]) == 0
    assert len(list(out.glob("*.dcm"))) == 4
    capfd.readouterr()
    assert main(["evaluate", str(out), str(scans / "masks"), "--json"]) == 0
    scores = json.loads(capfd.readouterr().out)
    assert len(scores["cases"]) == 4


def test_a_broken_series_is_named_and_the_others_are_done(scans, tiny_volume_words, tmp_path, capfd):
    run, out = tmp_path / "run", tmp_path / "out"
    assert main(["train", str(scans), "--out", str(run), "--fold", "0/2", "-q", *tiny_volume_words]) == 0
    broken = next((scans / "images" / "1.2.1").iterdir())
    broken.write_bytes(broken.read_bytes()[:-40])
    assert main(["predict", str(run), str(scans / "images"), "--out", str(out)]) == 3
    told = capfd.readouterr()
    assert str(broken) in told.err
    assert "truncated" in told.err
    assert "anary" not in told.out + told.err
    assert sorted(stem_of(path) for path in out.glob("[!.]*")) == ["1.2.0", "1.2.2", "1.2.3"]
