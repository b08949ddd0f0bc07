"""Volumes, from nnU-Net's layout to predictions on the scanner's grid, through the command line."""

import json

import numpy as np
import pytest

from unetkit.cli import main
from unetkit.data.formats import format_of

pytestmark = pytest.mark.usefixtures("excepthook")


def test_from_nnunets_layout_to_predictions(volumes, tiny_volume_words, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["--out", str(run), "--fold", "0/3", "--json", "-q", *tiny_volume_words]
    assert main(["train", str(volumes), *words]) == 0
    assert json.loads(capsys.readouterr().out)["cases"] == 2
    assert 'id="viewer"' in (run / "report.html").read_text()

    out = tmp_path / "out"
    words = ["predict", str(run), str(volumes / "imagesTr"), "--out", str(out), "--probabilities", "-q"]
    assert main(words) == 0
    labels = sorted(path.name for path in (volumes / "labelsTr").iterdir())
    assert sorted(path.name for path in out.glob("*.nii.gz")) == labels
    for name in labels:
        got, grid = format_of(out / name).read_label(out / name)
        wanted, other = format_of(volumes / "labelsTr" / name).read_label(volumes / "labelsTr" / name)
        assert got.shape == wanted.shape
        assert grid.matches(other)
    packed = np.load(out / "case0.probabilities.npz", allow_pickle=False)
    assert packed["probabilities"].shape == (2, 12, 20, 22)

    assert main(["evaluate", str(out), str(volumes / "labelsTr"), "--json", "-q"]) == 0
    told = capsys.readouterr().out
    scores = json.loads(told[told.index("{") :])
    assert scores["classes"] == ["ball"]
    assert len(scores["cases"]) == 6
