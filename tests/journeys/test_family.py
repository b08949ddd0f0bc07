"""From one model to another data set, and from a handful of names to one table, through the command line."""

import json

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")

FAST = ["--set", "training.precision=float32", "--set", "training.memory_format=contiguous"]


@pytest.fixture
def colours(tmp_path):
    """Six colour pictures with two classes: other channels and classes than the wafers have."""
    random = np.random.default_rng(0)
    for folder in ("images", "masks"):
        (tmp_path / "colours" / folder).mkdir(parents=True)
    for number in range(6):
        mask = np.zeros((40, 40), np.uint8)
        mask[5:15, 5 + number : 20], mask[25:35, 20:30] = 1, 2
        pixels = random.normal(90, 9, (40, 40, 3)) + mask[..., None] * (40, 10, 60)
        Image.fromarray(pixels.clip(0, 255).astype(np.uint8)).save(
            tmp_path / "colours" / "images" / f"{number}.png"
        )
        Image.fromarray(mask).save(tmp_path / "colours" / "masks" / f"{number}.png")
    return tmp_path / "colours"


def test_a_model_is_the_start_for_other_channels_and_classes(colours, finished, tmp_path, capsys):
    run = tmp_path / "run"
    words = ["train", str(colours), "--out", str(run), "--init", str(finished), "--json", "-q", *FAST]
    words += [
        "--set",
        "training.steps=2",
        "--set",
        "training.batch_size=2",
        "--set",
        "training.freeze_blocks=1",
    ]
    assert main(words) == 0
    facts = json.loads(capsys.readouterr().out)
    assert len(facts["dice"]) == 3
    plan = json.loads((run / "plan.json").read_text())
    assert plan["network"]["widths"] == [4, 8]
    matched = json.loads((run / "start.json").read_text())["matched"]
    assert "encoder.stages.1.0.conv.weight" in matched["matched"]
    assert "heads.0.weight" in matched["left"]
    assert "tensors from" in (run / "report.html").read_text()


def test_names_become_one_table(wafers, tiny_words, tmp_path, capsys):
    out = tmp_path / "table"
    words = ["train", str(wafers), "--out", str(out), "--compare", "plain,residual", "--fold", "0/3", *FAST]
    words += [*tiny_words, "--set", "training.steps=2", "--set", "training.validate_cases=0", "-q"]
    assert main(words) == 0
    told = capsys.readouterr().out
    assert "2 networks on" in told
    assert "Wilcoxon" in told
    assert main([*words, "--json"]) == 0
    again = json.loads(capsys.readouterr().out)
    assert [one["name"] for one in again["networks"]] == ["plain", "residual"]
    assert sorted(path.name for path in out.iterdir()) == [
        "compare.html", "compare.json", "compare.md", "plain-seed0", "residual-seed0",
    ]  # fmt: skip
