"""The model folder: what goes in comes out, and anything else is refused by name."""

import hashlib
import json
import subprocess
import sys
from importlib.metadata import version
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load, save

from unetkit.errors import DataError, ResourceError, UsageError
from unetkit.networks.store import describe, load_model, previous_folder, read_plan, save_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.scores import Scores
from unetkit.spatial.memory_format import arrange_weights

PLAN = Plan.model_validate(EXAMPLE)
SCORES = Scores(
    split="held-out", classes=("defect",), metrics=("dice",), tolerance_mm=1.0, cases=(), summary={}
)


def network(plan: Plan = PLAN):
    return build(plan.network, rank=2, in_channels=1, classes=2).eval()


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    save_model(tmp_path / "model", network(), PLAN, scores=SCORES, facts={"seed": "3"})
    return tmp_path / "model"


def reseal(folder: Path) -> None:
    """Make the seal fit the files again, as somebody with bad intentions would."""
    seal = json.loads((folder / "model.json").read_text())
    for key, name in (("plan_sha256", "plan.json"), ("weights_sha256", "weights.safetensors")):
        seal[key] = hashlib.sha256((folder / name).read_bytes()).hexdigest()
    (folder / "model.json").write_text(json.dumps(seal))


def edit_weights(folder: Path, change) -> None:
    path = folder / "weights.safetensors"
    weights = load(path.read_bytes())
    change(weights)
    path.write_bytes(save(weights))
    reseal(folder)


@pytest.mark.parametrize("norm", ["instance", "batch"])
@pytest.mark.parametrize("name", ["contiguous", "channels_last"])
def test_a_model_comes_back_bit_for_bit(tmp_path, name, norm):
    plan = PLAN.with_values({"network.norm": norm})
    original = network(plan)
    arrange_weights(original, name)
    save_model(tmp_path, original, plan)
    loaded, loaded_plan = load_model(tmp_path)
    assert loaded_plan == plan
    assert not loaded.training
    assert loaded.state_dict().keys() == original.state_dict().keys()
    for key, value in original.state_dict().items():
        assert torch.equal(loaded.state_dict()[key], value)
    assert all(value.requires_grad for value in loaded.parameters())
    x = torch.randn(1, 1, 9, 14)
    arrange_weights(original, "contiguous")
    assert torch.equal(loaded(x), original(x))


def test_a_nested_model_can_be_loaded_at_a_level_and_saved_as_such(tmp_path):
    changes = {"network.decoder": "unetpp", "network.widths": "[4,4,4]", "network.deep_supervision": "2"}
    changes |= {"network.blocks": "[1,1,1]", "network.decoder_blocks": "[1,1]"}
    changes |= {"network.kernels": "[[3,3],[3,3],[3,3]]", "network.strides": "[[1,1],[2,2],[2,2]]"}
    plan = PLAN.with_values(changes)
    save_model(tmp_path / "whole", network(plan), plan)
    small, cut = load_model(tmp_path / "whole", prune_level=1)
    assert cut == plan.model_copy(update={"network": plan.network.model_copy(update={"prune_level": 1})})
    save_model(tmp_path / "small", small, cut)
    again, read = load_model(tmp_path / "small")
    assert read == cut
    x = torch.randn(1, 1, 9, 12)
    assert torch.equal(again(x), small(x))
    assert describe(tmp_path / "small").seal.parameters < describe(tmp_path / "whole").seal.parameters


def test_the_folder_holds_what_the_house_says(folder):
    names = {"plan.json", "weights.safetensors", "scores.json", "model_card.md", "model.json"}
    assert {path.name for path in folder.iterdir()} == names
    assert Scores.from_json((folder / "scores.json").read_text(), where="") == SCORES
    assert "| seed | 3 |" in (folder / "model_card.md").read_text()


