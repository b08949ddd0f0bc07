"""`kill -9` at random moments of update, promote and rollback; the registry and its live model must stand.

After every kill, before anything tidies up: the live model loads and predicts, the log's chain and every hash
hold. At the end the update that was killed again and again has the weights of one that was left alone.
`make soak` runs it, too. One JSON line.
"""

from __future__ import annotations

import argparse
import json
import random
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
from PIL import Image

import unetkit as uk
from unetkit.networks.store import load_model
from unetkit.workflows.model_folder import model_folder

UNET = str(Path(sys.executable).with_name("unet"))
SETTINGS = [
    "training.steps=40", "training.checkpoint_steps=4", "training.batch_size=2",
    "training.patch_size=[32,32]", "network.widths=[4,8]", "network.blocks=[1,1]",
    "network.decoder_blocks=[1]", "network.kernels=[[3,3],[3,3]]", "network.strides=[[1,1],[2,2]]",
    "network.deep_supervision=1", "inference.tile_size=[32,32]", "training.precision=float32",
    "training.memory_format=contiguous",
]  # fmt: skip
VERBS = ("update", "promote", "rollback")


def generate(folder: Path, count: int, seed: int, *, dark: bool = False) -> Path:
    """Small pictures with a bright (or dark) disc each."""
    draw = np.random.default_rng(seed)
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True)
    ys, xs = np.mgrid[:48, :48]
    for index in range(count):
        y, x = draw.integers(12, 36, 2)
        disc = (ys - y) ** 2 + (xs - x) ** 2 < 64
        noise = draw.normal(128, 15, (48, 48)) + (-70 if dark else 70) * disc
        Image.fromarray(noise.clip(0, 255).astype(np.uint8)).save(folder / "images" / f"{index}.png")
        Image.fromarray(disc.astype(np.uint8)).save(folder / "masks" / f"{index}.png")
    return folder


def changes(steps: int) -> dict[str, str]:
    """The settings as ``uk.train`` takes them."""
    table = dict(word.split("=", 1) for word in SETTINGS)
    return {**table, "training.steps": str(steps)}


@dataclass
class Soak:
    """The folders, and what was counted."""

    home: Path
    draw: random.Random
    kills: Counter[str] = field(default_factory=Counter)
    broken: list[str] = field(default_factory=list)
    whole: dict[str, float] = field(default_factory=dict)
    updates: int = 0

    @property
    def registry(self) -> Path:
        """The registry."""
        return self.home / "registry"

    def prepare(self) -> None:
        """Two models, the second clearly better; the first is live, an update was left alone once."""
        generate(self.home / "old", 10, 0)
        generate(self.home / "new", 10, 1, dark=True)
        golden = generate(self.home / "golden", 14, 2)
        for name, steps in (("poor", 2), ("good", 150)):
            run = uk.train(self.home / "old", self.home / name, changes=changes(steps)).run
            uk.Registry(self.registry).add(run.folder)
        uk.Registry(self.registry).promote(1, golden=[golden])
        for verb, folder in (("update", self.home / "quiet"), ("promote", None), ("rollback", None)):
            start = time.monotonic()
            subprocess.run(self.command(verb, folder), check=True, stdout=subprocess.DEVNULL)
            self.whole[verb] = time.monotonic() - start

    def command(self, verb: str, out: Path | None = None) -> list[str]:
        """The words of a verb."""
        if verb == "promote":
            return [UNET, "registry", "promote", str(self.registry), "2", "--quiet"]
        if verb == "rollback":
            return [UNET, "registry", "rollback", str(self.registry)]
        settings = [word for setting in SETTINGS for word in ("--set", setting)]
        begun = out is not None and (out / "plan.json").exists()
        words = [UNET, "update", str(self.home / "good"), str(self.home / "new"), "--out", str(out)]
        words += ["--memory", str(self.home / "old"), "--quiet"]
        return words + (["--resume"] if begun else settings)

    def kill_one(self) -> None:
        """Start a verb and kill it at a random moment; one that was quicker than that does not count."""
        live = int(model_folder(self.registry).name)
        verb = self.draw.choice(("update", "rollback" if live == 2 else "promote"))
        out = self.home / f"killed{self.updates}"
        process = subprocess.Popen(
            self.command(verb, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        try:
            process.wait(timeout=self.draw.uniform(0.05, 1.1) * self.whole[verb])
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
            self.kills[verb] += 1
        self.check(verb)
        if (out / "update.json").exists() and process.returncode == 0:
            self.compare(out)

    def check(self, verb: str) -> None:
        """What a reader gets at once, before anybody has tidied up."""
        try:
            found = uk.Registry(self.registry).verify()
            place = model_folder(self.registry)
            picture = next((self.home / "golden" / "images").iterdir())
            uk.load(place, device="cpu").predict(picture)
            behind = any("behind" in each for each in found.unfinished)
            if int(place.name) != found.live and not behind:
                self.broken.append(f"{verb}: {place.name} is read, {found.live} is live")
        except uk.UnetkitError as wrong:
            self.broken.append(f"{verb}: {wrong}")

    def compare(self, out: Path) -> None:
        """A finished update against the one that was left alone."""
        one, other = (load_model(each / "model")[0].state_dict() for each in (out, self.home / "quiet"))
        if not all(tensor.equal(other[name]) for name, tensor in one.items()):
            self.broken.append(f"{out.name}: its weights are not those of the update that was left alone")
        shutil.rmtree(out)
        self.updates += 1

    def finish(self) -> None:
        """Let the last update end, and a last promotion and rollback."""
        out = self.home / f"killed{self.updates}"
        subprocess.run(self.command("update", out), check=True, stdout=subprocess.DEVNULL)
        self.compare(out)
        if int(model_folder(self.registry).name) == 1:
            subprocess.run(self.command("promote"), check=True, stdout=subprocess.DEVNULL)
        subprocess.run(self.command("rollback"), check=True, stdout=subprocess.DEVNULL)
        if unfinished := uk.Registry(self.registry).verify().unfinished:
            self.broken.append(f"unfinished at the end: {', '.join(unfinished)}")


def main() -> None:
    """Kill, look, and print one JSON line; exit 1 where anything was broken."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=100)
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as folder:
        soak = Soak(Path(folder), random.Random(given.seed))
        soak.prepare()
        while soak.kills.total() < given.kills:
            soak.kill_one()
        soak.finish()
        facts = {
            "kills": {verb: soak.kills[verb] for verb in VERBS},
            "updates_finished": soak.updates,
            "broken": soak.broken,
            "seconds_of_a_verb": {verb: round(value, 2) for verb, value in soak.whole.items()},
        }
    print(json.dumps(facts))
    sys.exit(1 if soak.broken else 0)


if __name__ == "__main__":
    main()
