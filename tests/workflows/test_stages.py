"""What every stage works with: trainings that share their prepared samples, and patches to look at."""

from __future__ import annotations

import signal

import pytest
import torch

from unetkit.data import prepare
from unetkit.errors import PreemptedError
from unetkit.networks.store import read_plan
from unetkit.records.progress import Quiet
from unetkit.records.split import SplitFile
from unetkit.workflows.stages import Chain


def test_patches_come_from_training_cases_as_they_are(finished, wafers, tmp_path):
    chain = Chain(finished / "model", wafers, tmp_path, Quiet())
    batches = chain.batches(torch.device("cpu"), 3)
    again = chain.batches(torch.device("cpu"), 3)
    assert all(torch.equal(one.pixels, two.pixels) for one, two in zip(batches, again, strict=True))
    split = SplitFile.from_json((finished / "split.json").read_bytes(), where="")
    assert {case for batch in batches for case in batch.cases} <= set(split.train)
    assert batches[0].target.dtype == torch.int64  # nothing is mixed
    fold = Chain(finished / "model", wafers, tmp_path, Quiet(), changes={"training.fold": "1"})
    shown = {case for batch in fold.batches(torch.device("cpu"), 8) for case in batch.cases}
    assert shown & set(split.held_out)  # another fold, other training cases


@pytest.mark.skipif(not hasattr(signal, "raise_signal"), reason="needs signals")
def test_a_training_that_is_stopped_says_how_to_go_on(finished, wafers, tmp_path, monkeypatch):
    chain = Chain(finished / "model", wafers, tmp_path, Quiet(), changes={"training.steps": "1"})
    plan = read_plan(finished / "model")
    with monkeypatch.context() as patch:
        patch.setattr(prepare.Cache, "get", lambda *_: signal.raise_signal(signal.SIGTERM))
        with pytest.raises(PreemptedError) as caught:
            chain.train("one", plan)
    assert caught.value.cure == "run the same command again to go on"
    assert caught.value.where == str(tmp_path)
    run = chain.train("one", plan)
    assert run.folder == tmp_path / "one"
    assert (tmp_path / "cache").is_dir()
