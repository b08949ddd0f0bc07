import numpy as np
import pytest

import unetkit as uk
from unetkit.errors import UsageError
from unetkit.workflows.train import Wishes, reopen


def test_wishes_are_checked():
    with pytest.raises(UsageError, match=r"train has no setting 'minuts'.*use 'minutes'"):
        Wishes.of({"minuts": 3})
    for fold in ((5, 5), (-1, 5), (0, 1)):
        with pytest.raises(UsageError, match="there is no fold"):
            Wishes.of({"fold": fold})
    said = Wishes.of({"fold": (1, 4), "seed": 7, "changes": {"a": "b"}}).every_change()
    assert said == {"a": "b", "training.fold": "1", "training.folds": "4", "training.seed": "7"}


def test_the_public_road(wafers, tiny, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    run = uk.train(wafers, changes=tiny)
    assert run.folder.parts[:1] == ("runs",)
    mask = run.predict(wafers / "images" / "wafer00-0.png")
    assert np.asarray(mask).shape == (64, 64)
    assert run.plan.training.steps == 6
    assert run.report.is_file()
    again = reopen(run.run)
    assert again is not None
    assert again.scores == run.scores


def test_an_unfinished_run_is_not_reopened(tmp_path):
    from unetkit.records.run import Run

    assert reopen(Run(tmp_path)) is None
