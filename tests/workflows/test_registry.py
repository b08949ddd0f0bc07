"""A registry: what goes live and comes back, and that death at any moment leaves it whole."""

from __future__ import annotations

import shutil

import numpy as np
import pytest
import torch

from unetkit.errors import DataError, GateError, UsageError
from unetkit.metrics.score import summarise
from unetkit.networks.store import load_model, save_model
from unetkit.records.chain import read_chain
from unetkit.records.files import write_text
from unetkit.records.registered import Decision
from unetkit.records.scores import CaseScores
from unetkit.workflows import forgetting
from unetkit.workflows.model_folder import is_model, model_folder
from unetkit.workflows.registry import Registry
from unetkit.workflows.seen import read_seen
from unetkit.workflows.starting import asked_start
from unetkit.workflows.wafers import make_wafers

FACTS = {"device": "cpu", "precision": "float32", "memory format": "contiguous"}
QUALITY = {1: 0.5, 2: 0.7, 3: 0.6, 4: 0.8}


@pytest.fixture(scope="module")
def models(finished, tmp_path_factory):
    """Four models of the same plan."""
    network, plan = load_model(finished / "model")
    folders = []
    for number in QUALITY:
        folder = tmp_path_factory.mktemp("models") / "model"
        with torch.no_grad():
            network.heads[0].bias.fill_(float(number))
        save_model(folder, network, plan, facts=FACTS)
        folders.append(folder)
    return folders


def quality(model, golden, *, measures, progress):
    """Scores by the number of the version, so that a gate takes no time; the real ones are tested below."""
    value, names = QUALITY[int(model.folder.name)], model.classes[1:]
    rows = [
        CaseScores(
            id=case.id,
            group=case.id,
            values={name: {"dice": value} for name in names},
            missed=names[:1] if "object_recall" in measures.metrics and value == QUALITY[4] else (),
        )
        for case in golden.cases
    ]
    return summarise(rows, classes=names, metrics=("dice",), tolerance_mm=1.0, split="unknown")


@pytest.fixture
def scored(monkeypatch):
    """Every gate of the test uses ``quality``."""
    monkeypatch.setattr(forgetting, "score_golden", quality)


@pytest.fixture(scope="module")
def golden(tmp_path_factory):
    """Eight pictures of wafers that nobody was trained on."""
    folder = tmp_path_factory.mktemp("golden") / "golden"
    make_wafers(folder, wafers=2, size=64, seed=9)
    return folder


@pytest.fixture(scope="module")
def template(models, golden, tmp_path_factory):
    """Version 1 was live, version 2 is, version 3 is a candidate; copy it, do not change it."""
    registry = Registry(tmp_path_factory.mktemp("registry") / "r")
    for model in models[:3]:
        registry.add(model)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(forgetting, "score_golden", quality)
        registry.promote(1, golden=[golden])
        registry.promote(2)
    return registry.folder


@pytest.fixture
def registry(template, tmp_path):
    """A copy of the template."""
    return Registry(shutil.copytree(template, tmp_path / "r"))


def stages(registry):
    return [version.stage for version in registry.versions()]


def test_what_is_live_is_a_model_by_the_registrys_name(registry):
    assert stages(registry) == ["retired", "live", "candidate"]
    assert is_model(registry.folder)
    assert model_folder(registry.folder) == registry.folder / "versions" / "0002"
    network, _ = load_model(model_folder(registry.folder))
    assert float(network.heads[0].bias[0].detach()) == 2.0
    found = registry.verify()
    assert (found.versions, found.live, found.unfinished) == (3, 2, ())


def test_rollback_and_back_again(registry, scored):
    assert registry.rollback(dry_run=True).number == 1
    assert stages(registry) == ["retired", "live", "candidate"]
    assert registry.rollback().number == 1
    assert stages(registry) == ["live", "retired", "candidate"]
    with pytest.raises(UsageError, match="there is nothing to go back to"):
        registry.rollback()
    registry.promote(3)
    assert stages(registry) == ["retired", "retired", "live"]
    assert registry.rollback().number == 1


