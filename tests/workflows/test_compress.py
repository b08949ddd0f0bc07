import json
import shutil
import signal

import numpy as np
import pytest
from PIL import Image

import unetkit as uk
from unetkit.data import prepare
from unetkit.errors import DataError, GateError, MissingPackageError, PreemptedError, UsageError
from unetkit.networks.store import load_model, read_plan
from unetkit.records.run import Run
from unetkit.records.scores import Scores
from unetkit.workflows import compress as compressing
from unetkit.workflows import deployed
from unetkit.workflows.compress import compress, preview
from unetkit.workflows.compressed import Compressed
from unetkit.workflows.ensemble_folder import write_ensemble
from unetkit.workflows.run_folder import held
from unetkit.workflows.stages import Chain
from unetkit.workflows.teaching import read_teachers

LEARNED = {
    "training.steps": "40",
    "training.batch_size": "4",
    "training.learning_rate": "0.01",
    "network.norm": "batch",
    "network.widths": "[16,32]",
    "inference.fit_cases": "0",
}


@pytest.fixture(scope="module")
def squares(tmp_path_factory):
    """Six pictures of bright squares on dark noise: anybody can tell them apart."""
    folder = tmp_path_factory.mktemp("squares")
    for name in ("images", "masks"):
        (folder / name).mkdir()
    for number in range(6):
        random = np.random.default_rng(number)
        mask = np.zeros((64, 64), bool)
        for y, x in random.integers(0, 48, (3, 2)):
            mask[y : y + 16, x : x + 16] = True
        pixels = (random.normal(60, 10, mask.shape) + 120 * mask).clip(0, 255).astype(np.uint8)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
        Image.fromarray((255 * mask).astype(np.uint8)).save(folder / "masks" / f"{number}.png")
    return folder


@pytest.fixture(scope="module")
def learned(squares, tmp_path_factory, tiny):
    """A run whose model finds them: there is something to lose."""
    folder = tmp_path_factory.mktemp("learned") / "run"
    run = uk.train(squares, folder, changes={**tiny, **LEARNED}, fold=(0, 3))
    assert run.scores.summary["mean"]["dice"].mean > 0.5
    return folder


def test_a_smaller_model_takes_its_place_as_an_ordinary_run(learned, squares, tmp_path):
    out = tmp_path / "small"
    found = compress(learned, squares, out, prune=0.5, max_loss=100.0, changes={"training.steps": "2"})
    assert found.passed
    assert (found.before.widths, found.after.widths) == ((16, 32), (8, 16))
    assert found.before.parameters > 3 * found.after.parameters
    assert found.before.multiply_adds > 3 * found.after.multiply_adds
    assert found.after.weights_bytes == (out / "model" / "weights.safetensors").stat().st_size
    assert found.before.seconds_per_tile > 0
    assert found.split == "held-out"
    assert Compressed.from_json((out / "compress.json").read_bytes(), where="") == found
    assert "Dice" in (out / "compress.md").read_text()
    assert "Size and speed" in (out / "compress.html").read_text()
    assert not (tmp_path / "small.work").exists()
    assert found.stages == ("50 % of the channels cut",)
    page = (out / "report.html").read_text()
    assert f"unet predict {out / 'model'} image.png" in page
    assert "small.work/run" not in page
    network, plan = load_model(out / "model")
    assert plan.network == network.plan
    assert "cut, the least by l1" in plan.reasons["network.widths"]
    image = next((squares / "images").iterdir())
    assert np.asarray(uk.load(out).predict(image)).shape == (64, 64)
    kept = Scores.from_json((Run(learned).model / "scores.json").read_bytes(), where="")
    again = Scores.from_json((Run(out).model / "scores.json").read_bytes(), where="")
    assert {case.id for case in kept.cases} == {case.id for case in again.cases}
    for name, row in found.changes.items():
        assert row["dice"].cases >= 1
        if all(case.values[one]["dice"] is not None for case in kept.cases for one in kept.classes):
            assert row["dice"].before == pytest.approx(kept.summary[name]["dice"].mean)
            assert row["dice"].after == pytest.approx(again.summary[name]["dice"].mean)


def test_a_student_is_taught_and_then_cut(learned, squares, tmp_path):
    out, told = tmp_path / "small", []

    class Watch:
        begin = advance = end = lambda *_, **__: None

        def say(self, text):
            told.append(text)

    asked = {"distill": "residual", "prune": 0.5, "max_loss": 100.0, "changes": {"training.steps": "2"}}
    found = compress(learned, squares, out, teachers=[learned], progress=Watch(), **asked)
    assert found.stages == ("taught to residual", "50 % of the channels cut")
    network, plan = load_model(out / "model")
    assert (network.plan.encoder, network.plan.widths) == ("residual", (8, 16))
    assert [term.name for term in plan.objective.wrappers] == ["distill"]  # the teachers go on teaching
    assert len(read_teachers(Run(out)).teachers) == 2
    assert any("distill" in json.dumps(event) for event in Run(out).events("step"))
    assert [stage["stage"] for stage in found.asked["stages"]] == ["Distilling", "Pruning"]
    assert "taught to residual, then 50 % of the channels cut" in (out / "compress.md").read_text()
    seen = preview(learned, tmp_path / "other", prune=0.5, distill="residual")
    assert seen.network == network.plan
    assert seen.after.multiply_adds == found.after.multiply_adds


