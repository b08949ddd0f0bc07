"""Volumes slice by slice, from training to predictions, through the command line."""

import json

import numpy as np
import pytest

from unetkit.cli import main
from unetkit.data.formats import format_of

pytestmark = pytest.mark.usefixtures("excepthook")


def test_a_network_over_the_plane_answers_volumes(volumes, tiny_words, tmp_path, capsys):
    run, out = tmp_path / "run", tmp_path / "out"
    words = ["--set", "data.slice_axis=0", "--set", "data.context_slices=1"]
    assert main(["train", str(volumes), "--out", str(run), "--fold", "0/3", "-q", *tiny_words, *words]) == 0
    plan = json.loads((run / "model" / "plan.json").read_text())
    assert (plan["data"]["slice_axis"], plan["data"]["context_slices"]) == (0, 1)
    assert plan["preparation"]["spacing_mm"][0] == 0
    seen = "slice by slice along axis 0 with 1 neighbours on each side"
    assert seen in (run / "model" / "model_card.md").read_text()
    report = (run / "report.html").read_text()
    assert "data.context_slices" in report
    assert 'id="viewer"' in report

    assert (
        main(["predict", str(run), str(volumes / "imagesTr"), "--out", str(out), "--probabilities", "-q"])
        == 0
    )
    path = out / "case0.nii.gz"
    labels, grid = format_of(path).read_label(path)
    wanted, other = format_of(path).read_label(volumes / "labelsTr" / path.name)
    assert labels.shape == wanted.shape
    assert grid.matches(other)
    packed = np.load(out / "case0.probabilities.npz", allow_pickle=False)
    assert packed["probabilities"].shape == (2, *wanted.shape)

    capsys.readouterr()
    assert main(["info", str(run)]) == 0
    assert "slice by slice along axis 0" in " ".join(capsys.readouterr().out.split())
