import pytest

from unetkit.errors import MissingPackageError
from unetkit.workflows import deployed


def test_the_first_engine_that_is_installed_is_asked(monkeypatch):
    known = {"absent": ("no_such_package",), "openvino": ("json", "pathlib"), "onnx": ("json",)}
    monkeypatch.setattr(deployed, "ENGINES", known)
    assert deployed.engine() == "openvino"


def test_without_an_engine_it_says_what_to_install(monkeypatch):
    monkeypatch.setattr(deployed, "ENGINES", {"absent": ("json", "no_such_package")})
    with pytest.raises(MissingPackageError, match="eight bits are measured in the engine"):
        deployed.engine()
