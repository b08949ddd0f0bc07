"""Versions in MLflow's own store: what is copied, what its aliases say, and what is refused."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import pytest
import torch

from unetkit.errors import DataError, MissingPackageError, ResourceError, UsageError
from unetkit.networks.store import load_model
from unetkit.records.chain import append_link
from unetkit.records.registered import PROMOTED, ROLLED_BACK
from unetkit.workflows.registry import Registry


@pytest.fixture(scope="module")
def mlflow():
    """The package itself; nothing stands in for it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of what it imports, not of what is done with it
        return pytest.importorskip("mlflow", reason="mlflow is not installed")


@pytest.fixture
def store(mlflow, tmp_path, monkeypatch):
    """A store in a folder, which needs no server."""
    monkeypatch.setenv("MLFLOW_ALLOW_FILE_STORE", "true")
    monkeypatch.setenv("GIT_PYTHON_REFRESH", "quiet")
    return (tmp_path / "mlruns").as_uri()


@pytest.fixture
def registry(finished, tmp_path):
    """Two versions, of which the second went live after the first."""
    registry = Registry(tmp_path / "registry")
    for number in (1, 2):
        registry.add(finished)
        registry._switch(append_link(registry._log, PROMOTED, {"version": number}))
    return registry


def test_the_alias_gives_a_model_that_loads_and_follows_a_rollback(mlflow, registry, store, tmp_path):
    found = registry.publish(store, name="wafers")
    assert (found.live, found.versions) == (2, {1: "1", 2: "2"})
    client = mlflow.MlflowClient(tracking_uri=store, registry_uri=store)
    live, before = (client.get_model_version_by_alias("wafers", name) for name in ("live", "previous"))
    assert (str(live.version), str(before.version)) == ("2", "1")  # a store in a folder counts in numbers
    version = registry.versions()[1]
    assert live.tags["unetkit.weights_sha256"] == version.files["weights.safetensors"]
    assert live.tags["sha256.plan.json"] == version.files["plan.json"]
    place = mlflow.artifacts.download_artifacts(
        run_id=live.run_id, artifact_path="model", dst_path=str(tmp_path), tracking_uri=store
    )
    theirs, ours = (load_model(Path(each))[0].state_dict() for each in (place, version.folder))
    assert all(torch.equal(tensor, ours[name]) for name, tensor in theirs.items())
    assert client.get_run(live.run_id).data.metrics["dice mean"] == pytest.approx(version.dice["mean"])
    registry._switch(append_link(registry._log, ROLLED_BACK, {"version": 1, "instead_of": 2}))
    again = registry.publish(store, name="wafers")
    assert (again.live, again.versions) == (1, found.versions)  # nothing was copied twice
    assert str(client.get_model_version_by_alias("wafers", "live").version) == "1"
    assert set(client.get_registered_model("wafers").aliases) == {"live"}


def test_a_copy_that_was_stopped_goes_on(mlflow, registry, store, monkeypatch):
    create = mlflow.MlflowClient.create_model_version

    def full(self, name, **words):
        if words["tags"]["unetkit.version"] == "2":
            raise mlflow.exceptions.MlflowException("the disk is full\nmore")
        return create(self, name, **words)

    with monkeypatch.context() as patch:
        patch.setattr(mlflow.MlflowClient, "create_model_version", full)
        with pytest.raises(ResourceError, match=r"MLflow does not take it: the disk is full\. Do this"):
            registry.publish(store, name="wafers")
    client = mlflow.MlflowClient(tracking_uri=store, registry_uri=store)
    assert not client.get_registered_model("wafers").aliases
    assert registry.publish(store, name="wafers").versions == {1: "1", 2: "2"}


def test_other_models_under_the_name_are_refused(mlflow, registry, store, finished, tmp_path):
    client = mlflow.MlflowClient(tracking_uri=store, registry_uri=store)
    client.create_registered_model("wafers")
    run = client.create_run(client.create_experiment("theirs"))
    client.create_model_version("wafers", source=f"{run.info.artifact_uri}/x", run_id=run.info.run_id)
    with pytest.raises(DataError, match="version 1 of 'wafers' in MLflow is not of this registry"):
        registry.publish(store, name="wafers")
    with pytest.raises(UsageError, match="'a/b' is no name for a model in MLflow"):
        registry.publish(store, name="a/b")


def test_without_mlflow_its_install_command_is_said(registry, monkeypatch):
    monkeypatch.setitem(sys.modules, "mlflow", None)
    with pytest.raises(MissingPackageError, match=r"pip install 'unetkit\[mlflow\]'"):
        registry.publish("http://localhost:1", name="wafers")


def test_a_registry_that_was_tampered_with_is_not_published(registry):
    (registry.folder / "versions" / "0001" / "plan.json").write_text("{}")
    with pytest.raises(DataError, match="this registry was tampered with"):
        registry.publish("http://localhost:1", name="wafers")
