"""A model goes on learning: what is kept, measured and refused, and that a cut changes nothing."""

from __future__ import annotations

import contextlib
import json
import shutil
import signal

import numpy as np
import pytest
import torch
from PIL import Image

import unetkit as uk
from unetkit.errors import DataError, GateError, PreemptedError, UsageError
from unetkit.learning.exemplars import MemoryFile
from unetkit.learning.interpolate import interpolated
from unetkit.learning.penalty import read_importance
from unetkit.networks.store import load_model, read_plan
from unetkit.records.chain import read_chain
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.registered import version_folder
from unetkit.records.run import Run
from unetkit.workflows import forgetting
from unetkit.workflows.evaluate import evaluate
from unetkit.workflows.seen import read_seen
from unetkit.workflows.starting import read_start
from unetkit.workflows.update import METHODS, _gentler, planned, refuse_words
from unetkit.workflows.wafers import make_wafers

CHANGES = {
    "training.steps": "2",
    "training.precision": "float32",
    "training.memory_format": "contiguous",
    "inference.fit_cases": "0",
}


@pytest.fixture(scope="module")
def places(tmp_path_factory):
    """New data (the wafers of another seed, inverted) and a golden set of the old kind."""
    folder = tmp_path_factory.mktemp("update")
    for path in make_wafers(folder / "inverted", wafers=3, size=64, seed=7):
        with Image.open(path) as picture:
            Image.fromarray(255 - np.asarray(picture)).save(path)
    make_wafers(folder / "golden", wafers=2, size=64, seed=9)
    return folder


def updated(finished, places, out, method, **more):
    changes = {**CHANGES, **more.pop("changes", {})}
    return uk.update(finished, places / "inverted", out, method=method, changes=changes, fold=(0, 3), **more)


@pytest.fixture(scope="module")
def replayed(finished, wafers, places, tmp_path_factory):
    """An update by replay; read it, do not change it."""
    out = tmp_path_factory.mktemp("runs") / "replayed"
    return updated(finished, places, out, "replay", memory=wafers, golden=[places / "golden"])


@pytest.fixture(scope="module")
def tuned(finished, places, tmp_path_factory):
    """An update that does nothing against forgetting."""
    return updated(finished, places, tmp_path_factory.mktemp("runs") / "tuned", "finetune")


def weights(folder):
    return load_model(folder / "model")[0].state_dict()


def test_both_models_are_measured_on_golden_and_new_cases(replayed, finished, places):
    kept = replayed.kept
    assert kept.domains == ("golden", "new")
    assert kept.stages == ("before", "after")
    assert set(kept.classes) == {*read_plan(finished / "model").data.classes[1:], "mean"}
    for row, model in enumerate((finished, replayed.trained.folder)):
        theirs = evaluate(model, places / "golden").summary
        for name, one in kept.classes.items():
            cell = one.matrix[row][0]
            assert cell.value == pytest.approx(theirs[name]["dice"].mean, abs=1e-6)
            assert cell.low is None or cell.low <= cell.value <= cell.high
    mean = kept.classes["mean"]
    own = replayed.trained.scores.summary["mean"]["dice"].mean
    assert mean.matrix[1][1].value == pytest.approx(own, abs=1e-6)
    assert mean.backward.value == pytest.approx(mean.matrix[1][0].value - mean.matrix[0][0].value, abs=2e-6)
    assert mean.forgetting.value == pytest.approx(-mean.backward.value, abs=2e-6)
    assert mean.forward.value is not None
    assert kept.notes == ()
    assert json.loads(replayed.trained.run.update.read_text())["method"] == "replay"


def test_it_has_seen_what_the_old_model_had_seen_and_what_it_was_shown_again(replayed, finished, tuned):
    old = read_seen(finished / "model")
    for run, shown_again in ((replayed.trained.run, True), (tuned.trained.run, False)):
        new = read_seen(run.model)
        assert set(old.trained_on) < set(new.trained_on)
        assert bool(set(old.held_out) & set(new.trained_on)) is shown_again
        assert new.held_out


