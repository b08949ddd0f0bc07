"""A run that is stopped from outside, anywhere, and goes on; two commands on one run."""

import os
import shutil
import signal
import subprocess
import sys
import time

import numpy as np
import pytest
from PIL import Image

from unetkit.cli import main
from unetkit.workflows import fitting

pytestmark = [
    pytest.mark.usefixtures("excepthook"),
    pytest.mark.skipif(os.name != "posix", reason="needs SIGTERM and file locks"),
]
UNET = [sys.executable, "-c", "import sys; from unetkit.cli import main; sys.exit(main())"]


@pytest.fixture
def words(wafers, tiny_words):
    """A training long enough to be met while it runs, the same to the bit each time."""
    more = ("steps=150", "checkpoint_steps=20", "precision=float32", "memory_format=contiguous")
    changes = [word for each in more for word in ("--set", f"training.{each}")]
    return ["train", str(wafers), "-q", *tiny_words, *changes]


def stop_when(words, ready):
    """Start the command, send SIGTERM as soon as ``ready()``, and answer with exit code and stderr."""
    child = subprocess.Popen([*UNET, *words], stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True)
    deadline = time.monotonic() + 120
    while not ready() and child.poll() is None and time.monotonic() < deadline:
        time.sleep(0.002)
    child.send_signal(signal.SIGTERM)
    said = child.communicate(timeout=120)[1]
    return child.returncode, said


def test_sigterm_while_reading_preparing_or_training_is_75_and_resumes(words, tmp_path):
    whole, cut = tmp_path / "whole", tmp_path / "cut"
    assert main([*words, "--out", str(whole)]) == 0
    marks = [cut / ".lock", cut / "plan.json", cut / "checkpoints" / "last.json"]
    for number, mark in enumerate(marks):
        if mark.exists():
            continue  # a slow machine got here before it was stopped: what follows holds all the same
        again = ["--resume"] if number else []
        code, said = stop_when([*words, "--out", str(cut), *again], mark.exists)
        assert code == 75, said
        assert "asked to stop (SIGTERM)" in said
        assert not (cut / "model").exists()
    assert main([*words, "--out", str(cut), "--resume"]) == 0
    weights = [(run / "model" / "weights.safetensors").read_bytes() for run in (whole, cut)]
    assert weights[0] == weights[1]


def test_two_commands_on_one_run_do_not_meet(words, tmp_path, capsys):
    run = tmp_path / "run"
    first = subprocess.Popen([*UNET, *words, "--out", str(run)], stderr=subprocess.DEVNULL)
    try:
        deadline = time.monotonic() + 120
        while not (run / "plan.json").exists() and first.poll() is None and time.monotonic() < deadline:
            time.sleep(0.002)
        assert main([*words, "--out", str(run), "--resume"]) == 2
        said = capsys.readouterr().err
        assert str(run) in said
        assert "another command is at work in this folder" in said
    finally:
        first.terminate()
        assert first.wait(timeout=120) == 75


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