def test_a_description_needs_no_weights_in_memory(folder):
    found = describe(folder)
    assert found.plan == PLAN
    assert found.scores == SCORES
    assert found.seal.parameters == sum(value.numel() for value in network().parameters())
    assert found.seal.facts == {"seed": "3"}
    assert found.seal.packages["torch"] == version("torch")
    assert found.weight_bytes == (folder / "weights.safetensors").stat().st_size


def test_plan_and_description_do_not_load_torch(folder):
    code = (
        "import sys; from pathlib import Path; from unetkit.networks.store import describe, read_plan; "
        f"read_plan(Path({str(folder)!r})); describe(Path({str(folder)!r})); print('torch' in sys.modules)"
    )
    answer = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert answer.stdout.strip() == "False"


def test_saving_again_replaces_and_forgets_old_scores(folder):
    other = network()
    save_model(folder, other, PLAN)
    assert describe(folder).scores is None
    assert torch.equal(load_model(folder)[0].heads[0].weight, other.heads[0].weight)


@pytest.mark.parametrize("place", [20, -20])
def test_one_flipped_bit_in_the_weights_is_refused(folder, place):
    path = folder / "weights.safetensors"
    content = bytearray(path.read_bytes())
    content[place] ^= 1
    path.write_bytes(content)
    with pytest.raises(DataError, match=r"not the ones that were saved \(SHA-256 differs\)") as refusal:
        load_model(folder)
    assert str(refusal.value).startswith(str(path))
    assert "copy the model folder anew" in str(refusal.value)


def test_a_changed_plan_is_refused(folder):
    path = folder / "plan.json"
    path.write_text(path.read_text().replace('"seed": 0', '"seed": 1'))
    for read in (read_plan, describe, load_model):
        with pytest.raises(
            DataError, match=r"plan\.json: this plan is not the one that was saved"
        ) as refusal:
            read(folder)
        assert refusal.value.exit_code == 3


def test_an_unknown_key_in_the_plan_is_named_with_the_nearest_right_one(folder):
    tree = json.loads((folder / "plan.json").read_text())
    tree["network"]["widht"] = tree["network"]["widths"]
    (folder / "plan.json").write_text(json.dumps(tree))
    reseal(folder)
    with pytest.raises(DataError, match=r"unknown key 'network\.widht'\. Do this: use 'widths'") as refusal:
        read_plan(folder)
    assert refusal.value.where == str(folder / "plan.json")


def test_a_plan_cannot_name_code(folder):
    tree = json.loads((folder / "plan.json").read_text())
    tree["network"]["encoder"] = "os:system"
    (folder / "plan.json").write_text(json.dumps(tree))
    reseal(folder)
    with pytest.raises(DataError, match=r"there is no encoder 'os:system'"):
        load_model(folder)


@pytest.mark.parametrize("name", ["plan.json", "weights.safetensors", "model.json"])
def test_a_missing_file_is_named(folder, name):
    (folder / name).unlink()
    with pytest.raises(DataError, match=f"not a model folder: it holds no {name}.*unet train"):
        load_model(folder)
    if name == "weights.safetensors":
        with pytest.raises(DataError, match="it holds no weights"):
            describe(folder)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    with pytest.raises(DataError, match="nowhere: there is no such model folder"):
        read_plan(tmp_path / "nowhere")


def test_a_folder_in_the_place_of_a_file_is_refused(folder):
    (folder / "plan.json").unlink()
    (folder / "plan.json").mkdir()
    with pytest.raises(DataError, match=r"plan\.json: cannot read this file"):
        read_plan(folder)


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04 a zip file", b"\xff" * 64])
def test_a_foreign_weights_file_is_refused(folder, content):
    (folder / "weights.safetensors").write_bytes(content)
    reseal(folder)
    with pytest.raises(DataError, match=r"weights\.safetensors: not a safetensors file"):
        load_model(folder)


@pytest.mark.parametrize("content", ["", "{}", "[]", "not json", '{"version": 1}'])
def test_a_foreign_seal_is_refused(folder, content):
    (folder / "model.json").write_text(content)
    with pytest.raises(DataError, match=r"model\.json: "):
        read_plan(folder)


