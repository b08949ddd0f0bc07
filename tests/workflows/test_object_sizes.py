from dataclasses import replace

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from unetkit.records.case import Grid
from unetkit.records.prediction import Prediction
from unetkit.records.progress import Quiet
from unetkit.records.run import Run
from unetkit.runtimes.devices import Layout
from unetkit.training.loop import Outcome
from unetkit.workflows import object_sizes
from unetkit.workflows.fitting import Trained
from unetkit.workflows.object_sizes import fit_object_sizes
from unetkit.workflows.readying import make_ready
from unetkit.workflows.train import Wishes


class Bright(nn.Module):
    """Calls what is bright a defect: the blobs, and the specks beside them."""

    def forward(self, x):
        return torch.cat([torch.zeros_like(x), x - x.amax(dim=(2, 3), keepdim=True) / 2], dim=1)


@pytest.fixture
def trained(tmp_path):
    """A finished network over ten pictures: a blob of 100 pixels in eight of them, a speck in every one."""
    for folder in ("images", "masks"):
        (tmp_path / "data" / folder).mkdir(parents=True)
    for number in range(10):
        mask = np.zeros((48, 48), np.uint8)
        mask[20:30, 20 + number : 30 + number] = number < 8
        image = 40 + number + 200 * mask
        image[5:7, 5:7] = 240
        Image.fromarray(image.astype(np.uint8)).save(tmp_path / "data" / "images" / f"p{number}.png")
        Image.fromarray(mask).save(tmp_path / "data" / "masks" / f"p{number}.png")
    changes = {"training.steps": "1", "training.patch_size": "[32,32]", "inference.tile_size": "[48,48]"}
    run = Run(tmp_path / "run")
    run.folder.mkdir()
    ready = make_ready(tmp_path / "data", run, Wishes(changes=changes), progress=Quiet())
    outcome = Outcome(step=1000, best=None, seconds=1.0, reason="steps")
    network = Bright()
    return Trained(ready, network, torch.device("cpu"), Layout("float32", "contiguous"), outcome)  # pyright: ignore[reportArgumentType]


def test_specks_set_the_least_size_and_the_plan_says_why(trained):
    fitted = fit_object_sizes(trained, progress=Quiet())
    plan = fitted.ready.plan
    assert plan.inference.minimum_pixels == (100,)
    reason = plan.reasons["inference.minimum_pixels"]
    assert reason.startswith("Smaller objects were mostly wrong; mean Dice on up to 8 training cases: ")
    assert reason.endswith("→ 1.000.")
    case = trained.ready.held_out[0]
    sample = trained.ready.cache.get(case)
    before = trained.predictor.sample(sample).labels
    after = fitted.predictor.sample(sample).labels
    assert before[5, 5] == 1
    assert after[5, 5] == 0
    assert after.sum() in (0, 100)


def test_only_training_cases_are_looked_at(trained, monkeypatch):
    seen: list[str] = []
    get = type(trained.ready.cache).get
    monkeypatch.setattr(
        type(trained.ready.cache), "get", lambda cache, case: seen.append(case.id) or get(cache, case)
    )
    fit_object_sizes(trained, progress=Quiet())
    assert sorted(seen) == sorted(case.id for case in trained.ready.trained_on)
    assert not set(seen) & {case.id for case in trained.ready.held_out}


@pytest.mark.parametrize(
    "values",
    [
        {"inference.fit_cases": "0"},
        {"inference.minimum_pixels": "[7]"},
        {"inference.largest_only": "[false]"},
    ],
)
def test_what_was_set_by_hand_stays(trained, values):
    own = replace(trained, ready=replace(trained.ready, plan=trained.ready.plan.with_values(values)))
    assert fit_object_sizes(own, progress=Quiet()) is own


def test_a_short_training_looks_at_few_cases_and_then_changes_nothing(trained):
    short = replace(trained, outcome=replace(trained.outcome, step=1))
    assert fit_object_sizes(short, progress=Quiet()) is short


def test_one_object_is_believed_and_the_plan_says_why(trained, monkeypatch):
    """Where the wrong object of one picture is larger than the right one of another, no size helps."""
    sizes = iter(range(3, 30, 2))
    truth: dict[str, np.ndarray] = {}

    def label(case, data):
        edge = next(sizes)
        mask = np.zeros((48, 48), np.uint8)
        mask[2 : 2 + edge, 2 : 2 + edge] = 1
        truth[case.id] = mask
        return mask, None, None

    class Told:
        def sample(self, sample):
            found = truth[sample.id].copy()
            edge = int(np.sqrt(found.sum())) - 1
            found[-edge:, -edge:] = 1
            return Prediction("x", found, Grid.plain(2))

    monkeypatch.setattr(object_sizes, "read_label", label)
    monkeypatch.setattr(Trained, "predictor", property(lambda own: Told()))
    plan = fit_object_sizes(trained, progress=Quiet()).ready.plan
    assert plan.inference.largest_only == (True,)
    assert plan.inference.minimum_pixels == ()
    reason = plan.reasons["inference.largest_only"]
    assert reason.startswith(
        "All but the largest object were mostly wrong; mean Dice on up to 8 training cases: "
    )
    assert reason.endswith("→ 1.000.")