def test_the_old_model_is_where_it_starts_and_stays_as_it_was(replayed, finished):
    start = read_start(replayed.trained.run)
    assert start.source == str(finished / "model")
    assert start.matched.left == ()
    old, new = read_plan(finished / "model"), replayed.trained.plan
    assert (new.data, new.preparation, new.network) == (old.data, old.preparation, old.network)
    assert [term.name for term in new.objective.wrappers] == ["replay"]
    assert "share of every batch comes from a memory" in new.reasons["objective.wrappers"]


def test_old_and_new_cases_are_kept_for_the_next_update(replayed, wafers):
    folder = replayed.trained.run.memory
    record = MemoryFile.from_json((folder / "memory.json").read_bytes(), where=folder)
    domains = [each.domain for each in record.cases]
    assert record.newest == "inverted"
    assert domains.count("inverted") == 8  # the training side alone
    assert domains.count(wafers.stem) == 12


def test_a_finished_update_is_not_done_again(replayed, finished, wafers, places):
    before = replayed.trained.run.update.stat().st_mtime_ns
    again = updated(
        finished,
        places,
        replayed.trained.folder,
        "replay",
        memory=wafers,
        golden=[places / "golden"],
        resume=True,
    )
    assert again.kept == replayed.kept
    assert replayed.trained.run.update.stat().st_mtime_ns == before


def test_an_update_that_was_cut_ends_with_the_same_weights(replayed, finished, wafers, places, tmp_path):
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "refuse_remembered", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError, match="--resume"):
            updated(finished, places, tmp_path / "cut", "replay", memory=wafers)
    with pytest.raises(UsageError, match=r"a resumed run keeps its own plan: .*objective.wrappers"):
        uk.update(finished, places / "inverted", tmp_path / "cut", method="lwf", resume=True)
    # what was set by hand need not be said again
    uk.update(finished, places / "inverted", tmp_path / "cut", memory=wafers, resume=True)
    one, other = weights(replayed.trained.folder), weights(tmp_path / "cut")
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_every_method_learns_something_else_and_ewc_at_0_is_fine_tuning(
    tuned, replayed, finished, wafers, places, tmp_path
):
    plain = weights(tuned.trained.folder)
    assert not all(torch.equal(plain[name], tensor) for name, tensor in weights(finished).items())
    assert not all(
        torch.equal(plain[name], tensor) for name, tensor in weights(replayed.trained.folder).items()
    )
    zero = {"objective.wrappers": '[{"name": "ewc", "options": {"strength": 0}}]'}
    out = tmp_path / "ewc"
    updated(finished, places, out, "ewc", memory=wafers, changes=zero)
    assert all(torch.equal(plain[name], tensor) for name, tensor in weights(out).items())
    assert not (out / "memory").exists()  # looked at once, not kept
    # the model now says itself which weights matter
    assert (out / "model" / "importance.safetensors").is_file()
    endless = {"objective.wrappers": '[{"name": "ewc", "options": {"strength": 1e30}}]'}
    uk.update(out, places / "inverted", tmp_path / "held", method="ewc", changes={**CHANGES, **endless})
    held = dict(load_model(tmp_path / "held" / "model")[0].named_parameters())
    matters = read_importance(out / "model" / "importance.safetensors")
    for name, weight in held.items():
        where = matters[name] > 1e-9  # the mean is 1; what has no gradient at all is free
        torch.testing.assert_close(weight[where], plain[name][where], rtol=0, atol=1e-6)
    assert sum(int((tensor > 1e-9).sum()) for tensor in matters.values()) > 0.8 * sum(
        tensor.numel() for tensor in matters.values()
    )


def test_lwf_needs_no_old_image(finished, places, tuned, tmp_path):
    found = updated(finished, places, tmp_path / "lwf", "lwf")
    assert not all(
        torch.equal(tensor, weights(tuned.trained.folder)[name])
        for name, tensor in weights(tmp_path / "lwf").items()
    )
    assert found.kept.domains == ("new",)
    assert found.kept.classes["mean"].backward.value is None
    assert found.kept.notes == (
        "no golden set was named (--golden): what the model has forgotten is not known",
    )


