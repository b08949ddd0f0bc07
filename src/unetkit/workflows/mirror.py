"""A registry's versions in MLflow, for those who look there; the gate, the log and the way back stay here."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from unetkit.errors import DataError, MissingPackageError, ResourceError, UsageError
from unetkit.records.progress import Progress
from unetkit.records.registered import Published, Version

LIVE_ALIAS, BEFORE_ALIAS = "live", "previous"
"""What MLflow calls the live version, and the one that a rollback would make live."""

ARTIFACT = "model"
"""Where a version's files lie among the artifacts of its run."""

_NUMBER, _WEIGHTS = "unetkit.version", "unetkit.weights_sha256"
_FORBIDDEN = set("'\"/:")


def publish(
    versions: Sequence[Version], lives: Sequence[int], uri: str, name: str, *, progress: Progress
) -> Published:
    """Copy every version that MLflow does not have, and point its aliases where the registry points.

    Files come first, then the version with its tags, then the aliases: whoever asks for ``models:/NAME@live``
    never gets half a model, and a copy that was stopped goes on. Nothing that MLflow has is changed.

    Args:
        versions: Every version of the registry, verified.
        lives: What was live before what, the live version last.
        uri: Tracking and registry server, or store, as MLflow takes it.
        name: Of the registered model.
        progress: Who watches.

    Raises:
        UsageError: The name is none that MLflow takes.
        MissingPackageError: mlflow is not installed.
        DataError: Under this name MLflow has other models.
        ResourceError: MLflow refuses, or does not answer.
    """
    if not name or _FORBIDDEN & set(name):
        raise UsageError(
            f"'{name}' is no name for a model in MLflow",
            cure="name it with --name, without quotes, '/' or ':', for example --name wafers",
        )
    mlflow = _package()
    with _answers(mlflow, uri):
        client = mlflow.MlflowClient(tracking_uri=uri, registry_uri=uri)
        known = _known(client, name)
        _refuse_others(known, versions, name)
        progress.begin("publishing", len(versions))
        for version in versions:
            if version.number not in known:
                known[version.number] = _copied(client, version, name)
            progress.advance(1)
        progress.end()
        numbers = {number: str(one.version) for number, one in known.items()}
        *before, live = [None, None, *lives][-2:]
        for alias, number in ((BEFORE_ALIAS, before[0]), (LIVE_ALIAS, live)):
            if number is not None:
                client.set_registered_model_alias(name, alias, numbers[number])
            elif alias in client.get_registered_model(name).aliases:
                client.delete_registered_model_alias(name, alias)
    return Published(uri=uri, name=name, live=live, versions=numbers)


def _known(client: Any, name: str) -> dict[int, Any]:  # noqa: ANN401 - mlflow has one home
    """Our number of each version that MLflow has; the registered model is made where there is none."""
    if not client.search_registered_models(f"name='{name}'"):
        client.create_registered_model(name)
    found, token = [], None
    while True:
        page = client.search_model_versions(f"name='{name}'", page_token=token)
        found += page
        if not (token := page.token):
            return {int(one.tags.get(_NUMBER, -index)): one for index, one in enumerate(found)}


def _refuse_others(known: Mapping[int, Any], versions: Sequence[Version], name: str) -> None:
    """Refuse a name under which MLflow has models that are not these."""
    ours = {version.number: version.files.get("weights.safetensors") for version in versions}
    for number, one in known.items():
        if _WEIGHTS not in one.tags or ours.get(number) != one.tags[_WEIGHTS]:
            raise DataError(
                f"version {one.version} of '{name}' in MLflow is not of this registry",
                cure="publish under another --name",
            )


def _copied(client: Any, version: Version, name: str) -> Any:  # noqa: ANN401 - mlflow has one home
    """Copy one version: a run with its files and scores, then the version itself."""
    experiment = client.get_experiment_by_name(name)
    place = experiment.experiment_id if experiment else client.create_experiment(name)
    run = client.create_run(place, run_name=f"version {version.number}")
    client.log_artifacts(run.info.run_id, version.folder, ARTIFACT)
    for label, value in version.dice.items():
        client.log_metric(run.info.run_id, f"dice {label}", value)
    client.set_terminated(run.info.run_id)
    tags = {
        _NUMBER: f"{version.number}",
        _WEIGHTS: version.files["weights.safetensors"],
        "unetkit.added": version.added,
        "unetkit.parent": "" if version.parent is None else f"{version.parent}",
        "unetkit.data_sha256": version.data_sha256,
        **{f"sha256.{file}": digest for file, digest in version.files.items()},
    }
    source = f"{run.info.artifact_uri}/{ARTIFACT}"
    return client.create_model_version(name, source=source, run_id=run.info.run_id, tags=tags)


@contextmanager
def _answers(mlflow: Any, uri: str) -> Iterator[None]:  # noqa: ANN401 - mlflow has one home
    """What MLflow says no to, in words with a cure."""
    try:
        yield
    except mlflow.exceptions.MlflowException as wrong:
        said = (str(wrong).splitlines() or ["no reason given"])[0]
        raise ResourceError(
            f"MLflow does not take it: {said}",
            cure="correct --to, or see that the server runs; the same command goes on from here",
            where=uri,
        ) from wrong


def _package() -> Any:  # noqa: ANN401 - mlflow has one home
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # it reports its use over the network otherwise
    try:
        import mlflow  # pyright: ignore[reportMissingImports]
    except ImportError as missing:
        raise MissingPackageError(
            "publishing to MLflow needs the package mlflow", cure="run: pip install 'unetkit[mlflow]'"
        ) from missing
    return mlflow
