"""From a folder of labelled images or volumes to a planned, trained, measured U-Net.

    import unetkit as uk

    run = uk.train("data/", minutes=10)
    mask = run.predict("x.png")

Names are imported when they are first used: ``import unetkit`` itself loads neither torch nor numpy.
"""

from __future__ import annotations

import importlib
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from unetkit.errors import (
        DataError,
        GateError,
        InterruptedRunError,
        MissingPackageError,
        PreemptedError,
        ResourceError,
        UnetkitError,
        UsageError,
    )
    from unetkit.records.plan import Plan
    from unetkit.records.prediction import Prediction
    from unetkit.records.scores import Scores
    from unetkit.workflows.bench import bench
    from unetkit.workflows.check import check
    from unetkit.workflows.compare import compare
    from unetkit.workflows.compress import compress
    from unetkit.workflows.convert import convert
    from unetkit.workflows.cross_validate import cross_validate
    from unetkit.workflows.demo import demo
    from unetkit.workflows.doctor import doctor
    from unetkit.workflows.ensemble import CrossValidated, ensemble
    from unetkit.workflows.evaluate import evaluate
    from unetkit.workflows.export import export
    from unetkit.workflows.info import info
    from unetkit.workflows.model import Model, load
    from unetkit.workflows.models import models
    from unetkit.workflows.monitor import monitor
    from unetkit.workflows.plan import plan
    from unetkit.workflows.predict import predict
    from unetkit.workflows.registry import Registry
    from unetkit.workflows.report import report
    from unetkit.workflows.screen import screen
    from unetkit.workflows.train import TrainedRun, train
    from unetkit.workflows.update import Updated, update

__version__ = "0.1.0"
__all__ = [
    "CrossValidated",
    "DataError",
    "GateError",
    "InterruptedRunError",
    "MissingPackageError",
    "Model",
    "Plan",
    "Prediction",
    "PreemptedError",
    "Registry",
    "ResourceError",
    "Scores",
    "TrainedRun",
    "UnetkitError",
    "Updated",
    "UsageError",
    "bench",
    "check",
    "compare",
    "compress",
    "convert",
    "cross_validate",
    "demo",
    "doctor",
    "ensemble",
    "evaluate",
    "export",
    "info",
    "load",
    "models",
    "monitor",
    "plan",
    "predict",
    "report",
    "screen",
    "train",
    "update",
]

_HOMES = {
    "CrossValidated": "workflows.ensemble",
    "Model": "workflows.model",
    "Plan": "records.plan",
    "Prediction": "records.prediction",
    "Scores": "records.scores",
    "Registry": "workflows.registry",
    "TrainedRun": "workflows.train",
    "Updated": "workflows.update",
    "load": "workflows.model",
    **{verb: f"workflows.{verb}" for verb in __all__ if verb.islower() and verb != "load"},
}


def __getattr__(name: str) -> Any:  # noqa: ANN401 - any public name
    if name not in __all__:
        raise AttributeError(f"module 'unetkit' has no attribute '{name}'")
    home = importlib.import_module(f"unetkit.{_HOMES.get(name, 'errors')}")
    value = getattr(home, name)
    globals()[name] = value
    return value


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