def test_interpolation_takes_the_place_that_was_best_on_both(finished, wafers, places, tuned, tmp_path):
    found = updated(finished, places, tmp_path / "line", "interpolate", memory=wafers).kept
    assert len(found.tried) == 11
    assert found.tried[f"{found.alpha:g}"] == max(found.tried.values())
    wanted = interpolated(weights(finished), weights(tuned.trained.folder), found.alpha)
    for name, tensor in weights(tmp_path / "line").items():
        torch.testing.assert_close(tensor, wanted[name])


def stain(source, folder, data):
    """A copy that names one class alone, which the model does not know."""
    shutil.copytree(source, folder)
    for path in (folder / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == data.label_values[1], 77, 0).astype(np.uint8)).save(path)
    (folder / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "residue": 77}}))
    return folder


@pytest.fixture(scope="module")
def stained(finished, places):
    """Data of a class that the model does not know."""
    return stain(places / "inverted", places / "stained", read_plan(finished / "model").data)


@pytest.fixture(scope="module")
def grew(finished, wafers, places, stained, tmp_path_factory):
    """An update that was cut before its first step, and gone on with; read it, do not change it."""
    out = tmp_path_factory.mktemp("runs") / "grew"
    words = {"method": "replay", "memory": wafers, "golden": [places / "golden"], "changes": CHANGES}
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "refuse_remembered", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError, match="--resume"):
            uk.update(finished, stained, out, fold=(0, 3), **words)
    return uk.update(finished, stained, out, fold=(0, 3), resume=True, **words)


def test_a_new_class_makes_the_head_grow_and_the_old_ones_stay(grew, finished):
    old, new = read_plan(finished / "model"), grew.trained.plan
    assert new.data.classes == (*old.data.classes, "residue")
    assert new.data.label_values == (*old.data.label_values, 77)
    assert [term.name for term in new.objective.wrappers] == ["unbiased", "replay"]
    assert read_start(grew.trained.run).matched.left == ()
    head = weights(grew.trained.folder)["heads.0.weight"]
    assert len(head) == len(old.data.classes) + 1
    kept = grew.kept.classes
    assert kept["residue"].matrix[0][0].value is None  # the golden set does not tell of it
    assert kept["residue"].matrix[0][1].value == 0  # the old model cannot know it
    assert kept["residue"].accuracy.value == kept["residue"].matrix[1][1].value
    assert kept["mean"].backward.value is not None
    names = ", ".join(old.data.classes[1:])
    assert f"the new data does not name {names}: where a model finds it there, that counts as wrong" in (
        grew.kept.notes
    )
    assert evaluate(grew.trained.folder, grew.kept.data).classes == new.data.classes[1:]


def test_what_the_labels_of_each_case_name_is_remembered(grew, finished, places, tmp_path):
    count = len(read_plan(finished / "model").data.classes)
    memory = grew.trained.run.memory / "memory.json"
    record = MemoryFile.from_json(memory.read_bytes(), where=memory)
    named = {each.domain == record.newest: set(each.named) for each in record.cases}
    assert named == {True: {count}, False: set(range(1, count))}
    again = uk.update(
        grew.trained.folder, places / "inverted", tmp_path / "r", memory=grew.trained.folder, changes=CHANGES
    )
    assert [term.name for term in again.trained.plan.objective.wrappers] == ["unbiased", "replay"]
    assert again.trained.plan.data == grew.trained.plan.data


def test_labels_that_do_not_name_every_old_class_do_not_unlearn_the_others(
    finished, stained, places, tmp_path
):
    data = read_plan(finished / "model").data
    fewer = shutil.copytree(stained, tmp_path / "fewer")
    for path in (fewer / "masks").iterdir():
        mask = np.asarray(Image.open(path))
        Image.fromarray(np.where(mask == 77, data.label_values[1], 0).astype(np.uint8)).save(path)
    names = dict(zip(data.classes[:2], data.label_values[:2], strict=True))
    (fewer / "dataset.json").write_text(json.dumps({"labels": names}))
    found = uk.update(finished, fewer, tmp_path / "a", method="lwf", changes=CHANGES)
    assert [term.name for term in found.trained.plan.objective.wrappers] == ["unbiased", "lwf"]
    assert found.trained.plan.data == data
    (fewer / "dataset.json").unlink()  # nothing is stated: what the masks do not show is not there
    found = uk.update(finished, fewer, tmp_path / "b", method="lwf", changes=CHANGES)
    assert [term.name for term in found.trained.plan.objective.wrappers] == ["lwf"]