def test_a_worse_version_stays_a_candidate_and_the_log_says_why(registry, scored):
    with pytest.raises(GateError, match=r"version 3 may not go live: golden: Dice may be 0.1000 lower"):
        registry.promote(3)
    assert stages(registry) == ["retired", "live", "candidate"]
    last = read_chain(registry.folder / "log.jsonl")[-1]
    assert last.event == "refused"
    assert last.facts["decision"]["sets"][0]["difference"] == pytest.approx(-0.1)
    assert registry.verify().live == 2


def test_a_dry_run_decides_and_writes_nothing(registry, models, scored):
    registry.add(models[3])
    before = sorted((path, path.stat().st_mtime_ns) for path in registry.folder.rglob("*"))
    assert registry.promote(4, dry_run=True).refused == ()
    with pytest.raises(GateError):
        registry.promote(3, dry_run=True)
    assert before == sorted((path, path.stat().st_mtime_ns) for path in registry.folder.rglob("*"))


def test_golden_sets_are_remembered_and_must_be_what_they_were(models, golden, tmp_path, scored):
    registry = Registry(tmp_path / "r")
    registry.add(models[0])
    with pytest.raises(UsageError, match="this registry has no golden set"):
        registry.promote(1)
    own = shutil.copytree(golden, tmp_path / "golden")
    registry.promote(1, golden=[own])
    registry.add(models[1])
    mask, *others = sorted((own / "masks").iterdir())
    kept = mask.read_bytes()
    mask.write_bytes(next(other for each in others if (other := each.read_bytes()) != kept))
    for named in ([], [own]):
        with pytest.raises(DataError, match="this golden set is not what it was"):
            registry.promote(2, golden=named)
    mask.write_bytes(kept)
    shutil.move(own, tmp_path / "elsewhere")
    with pytest.raises(UsageError, match="this golden set is gone"):
        registry.promote(2)
    shutil.move(tmp_path / "elsewhere", own)
    assert registry.promote(2).sets[0].name == "golden"


def test_the_gate_measures_for_itself(models, golden, tmp_path, finished):
    """Real predictions: the first goes live, two wafers tell nothing, and its scores are evaluate's."""
    from unetkit.workflows.evaluate import evaluate

    registry = Registry(tmp_path / "r")
    registry.add(finished)
    registry.add(finished)
    first = registry.promote(1, golden=[golden]).sets[0]
    assert first.candidate == pytest.approx(
        np.mean(list(forgetting.class_values(evaluate(finished, golden), "mean").values())), abs=1e-6
    )
    with pytest.raises(GateError, match="golden: too few groups to tell: 2, at least 5 are needed"):
        registry.promote(2)
    assert registry.versions()[0].data_sha256
    assert registry.versions()[0].dice


def test_what_must_be_found_is_asked_at_every_promotion(registry, models, golden, tmp_path, scored):
    registry.add(models[3])
    hard = shutil.copytree(golden, tmp_path / "hard")
    with pytest.raises(GateError, match=r"hard: objects are missed that the live model finds: \S+ \("):
        registry.promote(4, must_find=[hard])
    with pytest.raises(GateError, match="hard: objects are missed"):
        registry.promote(4)
    with pytest.raises(UsageError, match="named both as a golden set and as one of objects"):
        registry.promote(4, golden=[hard])
    assert [
        link.facts["must_find"]
        for link in read_chain(registry.folder / "log.jsonl")[3:]
        if link.event == "golden"
    ] == [False, True]
    assert registry.verify().live == 2


