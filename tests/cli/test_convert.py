import json

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")


@pytest.fixture
def photos(tmp_path):
    """A picture with a JSON, one whose JSON has no area, and one without."""
    folder = tmp_path / "photos"
    folder.mkdir()
    for name in "abc":
        Image.fromarray(np.zeros((80, 100), np.uint8)).save(folder / f"{name}.png")
    for name, kind in (("a", "polygon"), ("b", "line")):
        shapes = [{"label": "spot", "points": [[0, 0], [4, 0], [4, 4]], "shape_type": kind}]
        (folder / f"{name}.json").write_text(json.dumps({"shapes": shapes, "imagePath": f"{name}.png"}))
    return folder


def test_convert_says_what_it_wrote_and_what_it_refused(photos, tmp_path, capsys):
    out = tmp_path / "out"
    assert main(["convert", str(photos), str(out), "--dry-run"]) == 0
    assert f"would write 2 cases in 2 groups from labelme into {out}" in capsys.readouterr().out
    assert not out.exists()
    assert main(["convert", "labelme", str(photos), str(out)]) == 3
    told = capsys.readouterr()
    assert told.out.splitlines() == [
        f"wrote 1 case in 1 group from labelme into {out}",
        f"1 image without a label: {out / 'unseen'}",
    ]
    assert "b.json: a shape of the kind 'line' encloses no pixels. Do this: " in told.err
    (photos / "b.json").unlink()
    assert main(["convert", str(photos), str(out), "--overwrite", "--json", "-q"]) == 0
    assert json.loads(capsys.readouterr().out)["unseen"] == 2
    assert main(["check", str(out), "-q"]) == 0


def test_wrong_words(photos, tmp_path, capsys):
    assert main(["convert", str(photos)]) == 2
    assert "expected 'unet convert [KIND] SRC OUT', got 1 word" in capsys.readouterr().err
    assert main(["convert", "labelmee", str(photos), str(tmp_path / "out")]) == 2
    assert "use 'labelme'" in capsys.readouterr().err
    assert main(["convert", str(tmp_path / "none"), str(tmp_path / "out")]) == 3
    assert "there is no such file or folder" in capsys.readouterr().err