def test_the_other_methods_grow_too_and_one_does_not(finished, wafers, stained, tmp_path):
    found = uk.update(finished, stained, tmp_path / "l", method="lwf", changes=CHANGES)
    assert [term.name for term in found.trained.plan.objective.wrappers] == ["unbiased", "lwf"]
    found = uk.update(finished, stained, tmp_path / "e", method="ewc", memory=wafers, changes=CHANGES)
    assert found.trained.plan.data.classes[-1] == "residue"
    with pytest.raises(UsageError, match=r"'interpolate' needs two models of the same classes.*residue"):
        uk.update(finished, stained, tmp_path / "i", method="interpolate", memory=wafers, changes=CHANGES)
    with pytest.raises(DataError, match=r"this data also has 77 \('residue'\).*not with old or golden data"):
        uk.update(finished, stained, tmp_path / "g", method="lwf", golden=[stained], changes=CHANGES)


def test_a_model_that_grew_can_take_the_place_of_the_live_one(grew, finished, places, tmp_path):
    fresh = stain(places / "golden", tmp_path / "fresh", read_plan(finished / "model").data)
    registry = uk.Registry(tmp_path / "registry")
    registry.add(finished)
    registry.promote(1, golden=[places / "golden"])
    registry.add(grew.trained.folder)
    with contextlib.suppress(GateError):  # two steps of training may well be worse
        registry.promote(2, golden=[fresh])
    sets = read_chain(registry.folder / "log.jsonl")[-1].facts["decision"]["sets"]
    assert {each["name"] for each in sets} == {"fresh", "golden"}
    assert all(each["cases"] and each["difference"] is not None for each in sets)
    smaller = uk.Registry(tmp_path / "smaller")
    smaller.add(grew.trained.folder)
    smaller.promote(1, golden=[places / "golden"])
    smaller.add(finished)
    with pytest.raises(DataError, match="begin another registry for other classes; new ones come behind"):
        smaller.promote(2)


def test_what_both_tell_of_objects_counts():
    own = Plan.model_validate(EXAMPLE)

    def told(pixels, alone):
        changes = {"minimum_pixels": pixels, "largest_only": alone}
        return own.model_copy(update={"inference": own.inference.model_copy(update=changes)})

    found = _gentler(told((9, 3, 5), (True, True, False)), told((4, 7), (True, False))).inference
    assert found.minimum_pixels == (4, 3, 5)
    assert found.largest_only == (True, False, False)
    bare = _gentler(told((9, 3), (True, True)), told((), ())).inference
    assert (bare.minimum_pixels, bare.largest_only) == ((), ())


def test_a_golden_image_in_the_memory_is_refused_before_training(finished, wafers, places, tmp_path):
    mixed = shutil.copytree(places / "golden", tmp_path / "mixed")
    shown = sorted((wafers / "images").iterdir())[0]
    shutil.copy(shown, sorted((mixed / "images").iterdir())[0])
    with pytest.raises(DataError, match="is in the memory too"):
        updated(finished, places, tmp_path / "r", "replay", memory=wafers, golden=[mixed])
    assert not (tmp_path / "r" / "model").exists()


def test_new_data_that_does_not_fit_is_refused(finished, wafers, places, tmp_path):
    renamed = shutil.copytree(places / "inverted", tmp_path / "renamed")
    stated = json.loads((renamed / "dataset.json").read_text())
    names = {("dent" if name == "scratch" else name): value for name, value in stated["labels"].items()}
    (renamed / "dataset.json").write_text(json.dumps({**stated, "labels": names}))
    with pytest.raises(DataError, match=r"label value \d+ is 'scratch' to the model and 'dent' in this data"):
        uk.update(finished, renamed, tmp_path / "r", method="finetune", changes=CHANGES)
    assert not (tmp_path / "r" / "plan.json").exists()


