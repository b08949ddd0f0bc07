"""A run that is stopped from outside, anywhere, and goes on; two commands on one run."""

import os
import shutil
import signal
import subprocess
import sys

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main
from unetkit.data.prepare import Cache
from unetkit.workflows import fitting, readying

pytestmark = [
    pytest.mark.usefixtures("excepthook"),
    pytest.mark.skipif(os.name != "posix", reason="needs SIGTERM and file locks"),
]
CHILD = """
import sys
from unetkit.cli import main
from unetkit.training.checkpoint import Checkpoints

save = Checkpoints.save

def told(self, state):
    save(self, state)
    print("saved", flush=True)
    sys.stdin.readline()

Checkpoints.save = told
sys.exit(main())
"""
"""The command, which waits at each resume point until it is spoken to: nobody has to be quick to meet it."""


@pytest.fixture
def words(wafers, tiny_words):
    """A training that is the same to the bit each time."""
    more = ("checkpoint_steps=2", "precision=float32", "memory_format=contiguous")
    changes = [word for each in more for word in ("--set", f"training.{each}")]
    return ["train", str(wafers), "-q", *tiny_words, *changes]


@pytest.fixture
def weights(words, tmp_path):
    """What it learns when nothing happens to it."""
    assert main([*words, "--out", str(tmp_path / "whole")]) == 0
    return (tmp_path / "whole" / "model" / "weights.safetensors").read_bytes()


def test_sigterm_while_reading_or_preparing_is_75_and_resumes(words, weights, tmp_path, capsys, monkeypatch):
    run = tmp_path / "cut"
    words += ["--out", str(run)]
    for room, name, there in ((readying, "measure", ".lock"), (Cache, "get", "plan.json")):
        work = getattr(room, name)

        def stopped(*given, work=work, **named):
            signal.raise_signal(signal.SIGTERM)
            return work(*given, **named)

        with monkeypatch.context() as patch:
            patch.setattr(room, name, stopped)
            assert main(words) == 75
        assert "asked to stop (SIGTERM)" in capsys.readouterr().err
        assert (run / there).exists()
        assert not (run / "model").exists()
        words = [*words, "--resume"] if "--resume" not in words else words
    assert main(words) == 0
    assert (run / "model" / "weights.safetensors").read_bytes() == weights


def test_sigterm_while_training_is_75_and_resumes_and_no_other_command_comes_between(
    words, weights, tmp_path, capsys
):
    run = tmp_path / "cut"
    words += ["--out", str(run)]
    pipes = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.PIPE)
    with subprocess.Popen([sys.executable, "-c", CHILD, *words], text=True, **pipes) as child:
        told = child.stdout.readline()
        answer, said = main([*words, "--resume"]), capsys.readouterr().err
        child.send_signal(signal.SIGTERM)
        ended = child.communicate(timeout=120)[1]
    assert told == "saved\n", ended
    assert answer == 2
    assert str(run) in said
    assert "another command is at work in this folder" in said
    assert child.returncode == 75, ended
    assert "asked to stop (SIGTERM)" in ended
    assert not (run / "model").exists()
    assert main([*words, "--resume"]) == 0
    assert (run / "model" / "weights.safetensors").read_bytes() == weights


def test_an_edited_mask_is_noticed_on_resume(wafers, tiny_words, tmp_path, capsys, monkeypatch):
    data, run = tmp_path / "data", tmp_path / "run"
    shutil.copytree(wafers, data)
    words = ["train", str(data), "--out", str(run), "-q", *tiny_words]

    def stop(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(fitting, "fit", stop)
        assert main(words) == 130
    file = data / "masks" / "wafer00-1.png"
    mask = np.asarray(Image.open(file)).copy()
    mask[:8, :8] = np.where(mask[:8, :8] == 1, 2, 1)
    Image.fromarray(mask).save(file)
    assert main([*words, "--resume"]) == 3
    said = capsys.readouterr().err
    assert "(1 cases differ, such as 'wafer00-1', whose mask was edited)" in said