def test_a_network_of_an_ensemble_that_teaches_too_is_not_counted_twice(learned, finished, tmp_path):
    place, other = learned / "model", finished / "model"
    write_ensemble(tmp_path / "both", [("a", place), ("b", other)], read_plan(place))
    asked = compressing._Asked(None, distill="plain", teachers=(tmp_path / "both", learned))
    members = tmp_path / "both" / "members"
    assert compressing._teachers(place, asked) == (place, members / "1", place)
    assert compressing._teachers(place, compressing._Asked(None)) == ()


def test_a_student_alone_is_not_cut(learned, squares, tmp_path):
    asked = {"distill": "plain", "max_loss": 100.0, "changes": {"training.steps": "1"}}
    found = compress(learned, squares, tmp_path / "small", **asked)
    assert found.stages == ("taught to plain",)
    assert found.after.widths == (16, 32)
    with pytest.raises(UsageError, match=r"nobody to teach.*--distill"):
        compress(learned, squares, tmp_path / "other", teachers=[learned])
    with pytest.raises(UsageError, match=r"say how channels are cut, and none are to be.*add --prune"):
        compress(learned, squares, tmp_path / "other", distill="plain", rounds=2)


def test_a_share_and_a_target_contradict_one_another(learned, squares, tmp_path):
    with pytest.raises(UsageError, match="a share and a target were asked for"):
        compress(learned, squares, tmp_path / "small", prune=0.5, target="size<4MB")
    with pytest.raises(UsageError, match="there is no preview of it"):
        preview(learned, tmp_path / "small", target="size<4MB")


def test_a_target_is_met_and_the_way_there_is_shown(learned, squares, tmp_path):
    out = tmp_path / "small"
    whole = (Run(learned).model / "weights.safetensors").stat().st_size
    asked = {"target": f"size<{whole / 2000:.1f}kB", "max_loss": 100.0, "changes": {"training.steps": "1"}}
    found = compress(learned, squares, out, **asked)
    assert found.after.weights_bytes < whole / 2
    assert found.stages == (f"cut to {asked['target']}",)
    assert found.sensitivities
    assert "Stages cut alone" in (out / "compress.html").read_text()
    assert not (out / "search.json").exists()


def test_a_teacher_that_saw_the_held_out_cases_is_said_to_have(learned, squares, tmp_path, tiny):
    other = tmp_path / "other"
    uk.train(squares, other, changes={**tiny, **LEARNED, "training.steps": "1"}, fold=(1, 3))
    asked = {"distill": "plain", "max_loss": 100.0, "changes": {"training.steps": "1"}}
    found = compress(learned, squares, tmp_path / "small", teachers=[other], **asked)
    assert found.split == "training"


def test_what_lost_too_much_is_not_published(learned, squares, tmp_path):
    out = tmp_path / "small"
    ruinous = {"training.steps": "3", "training.learning_rate": "1.0"}
    with pytest.raises(GateError, match=r"at most 0.5 points of Dice.*nothing was published") as caught:
        compress(learned, squares, out, prune=0.9, changes=ruinous)
    assert caught.value.exit_code == 4
    assert not out.exists()
    work = tmp_path / "small.work"
    assert caught.value.where == str(work)
    kept = Compressed.from_json((work / "compress.json").read_bytes(), where="")
    assert not kept.passed
    assert kept.worst
    assert (work / "compress.html").read_text().count("<img") == 3 * len(kept.worst)
    found = compress(
        learned, squares, out, prune=0.9, max_loss=100.0, changes=ruinous
    )  # nothing is done twice
    assert found.changes == kept.changes
    assert not work.exists()


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_rounds_go_on_where_they_were_stopped(learned, squares, tmp_path, monkeypatch):
    out, short = tmp_path / "small", {"training.steps": "2"}
    asked = {
        "prune": 0.75,
        "max_loss": 100.0,
        "rounds": 2,
        "changes": short,
        "importance": "geometric_median",
    }
    with monkeypatch.context() as patch:
        patch.setattr(prepare.Cache, "get", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError) as caught:
            compress(learned, squares, out, **asked)
    assert caught.value.cure == "run the same command again to go on"
    assert (tmp_path / "small.work" / "start-1" / "weights.safetensors").is_file()
    told = []

    class Watch:
        begin = advance = end = lambda *_, **__: None

        def say(self, text):
            told.append(text)

    found = compress(learned, squares, out, progress=Watch(), **asked)
    assert found.after.widths == (8, 8)
    rounds = [text for text in told if text.startswith("round ")]
    assert rounds == ["round 1/2: widths [8, 16]", "round 2/2: widths [8, 8]"]
    assert sum("channels cut" in text for text in told) == 1  # the first cut was kept