def test_words_that_contradict_one_another_are_refused(finished, wafers, tmp_path):
    with pytest.raises(UsageError, match=r"there is no method 'reply' to update with. Do this: use 'replay'"):
        refuse_words("reply", None, (), tmp_path)
    for method in ("replay", "interpolate"):
        with pytest.raises(UsageError, match=f"'{method}' needs old data, and none was named.*--memory"):
            refuse_words(method, None, (), tmp_path)
    with pytest.raises(UsageError, match="what the model is shown again cannot tell what it has forgotten"):
        refuse_words("replay", wafers, (wafers,), tmp_path)
    with pytest.raises(UsageError, match="there is no such data"):
        refuse_words("replay", tmp_path / "none", (), tmp_path)
    (tmp_path / "r" / "memory").mkdir(parents=True)
    with pytest.raises(UsageError, match="the old data lies in the folder of the new run"):
        refuse_words("replay", tmp_path / "r" / "memory", (), tmp_path / "r")
    with pytest.raises(UsageError, match=r"update has no setting 'minute'. Do this: use 'minutes'"):
        uk.update(finished, wafers, tmp_path / "r", method="finetune", minute=1)
    with pytest.raises(UsageError, match="'ewc' must know which weights matter"):
        uk.update(finished, wafers, tmp_path / "e", method="ewc", changes=CHANGES)


def test_a_frozen_encoder_keeps_every_bit_and_the_next_update_lets_go_of_it(finished, places, tmp_path):
    found = updated(finished, places, tmp_path / "f", "frozen").trained
    assert found.plan.training.freeze_blocks == 2
    old, new = weights(finished), weights(found.folder)
    moved = {name for name, tensor in new.items() if not torch.equal(tensor, old[name])}
    assert {"heads.0.weight", "heads.0.bias"} <= moved
    assert any(name.startswith("decoder.") for name in moved)
    assert not [name for name in moved if name.startswith("encoder.")]
    assert planned(found.plan, "frozen").training.freeze_blocks == 2
    assert planned(found.plan, "replay").training.freeze_blocks == 0
    by_hand = found.plan.with_values({"training.freeze_blocks": "1"})
    assert planned(by_hand, "replay").training.freeze_blocks == 1


@pytest.fixture(scope="module")
def normed(wafers, quick, tmp_path_factory):
    """A run whose norms keep statistics."""
    out = tmp_path_factory.mktemp("runs") / "normed"
    return uk.train(wafers, out, changes={**quick, "network.norm": "batch"}, fold=(0, 3)).run.folder


def test_adabn_takes_the_statistics_of_the_new_images_and_changes_no_weight(normed, places, tmp_path):
    out = tmp_path / "matched"
    found = updated(normed, places, out, "adabn", golden=[places / "golden"])
    old, new = weights(normed), weights(out)
    for name, tensor in new.items():
        assert torch.equal(tensor, old[name]) == ("running_" not in name and "num_batches" not in name), name
    assert found.kept.domains == ("golden", "new")
    assert found.trained.plan.objective.wrappers == ()
    assert updated(normed, places, out, "adabn", resume=True).kept == found.kept
    assert found.trained.run.report.is_file()


def test_adabn_refuses_what_it_cannot_do(finished, normed, places, stained, tmp_path):
    with pytest.raises(UsageError, match=r"this network keeps none.*nothing to match.*--method replay"):
        updated(finished, places, tmp_path / "r", "adabn")
    assert not (tmp_path / "r").exists()
    with pytest.raises(UsageError, match=r"'adabn' trains nothing.*cannot learn a class.*residue"):
        uk.update(normed, stained, tmp_path / "r", method="adabn", changes=CHANGES)


def test_a_plan_holds_names_and_numbers_only():
    own = Plan.model_validate(EXAMPLE)
    for method in METHODS:
        plan = planned(own, method)
        names = [term.name for term in plan.objective.wrappers]
        assert names == ([method] if method in ("replay", "ewc", "lwf") else [])
        assert Plan.from_json(plan.to_json(), where="p") == plan


def test_the_live_model_of_a_registry_can_be_updated(finished, places, tmp_path):
    registry = uk.Registry(tmp_path / "registry")
    registry.add(finished)
    registry.promote(1, golden=[places / "golden"])
    updated(registry.folder, places, tmp_path / "next", "finetune")
    assert registry.add(tmp_path / "next").parent == 1
    assert read_start(Run(tmp_path / "next")).source == str(version_folder(registry.folder, 1))
