"""Whatever is changed, taken away or put in behind the registry's back is found."""

from __future__ import annotations

import json
import shutil

import pytest

from unetkit.errors import DataError
from unetkit.networks.store import load_model, save_model
from unetkit.records.chain import append_link, read_chain
from unetkit.records.registered import LiveFile
from unetkit.workflows.registry import Registry
from unetkit.workflows.tampering import check_version, is_behind, orphans


@pytest.fixture(scope="module")
def template(finished, tmp_path_factory):
    """Two versions, made live one after the other."""
    registry = Registry(tmp_path_factory.mktemp("registry") / "r")
    network, plan = load_model(finished / "model")
    save_model(registry.folder.parent / "model", network, plan)
    for number in (1, 2):
        registry.add(registry.folder.parent / "model")
        link = append_link(registry.folder / "log.jsonl", "promoted", {"version": number})
        (registry.folder / "live.json").write_text(LiveFile(number=number, record=link.hash).to_json())
    return registry.folder


@pytest.fixture
def registry(template, tmp_path):
    """A copy of the template."""
    return Registry(shutil.copytree(template, tmp_path / "r"))


def test_an_untouched_registry_is_whole(registry):
    links = read_chain(registry.folder / "log.jsonl")
    check_version(registry.folder, 1, links)
    assert not is_behind(registry.folder, links)
    assert orphans(registry.folder, links) == ()
    assert registry.verify(head=links[0].hash).head == links[-1].hash


@pytest.mark.parametrize("name", ["weights.safetensors", "plan.json", "model.json", "registered.json"])
def test_a_changed_or_missing_file_is_found(registry, name):
    file = registry.folder / "versions" / "0001" / name
    content = file.read_bytes()
    file.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(DataError, match=f"{name}: this registry was tampered with: this file was changed"):
        registry.verify()
    file.unlink()
    with pytest.raises(DataError, match="this file of the version is missing"):
        registry.verify()


def test_looking_at_a_registry_in_a_file_manager_is_no_tampering(registry):
    for folder in (registry.folder, registry.folder / "versions", registry.folder / "versions" / "0001"):
        (folder / ".DS_Store").write_bytes(b"x")
        (folder / "Thumbs.db").write_bytes(b"x")
    assert registry.verify().versions == 2
    assert registry.rollback().number == 1


def test_a_file_or_a_version_that_was_put_in_is_found(registry):
    extra = registry.folder / "versions" / "0002" / "extra.py"
    extra.write_text("x")
    with pytest.raises(DataError, match=r"extra.py: .*put in after the version was added"):
        registry.verify()
    extra.unlink()
    shutil.copytree(registry.folder / "versions" / "0001", registry.folder / "versions" / "0003")
    with pytest.raises(DataError, match="the log does not know this version"):
        registry.verify()
    with pytest.raises(DataError, match="the log does not know this version"):
        registry.add(registry.folder / "versions" / "0001")


def test_another_live_model_than_the_logs_is_found(registry):
    live = registry.folder / "live.json"
    record = json.loads(live.read_text())
    live.write_text(json.dumps({**record, "number": 1}))
    with pytest.raises(DataError, match="it names a version that no line of the log made live"):
        registry.verify()
    with pytest.raises(DataError, match="no line of the log made live"):
        registry.rollback()
    live.unlink()
    with pytest.raises(DataError, match="the file that says what is live is gone"):
        registry.verify()


def test_a_log_whose_end_was_cut_off_is_found_by_what_it_made_live(registry):
    log = registry.folder / "log.jsonl"
    head = registry.verify().head
    lines = log.read_text().splitlines(keepends=True)
    log.write_text("".join(lines[:-1]))
    with pytest.raises(DataError, match="no line of the log made live"):
        registry.verify()
    # whoever also rewrites live.json is found by a head that was kept elsewhere
    first = read_chain(log)[1]
    (registry.folder / "live.json").write_text(LiveFile(number=1, record=first.hash).to_json())
    registry.verify()
    with pytest.raises(DataError, match="it was cut or replaced"):
        registry.verify(head=head)


def test_a_changed_line_of_the_log_is_found(registry):
    log = registry.folder / "log.jsonl"
    log.write_text(log.read_text().replace('"version": 2', '"version": 1'))
    for verb in (registry.verify, registry.versions, registry.rollback):
        with pytest.raises(DataError, match="this log was tampered with: line"):
            verb()