def test_another_question_starts_anew(learned, squares, tmp_path):
    work = tmp_path / "small.work"
    work.mkdir()
    (work / "asked.json").write_text(json.dumps({"prune": 0.1}))
    (work / "old").touch()
    compress(learned, squares, tmp_path / "small", max_loss=100.0, changes={"training.steps": "1"})
    assert not work.exists()


def test_a_folder_that_is_not_ours_is_left_alone(learned, squares, tmp_path):
    (tmp_path / "small.work").mkdir()
    (tmp_path / "small.work" / "mine").touch()
    with pytest.raises(UsageError, match="something else is in it"):
        compress(learned, squares, tmp_path / "small")
    assert [path.name for path in (tmp_path / "small.work").iterdir()] == ["mine"]
    (tmp_path / "small").mkdir()
    (tmp_path / "small" / "mine").touch()
    with pytest.raises(UsageError, match="there is something here already"):
        compress(learned, squares, tmp_path / "small")


def test_two_at_work_for_one_folder(learned, squares, tmp_path):
    """The second one, who asked for something else, would remove what the first is at work on."""
    pytest.importorskip("fcntl", reason="no locks here")
    with (
        held(tmp_path / "small.work"),
        pytest.raises(UsageError, match="another command is at work") as caught,
    ):
        compress(learned, squares, tmp_path / "small")
    assert caught.value.where == str(tmp_path / "small.work")


def test_what_a_later_stage_refuses_is_refused_before_the_first_one_trains(
    learned, squares, tmp_path, monkeypatch
):
    monkeypatch.setattr(Chain, "train", lambda *_, **__: pytest.fail("it trained"))
    with pytest.raises(UsageError, match=r"the whole network was to count in whole numbers"):
        compress(learned, squares, tmp_path / "small", distill="residual", int8="qat", all_integer=True)
    monkeypatch.setattr(deployed, "ENGINES", {"openvino": ("no_such_package",)})
    with pytest.raises(MissingPackageError, match="eight bits are measured in the engine"):
        compress(learned, squares, tmp_path / "small", distill="plain", int8="ptq")
    assert not (tmp_path / "small.work").exists()


def test_a_model_that_saw_the_held_out_cases_is_said_to_have(learned, squares, tmp_path):
    told = []

    class Watch:
        begin = advance = end = lambda *_, **__: None

        def say(self, text):
            told.append(text)

    short = {"training.steps": "1", "training.fold": "1"}
    found = compress(learned, squares, tmp_path / "s", max_loss=100.0, changes=short, progress=Watch())
    assert found.split == "training"
    assert any("was trained on cases that are held out now" in text for text in told)


def test_a_preview_writes_nothing(learned, tmp_path):
    seen = preview(learned, tmp_path / "small", prune=0.5)
    assert seen.network.widths == (8, 16)
    assert seen.before.parameters > 3 * seen.after.parameters
    assert list(tmp_path.iterdir()) == []


def test_wrong_words_are_answered(learned, squares, tmp_path):
    out = tmp_path / "small"
    with pytest.raises(UsageError, match=r"compress has no setting 'round'.*use 'rounds'"):
        compress(learned, squares, out, round=2)
    for share in (0.0, 1.0, float("nan")):
        with pytest.raises(UsageError, match="above 0 and below 1 was expected"):
            compress(learned, squares, out, prune=share)
    with pytest.raises(UsageError, match="1 round or more were expected"):
        compress(learned, squares, out, rounds=0)
    with pytest.raises(UsageError, match=r"no importance 'l3'.*use 'l1'"):
        compress(learned, squares, out, importance="l3")
    with pytest.raises(UsageError, match="there is no model here"):
        compress(tmp_path, squares, out)
    with pytest.raises(UsageError, match="nothing of this network can be cut"):
        compress(learned, squares, out, prune=0.01)


def test_a_foreign_or_damaged_model_is_refused(learned, squares, tmp_path):
    model = tmp_path / "model"
    shutil.copytree(Run(learned).model, model)
    (model / "weights.safetensors").write_bytes(b"0" * 100)
    with pytest.raises(DataError, match="SHA-256 differs"):
        compress(model, squares, tmp_path / "small")
