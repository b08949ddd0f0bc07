"""A trained model in the hand: load it, predict with it, save what it says."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from unetkit.data.formats import format_of, stem_of
from unetkit.inference.predict import Predictor, raw_values
from unetkit.lookup import pick
from unetkit.records.plan import Plan
from unetkit.records.prediction import Prediction
from unetkit.runtimes import RUNTIMES
from unetkit.workflows.model_folder import model_folder


class Model:
    """A model and the predictor that runs it.

    Args:
        folder: The model folder.
        plan: Its plan.
        predictor: What turns pixels into labels.
        device: Where it computes.
    """

    def __init__(self, folder: Path, plan: Plan, predictor: Predictor, device: str) -> None:
        self.folder = folder
        self.plan = plan
        self.predictor = predictor
        self.device = device

    @property
    def classes(self) -> tuple[str, ...]:
        """Class names, background first; a class's id is its place."""
        return self.plan.data.classes

    def predict(
        self, source: str | Path | np.ndarray, *, tta: bool = False, probabilities: bool = False
    ) -> Prediction:
        """Predict one image.

        Args:
            source: An image file, or pixels ``(C, *S)`` (``(*S)`` for one channel).
            tta: Average over mirrored images: slower, often a little better.
            probabilities: Keep the class probabilities as well.

        Returns:
            Class ids on the image's own grid; ``np.asarray`` of it is the array.
        """
        if isinstance(source, str | Path):
            path = Path(source)
            return self.predictor.file((path,), stem_of(path), mirror=tta, probabilities=probabilities)
        return self.predictor.array(source, mirror=tta, probabilities=probabilities)

    def save(self, prediction: Prediction, path: str | Path) -> Path:
        """Write labels in the data set's own values, losslessly, atomically.

        Args:
            prediction: What ``predict`` returned.
            path: The file; its suffix decides the format (``.png``, ``.tif``, ``.nii.gz``).
        """
        target = Path(path)
        format_of(target).write(target, raw_values(prediction.labels, self.plan.data), prediction.grid)
        return target


def load(folder: str | Path, *, device: str = "auto") -> Model:
    """Load a model.

    Args:
        folder: A model folder, or a run that holds one.
        device: ``auto``, ``cpu``, ``cuda``, ``cuda:1`` …

    Returns:
        The model, ready to predict.

    Raises:
        UsageError: There is no model in the folder.
        DataError: The weights are not those the folder was written with.
    """
    from unetkit.networks.store import load_model
    from unetkit.runtimes.devices import fastest_layout, keep_memory, pick_device, use_threads

    place = model_folder(folder)
    keep_memory()
    use_threads()
    where = pick_device(device)
    network, plan = load_model(place)
    shape = (plan.inference.batch_size, len(plan.data.channels), *plan.inference.tile_size)
    layout = fastest_layout(network, shape, where, training=False)
    runtime = pick("runtime", RUNTIMES, plan.inference.runtime)(network, where, layout)
    return Model(place, plan, Predictor(runtime, plan.data, plan.preparation, plan.inference), str(where))
