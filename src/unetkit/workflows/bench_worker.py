"""One side of a bench in a process of its own: what it loads, keeps and sets helps or hurts nobody else."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable
from functools import cached_property, partial
from pathlib import Path
from types import TracebackType
from typing import Any, Self

import numpy as np

from unetkit import errors
from unetkit.data.labels import read_pixels
from unetkit.data.windows import open_source
from unetkit.errors import DataError, ResourceError, UnetkitError
from unetkit.records.case import Case
from unetkit.runtimes.cgroups import engine_threads
from unetkit.runtimes.roofline import Roofline
from unetkit.runtimes.turns import repeat
from unetkit.workflows.exported import read_exported
from unetkit.workflows.info import ModelInfo, info
from unetkit.workflows.manifest import peak_memory
from unetkit.workflows.model import Model, load
from unetkit.workflows.model_folder import is_exported
from unetkit.workflows.parity import generated_tiles
from unetkit.workflows.predict import find_inputs, predict
from unetkit.workflows.streaming import too_large

Answer = dict[str, Any]

_CODE = "from unetkit.workflows.bench_worker import serve; serve()"
_THREADS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "VECLIB_MAXIMUM_THREADS")


class Worker:
    """The parent's end: a process that is idle until it is asked, and gone with its block.

    Args:
        name: Whose work it does, for errors.
        alike: Whether numpy's own threads are to be as many as every engine gets.
    """

    def __init__(self, name: str, *, alike: bool = False) -> None:
        self._name = name
        found = os.pathsep.join(path or str(Path.cwd()) for path in sys.path)
        threads = dict.fromkeys(_THREADS, str(engine_threads())) if alike else {}
        self._process = subprocess.Popen(
            [sys.executable, "-P", "-c", _CODE],  # -P: no file of the current folder stands in for a package
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            encoding="utf-8",
            env={**os.environ, "PYTHONPATH": found, "PYTHONIOENCODING": "utf-8", **threads},
            start_new_session=True,  # Ctrl-C is for the parent, who ends this one
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, wrong: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def ask(self, do: str, **words: object) -> Answer:
        """Let it do something, and wait.

        Args:
            do: ``start``, with ``roofline=device`` or the words of ``ModelSide``; then what that side can do.
            words: What it has to know.

        Raises:
            UnetkitError: What the process was refused with.
            ResourceError: It ended early.
        """
        pipe, answers = self._process.stdin, self._process.stdout
        assert pipe is not None
        assert answers is not None
        try:
            pipe.write(json.dumps({"do": do, **words}) + "\n")
            pipe.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        if not line:
            raise ResourceError(
                f"the process that ran '{self._name}' ended early (exit code {self._process.wait()})",
                cure="take a smaller --image: most often memory ran out; else its last words above say why",
            )
        answer: Answer = json.loads(line)
        if refused := answer.get("refused"):
            kind, problem, cure, where = refused
            raise getattr(errors, kind)(problem, cure=cure, where=where)
        return answer

    def turn(self, do: str, seconds: float) -> list[float]:
        """Seconds of every unit of one turn."""
        return self.ask(do, seconds=seconds)["seconds"]

    def close(self) -> None:
        """End it."""
        self._process.kill()
        self._process.wait()
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                try:
                    pipe.close()
                except BrokenPipeError:
                    continue  # what it was asked last never reached it


def serve() -> None:
    """The process's own end: a request per line on stdin, an answer per line on stdout; ends with stdin."""
    with os.fdopen(os.dup(1), "w", encoding="utf-8") as answers:
        os.dup2(2, 1)  # whatever an engine prints is no answer
        side: ModelSide | RooflineSide | None = None
        for line in sys.stdin:
            words = json.loads(line)
            do = words.pop("do")
            try:
                if side is None:
                    side = RooflineSide(words["roofline"]) if "roofline" in words else ModelSide(**words)
                    answer = side.facts()
                else:
                    answer = side.does[do](**words)
            except UnetkitError as wrong:
                answer = {"refused": (type(wrong).__name__, wrong.problem, wrong.cure, wrong.where)}
            answers.write(json.dumps(answer) + "\n")
            answers.flush()