def test_what_a_version_has_learned_cannot_judge_it_nor_those_trained_from_it(
    finished, models, wafers, tmp_path
):
    registry = Registry(tmp_path / "r")
    registry.add(finished)
    run = tmp_path / "run"
    shutil.copytree(finished / "model", run / "model")
    write_text(run / "start.json", asked_start(finished).to_json())
    assert registry.add(run).parent == 1
    assert len(read_seen(registry.folder / "versions" / "0002").trained_on) == 8
    for number in (1, 2):
        with pytest.raises(DataError, match=f"version {number} was trained on images of this set"):
            registry.promote(number, golden=[wafers])
    registry.add(models[0])
    registry.promote(3, golden=[wafers])  # nobody knows what it was trained on
    with pytest.raises(GateError, match=r"wafers.*: the candidate was trained on images of this set"):
        registry.promote(2)
    assert [link.event for link in read_chain(registry.folder / "log.jsonl")][3:] == [
        "golden", "promoted", "refused",
    ]  # fmt: skip


def test_lineage_is_known_by_the_weights(registry, models, finished, tmp_path):
    run = tmp_path / "run"
    shutil.copytree(models[3], run / "model")
    write_text(run / "start.json", asked_start(models[1]).to_json())
    assert registry.add(run).parent == 2
    assert registry.add(models[0]).parent is None


@pytest.mark.parametrize("verb", ["add", "promote", "rollback"])
def test_death_at_any_change_of_the_disk_leaves_a_registry_that_works(
    template, models, tmp_path, verb, monkeypatch, beside
):
    passed = Decision(number=3, live=2, margin=0.01, sets=(), refused=())
    another = tmp_path / "another"
    another.mkdir()
    monkeypatch.setattr(Registry, "_decided", lambda *_: (passed, {str(another): "its hash"}))
    work = {
        "add": lambda registry: registry.add(models[3]),
        "promote": lambda registry: registry.promote(3, golden=[another]),
        "rollback": lambda registry: registry.rollback(),
    }[verb]
    allowed = {"add": {2}, "promote": {2, 3}, "rollback": {1, 2}}[verb]
    crash = beside("workflows/registry_crash.py")
    number, ended = 0, False
    while not ended:
        registry = Registry(shutil.copytree(template, tmp_path / str(number)))
        try:
            with crash.dies_at(number):
                work(registry)
            ended = True
        except crash.Killed:
            pass
        live = model_folder(registry.folder)  # what a reader gets, before anybody has tidied up
        network, _ = load_model(live)
        assert int(network.heads[0].bias[0].item()) == int(live.name)
        found = registry.verify()
        assert found.live in allowed
        if found.live == int(live.name):
            assert not any("behind" in each for each in found.unfinished)
        registry.add(models[3])  # the next command finishes or undoes, and works
        after = registry.verify()
        assert after.unfinished == ()
        assert after.live == found.live == int(model_folder(registry.folder).name)
        assert not [path for path in registry.folder.rglob("*") if path.name.startswith(".part-")]
        shutil.rmtree(registry.folder)
        number += 1
    assert number > 8


def test_what_is_wrong_is_said(registry, tmp_path, models, scored):
    with pytest.raises(UsageError, match="there is no registry here"):
        Registry(tmp_path / "none").promote(1)
    assert not (tmp_path / "none").exists()
    with pytest.raises(UsageError, match=r"there is no version 9. Do this: name one of: 1, 2, 3"):
        registry.promote(9)
    with pytest.raises(UsageError, match="version 2 is live already"):
        registry.promote(2)
    with pytest.raises(UsageError, match=r"this folder is no registry: it holds model.json, model_card.md"):
        Registry(models[0]).add(models[1])
    broken = shutil.copytree(models[0], tmp_path / "broken")
    (broken / "weights.safetensors").write_bytes(b"x")
    with pytest.raises(DataError, match=r"these weights are not the ones that were saved"):
        registry.add(broken)
    assert registry.verify().unfinished == ()
    (registry.folder / "log.jsonl").unlink()
    with pytest.raises(DataError, match=r"log.jsonl: this registry was tampered with: its log is gone"):
        registry.add(models[0])
    assert (registry.folder / "versions" / "0001").is_dir()
