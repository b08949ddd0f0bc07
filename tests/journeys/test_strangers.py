"""What others made: a part from their own package, trained with by name, and weights of their own program."""

from __future__ import annotations

import importlib
import json
import re
import sys
import tomllib
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from safetensors.torch import load_file

from unetkit.cli import main

pytestmark = pytest.mark.usefixtures("excepthook")

PAGE = Path(__file__).resolve().parents[2] / "docs" / "how-to" / "models.md"
FAST = ["--set", "training.precision=float32", "--set", "training.memory_format=contiguous"]
SHORT = ["--set", "training.steps=2", "--set", "training.validate_cases=0", "--fold", "0/3", "-q"]


def block(kind: str) -> str:
    """The one block of a kind on the page."""
    (found,) = re.findall(rf"^```{kind}\n(.*?)^```", PAGE.read_text(), flags=re.MULTILINE | re.DOTALL)
    return found


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """The page's package, as ``pip install`` leaves it: a module, and metadata with its entry points."""
    stated = tomllib.loads(block("toml"))["project"]
    site = tmp_path / "site"
    info = site / f"{stated['name'].replace('-', '_')}-{stated['version']}.dist-info"
    info.mkdir(parents=True)
    (site / "larger_of_both.py").write_text(block("python"))
    (info / "METADATA").write_text(
        f"Metadata-Version: 2.1\nName: {stated['name']}\nVersion: {stated['version']}\n"
    )
    groups = stated["entry-points"].items()
    lines = [
        f"[{group}]\n" + "".join(f"{name} = {row}\n" for name, row in rows.items()) for group, rows in groups
    ]
    (info / "entry_points.txt").write_text("\n".join(lines))
    with monkeypatch.context() as patch:
        patch.syspath_prepend(str(site))
        importlib.invalidate_caches()
        yield patch
    sys.modules.pop("larger_of_both", None)
    importlib.invalidate_caches()


def test_a_strangers_fusion_trains_by_name(stranger, wafers, tiny_words, tmp_path, capsys):
    assert main(["info", "--json"]) == 0
    assert "larger" in json.loads(capsys.readouterr().out)["families"]["fusion"]
    run, picture = tmp_path / "run", next((wafers / "images").iterdir())
    words = ["train", str(wafers), "--out", str(run), "--network", "residual+larger"]
    assert main([*words, *tiny_words, *FAST, *SHORT]) == 0
    plan = json.loads((run / "plan.json").read_text())
    assert (plan["network"]["encoder"], plan["network"]["fusion"]) == ("residual", "larger")
    assert "decoder.fusions.0.project.weight" in load_file(run / "model" / "weights.safetensors")
    assert main(["predict", str(run), str(picture), "--out", str(tmp_path / "p"), "-q"]) == 0
    assert np.asarray(Image.open(tmp_path / "p" / f"{picture.stem}.png")).shape == (64, 64)
    stranger.undo()  # the package is gone: its model is refused by name, and nothing is made up
    importlib.invalidate_caches()
    capsys.readouterr()
    assert main(["predict", str(run), str(picture), "--out", str(tmp_path / "q"), "-q"]) == 3
    assert "there is no fusion 'larger'" in capsys.readouterr().err
    assert not (tmp_path / "q" / f"{picture.stem}.png").exists()


@pytest.mark.parametrize("rank", [2, 3])
def test_a_strangers_fusion_works_in_every_decoder_and_rank(stranger, rank):
    from unetkit.networks.decoders import DECODERS
    from unetkit.networks.unet import build
    from unetkit.records.plan import NetworkPlan

    for decoder in DECODERS:
        plan = NetworkPlan(
            decoder=decoder,
            fusion="larger",
            widths=(4, 6),
            blocks=(1, 1),
            decoder_blocks=(1,),
            kernels=((3,) * rank,) * 2,
            strides=((1,) * rank, (2,) * rank),
        )
        network = build(plan, rank=rank, in_channels=1, classes=2).eval()
        size = (5, 7, 6)[:rank]
        assert network(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("program", ["lightning", "smp"])
def test_another_programs_weights_start_a_run(program, wafers, tiny, tmp_path):
    """Every stage is frozen, so that what the model ends with is what the file held, bit for bit."""
    timm = pytest.importorskip("timm", reason="timm is not installed")
    torch.manual_seed(0)
    theirs = timm.create_model("test_resnet", in_chans=1).state_dict()
    if program == "lightning":
        content = {"epoch": 3, "state_dict": {f"model.{name}": tensor for name, tensor in theirs.items()}}
    else:
        kept = {f"encoder.{name}": tensor for name, tensor in theirs.items() if not name.startswith("fc.")}
        content = kept | {"segmentation_head.0.weight": torch.zeros(2, 16, 3, 3)}
    torch.save(content, tmp_path / "theirs.ckpt")
    run = tmp_path / "run"
    words = ["train", str(wafers), "--out", str(run), "--network", "timm:test_resnet"]
    words += ["--init", str(tmp_path / "theirs.ckpt"), "--set", "training.batch_size=2"]
    words += ["--set", f"training.patch_size={tiny['training.patch_size']}"]
    words += ["--set", f"inference.tile_size={tiny['inference.tile_size']}"]
    words += ["--set", "training.freeze_blocks=5"]
    assert main([*words, *FAST, *SHORT]) == 0
    model = load_file(run / "model" / "weights.safetensors")
    mine = {
        name.removeprefix("encoder.backbone."): tensor
        for name, tensor in model.items()
        if name.startswith("encoder.backbone.") and not name.endswith("num_batches_tracked")
    }
    assert len(mine) > 20
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())
    matched = json.loads((run / "start.json").read_text())["matched"]
    assert len(matched["matched"]) == len(mine)
    assert not [name for name in matched["left"] if name.startswith("encoder.")]
    assert matched["unmatched"] == (
        ["segmentation_head.0.weight"] if program == "smp" else ["model.fc.weight", "model.fc.bias"]
    )