class RooflineSide:
    """What shows the machine's best.

    Args:
        device: Of which device.
        sizes: See ``Roofline``; for tests.
    """

    def __init__(self, device: str, **sizes: int) -> None:
        work = Roofline(device, **sizes)
        self.does = {"multiply": partial(_turn, work.multiply), "copy": partial(_turn, work.copy)}
        self._work = work

    def facts(self) -> Answer:
        """What one unit of each is; both were done once."""
        self._work.multiply()
        self._work.copy()
        return {
            "threads": self._work.threads,
            "operations": self._work.operations,
            "moved_bytes": self._work.moved_bytes,
        }


class ModelSide:
    """One model and the work it is timed on.

    Args:
        model: Its folder, as ``load`` takes it.
        device: ``auto``, ``cpu`` …
        source: The image, as ``predict`` takes it.
        out: Folder for its labels.
    """

    def __init__(self, model: str, device: str, source: str, out: str) -> None:
        self._started = peak_memory()
        self._model = load(model, device=device)
        self._loaded = peak_memory()
        self._source, self._out = Path(source), Path(out)
        self.does: dict[str, Callable[..., Answer]] = {
            "first": self.first,
            "tiles": partial(_turn, self._tiles),
            "array": partial(_turn, self._array),
            "file": partial(_turn, self._file),
        }

    def facts(self) -> Answer:
        """What the model is."""
        model, plan = self._model, self._model.plan
        runtime, found = model.sole.runtime, info(model.folder)
        assert isinstance(found, ModelInfo)
        layout, simulated = getattr(runtime, "layout", None), plan.network.quantization != "none"
        precision = "int8" if simulated else getattr(runtime, "PRECISION", "float32")
        if layout is not None:  # torch only plays through what eight bits would answer
            precision = f"{layout.precision}, int8 played through" if simulated else layout.precision
        return {
            "folder": str(model.folder),
            "runtime": plan.inference.runtime,
            "precision": precision,
            "device": model.device.partition(" ")[0],
            "parameters": found.parameters,
            "network_mb": found.weights_mb,
            "tile_size": plan.inference.tile_size,
            "batch_size": plan.inference.batch_size,
        }

    def first(self) -> Answer:
        """Predict the image for the first time, before anything is timed: the peak of memory is its own."""
        self._file()
        answer = {
            "start_mb": self._started / 1e6,
            "loaded_mb": (self._loaded - self._started) / 1e6,
            "peak_mb": (peak_memory() - self._started) / 1e6,
            "device_mb": None,
            "in_memory": self._fits(),
        }
        if "torch" in sys.modules and self._model.device.startswith("cuda"):
            import torch

            answer["device_mb"] = torch.cuda.max_memory_allocated(torch.device(self._model.device)) / 1e6
        self._tiles()
        if answer["in_memory"]:
            self._array()
        return answer | _counts(self._model) | {"notes": list(self._model.sole.runtime.notes)}

    @cached_property
    def _tile(self) -> np.ndarray:
        """A batch of tiles as the network takes them."""
        plan = self._model.plan
        return np.repeat(generated_tiles(plan)[0], plan.inference.batch_size, axis=0)

    @cached_property
    def _case(self) -> Case:
        data = self._model.plan.data
        (found,) = find_inputs(self._source, self._out, channels=data.channels, rank=data.rank)
        return Case.unlabelled(found.id, found.paths)

    def _fits(self) -> bool:
        """Whether ``predict`` takes the image into memory as a whole."""
        plan = self._model.plan
        with open_source(self._case.images, plan.data) as source:
            return source is None or not too_large(source, plan.inference.stream_above_pixels)

    @cached_property
    def _pixels(self) -> tuple[np.ndarray, Any]:
        return read_pixels(self._case, self._model.plan.data)

    def _tiles(self) -> None:
        self._model.sole.runtime.run(self._tile)

    def _array(self) -> None:
        pixels, grid = self._pixels
        self._model.sole.array(pixels, grid)

    def _file(self) -> None:
        result = predict(self._model, self._source, self._out)
        for refused in result.refused:
            raise DataError(refused.problem, cure=refused.cure, where=refused.where)


def _turn(work: Callable[[], object], *, seconds: float) -> Answer:
    return {"seconds": repeat(work, seconds=seconds)}


def _counts(model: Model) -> Answer:
    """Multiply-adds and answers of one tile: counted here where torch is at work anyway, else read."""
    if is_exported(model.folder):
        record, _ = read_exported(model.folder)
        return {"multiply_adds": record.multiply_adds, "elements": record.elements}
    from unetkit.planning.count import count_tile

    found = count_tile(model.plan)
    return {"multiply_adds": found.multiply_adds, "elements": found.elements}
