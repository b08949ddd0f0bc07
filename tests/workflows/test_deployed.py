import pytest

from unetkit.errors import MissingPackageError
from unetkit.records.progress import Quiet
from unetkit.workflows import deployed
from unetkit.workflows.exported import file_runtime
from unetkit.workflows.stages import Chain


def test_the_first_engine_that_is_installed_is_asked(monkeypatch):
    known = {"absent": ("no_such_package",), "openvino": ("json", "pathlib"), "onnx": ("json",)}
    monkeypatch.setattr(deployed, "ENGINES", known)
    assert deployed.engine() == "openvino"


def test_without_an_engine_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(deployed, "ENGINES", {"absent": ("json", "no_such_package")})
    with pytest.raises(MissingPackageError, match="eight bits are measured in the engine"):
        deployed.engine()


@pytest.mark.parametrize(("asked", "name"), [("onnx", "onnx"), ("", "openvino")])
def test_both_go_to_the_runtime_that_was_asked_for(asked, name, monkeypatch, tmp_path):
    def export(place, to, out, **_):
        out.mkdir(parents=True)
        for file in file_runtime(to).FILES:
            (out / file).write_bytes(bytes(5 if place == "first" else 2))

    monkeypatch.setattr(deployed, "ENGINES", {"openvino": ("json",)})
    monkeypatch.setattr(deployed, "export", export)
    monkeypatch.setattr(deployed, "load", lambda folder: folder)
    chain = Chain(first="first", source=tmp_path, folder=tmp_path / "work", progress=Quiet())
    both = deployed.deployed(chain, tmp_path / "run", "model", runtime=asked)
    assert (both.runtime, both.after) == (name, tmp_path / "run" / name)
    files = len(file_runtime(name).FILES)
    assert both.bytes == (5 * files, 2 * files)