def test_weights_of_another_shape_are_refused_by_name(folder):
    edit_weights(folder, lambda weights: weights.update({"heads.0.weight": np.zeros((3, 8), np.float32)}))
    text = r"'heads\.0\.weight' has shape \[3, 8\], the plan's network expects \[2, 8\]"
    with pytest.raises(DataError, match=text):
        load_model(folder)


def test_weights_of_another_type_are_refused_by_name(folder):
    edit_weights(folder, lambda weights: weights.update({"heads.0.bias": np.zeros(2, np.float16)}))
    with pytest.raises(
        DataError, match=r"'heads\.0\.bias' has type torch\.float16, .* expects torch\.float32"
    ):
        load_model(folder)


def test_weights_too_few_or_too_many_are_refused_by_name(folder):
    edit_weights(folder, lambda weights: weights.update(extra=np.zeros(1, np.float32)))
    with pytest.raises(DataError, match=r"the weights hold 'extra', which the plan's network lacks"):
        load_model(folder)
    edit_weights(folder, lambda weights: weights.pop("encoder.stages.0.0.conv.bias"))
    with pytest.raises(DataError, match=r"the weights lack 'encoder\.stages\.0\.0\.conv\.bias'"):
        load_model(folder)


def test_a_plan_that_asks_for_more_than_the_file_holds_allocates_nothing(folder):
    tree = json.loads((folder / "plan.json").read_text())
    tree["network"]["widths"] = [2_000_000, 2_000_000]  # 150 TB of weights
    (folder / "plan.json").write_text(json.dumps(tree))
    reseal(folder)
    with pytest.raises(DataError, match=r"the plan's network expects \[2000000, "):
        load_model(folder)


def test_a_full_disk_leaves_the_old_model_whole(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def refuse(handle):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fsync", refuse)
    with pytest.raises(ResourceError, match="no room left"):
        save_model(folder, network(), PLAN)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_failure_in_the_middle_of_writing_changes_nothing(folder, monkeypatch):
    before = {path.name: path.read_bytes() for path in folder.iterdir()}

    def broken(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("os.fdopen", broken)
    with pytest.raises(ResourceError, match="no room left"):
        save_model(folder, network(), PLAN)
    assert {path.name: path.read_bytes() for path in folder.iterdir()} == before


def test_a_cascade_holds_its_first_stage_and_no_other(folder, tmp_path):
    second = PLAN.with_values({"data.cascade": "full"})
    deep = build(second.network, rank=2, in_channels=2, classes=2).eval()
    for plan, first in ((second, None), (PLAN, folder)):
        with pytest.raises(UsageError, match=r"data\.cascade is .* first stage comes with it"):
            save_model(tmp_path / "none", deep, plan, previous=first)
    assert not (tmp_path / "none").exists()
    place = tmp_path / "cascade"
    save_model(place, deep, second, previous=folder)
    save_model(place, deep, second, previous=folder)  # measured now, and saved once more
    assert previous_folder(folder) is None
    assert previous_folder(place) == place / "previous"
    wanted, got = load_model(folder)[0].state_dict(), load_model(place / "previous")[0].state_dict()
    assert all(torch.equal(wanted[name], got[name]) for name in wanted)
    assert load_model(place)[0].in_channels == 2
    with (place / "previous" / "weights.safetensors").open("ab") as file:
        file.write(b"x")
    with pytest.raises(DataError, match="these weights are not the ones that were saved"):
        load_model(place / "previous")
    with pytest.raises(DataError, match="these weights are not the ones that were saved"):
        save_model(tmp_path / "none", deep, second, previous=place / "previous")
    save_model(place / "previous", network(), PLAN)
    with pytest.raises(DataError, match="first stage of this cascade is missing or not the one"):
        previous_folder(place)
