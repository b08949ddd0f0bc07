"""A model and the smaller one made of it in the engine that will run both: files, answers, time."""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from unetkit.errors import MissingPackageError
from unetkit.workflows.export import export
from unetkit.workflows.exported import file_runtime
from unetkit.workflows.model import Model, load

if TYPE_CHECKING:
    from unetkit.workflows.stages import Chain

ENGINES = {"openvino": ("openvino", "onnxscript"), "onnx": ("onnxruntime", "onnxscript")}
"""Runtime → packages it takes; the first that is installed is asked."""


@dataclass(frozen=True)
class Deployed:
    """Two models in one engine.

    Args:
        runtime: Its name.
        before: The model that was there.
        after: The one made of it.
        bytes: Size of the network's files, before and after.
    """

    runtime: str
    before: Model
    after: Model
    bytes: tuple[int, int]


def engine() -> str:
    """The runtime a network in eight bits is measured in; torch only plays through what it would answer.

    Raises:
        MissingPackageError: None is installed.
    """
    for name, packages in ENGINES.items():
        if all(importlib.util.find_spec(package) is not None for package in packages):
            return name
    raise MissingPackageError(
        "eight bits are measured in the engine that computes with them, and none is installed",
        cure="pip install 'unetkit[onnx,openvino]'",
    )


def deployed(chain: Chain, run: Path, model: Path, *, runtime: str = "") -> Deployed:
    """Export the model that was there and the one made of it, and load both.

    Args:
        chain: What was done.
        run: Folder of the run of the latter, into which its export goes.
        model: Its model folder.
        runtime: To which runtime; empty: see ``engine``.

    Raises:
        GateError: An export does not answer as its model.
        MissingPackageError: No engine is installed.
    """
    name = runtime or engine()
    places = {chain.folder / f"before-{name}": chain.first, run / name: model}
    for target, place in places.items():
        chain.progress.say(f"exporting {place} to {name}")
        export(place, name, target, data=chain.source, overwrite=True, progress=chain.progress)
    sizes = [sum((target / file).stat().st_size for file in file_runtime(name).FILES) for target in places]
    before, after = (load(target) for target in places)
    return Deployed(name, before, after, (sizes[0], sizes[1]))
