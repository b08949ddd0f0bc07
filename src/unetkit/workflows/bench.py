"""``bench``: how fast models are on this machine, what memory they take, and how much of it they use."""

from __future__ import annotations

import math
import platform
import statistics
import tempfile
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from functools import partial
from pathlib import Path

from unetkit.errors import UsageError
from unetkit.records.benched import BenchResult, BenchRow, Machine, Timing
from unetkit.records.figures import counted
from unetkit.records.files import disk_error, write_text
from unetkit.records.plan import Axes, Plan
from unetkit.records.progress import Progress, Quiet
from unetkit.runtimes.turns import in_turns
from unetkit.spatial.slices import Slices
from unetkit.workflows.bench_image import suffix_for, write_image
from unetkit.workflows.bench_page import bench_page
from unetkit.workflows.bench_worker import Answer, Worker
from unetkit.workflows.model import plan_in
from unetkit.workflows.model_folder import is_ensemble, model_folder, several

PAGE, RECORD = "bench.html", "bench.json"
ROUNDS, LEAST_ROUNDS = 5, 3
TILES_A_SIDE = {2: 4, 3: 2}
"""By the axes of an image: how many tiles the generated one is wide."""
SLICES = 16
"""Slices of a generated volume that a network sees one by one."""
_FLOAT_BYTES = 4


def bench(
    models: str | Path | Sequence[str | Path],
    *,
    shape: Axes = (),
    seconds: float = 5.0,
    device: str = "auto",
    out: str | Path | None = None,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> BenchResult:
    """Time models on a generated image: the network alone, array to mask, file to file; and their memory.

    Each works in a process of its own, in turn with the others and with what shows the machine's best, so
    that none gets a better moment. Exported models are timed without torch.

    Args:
        models: Model folders, runs and exported folders.
        shape: Pixels per axis of the image, in array order; 4 tiles a side, of volumes 2.
        seconds: Time for each of the three measurements of each model; each has 3 rounds at least.
        device: ``auto``, ``cpu``, ``cuda`` … as ``predict`` takes it.
        out: A folder for ``bench.html`` and ``bench.json``; None: nothing is kept.
        dry_run: Measure nothing; say what would be.
        progress: Who watches.

    Raises:
        UsageError: There is no model, one is an ensemble, they do not take the same images, or the image or
            the time is none.
        MissingPackageError: A model's runtime is not installed.
        DataError: A model is damaged.
        ResourceError: Memory or disk does not suffice, or there is no such device.
    """
    named = [str(models)] if isinstance(models, str | Path) else [str(each) for each in models]
    places = [model_folder(name) for name in named]
    if not places:
        raise UsageError("no model was named", cure="name a model folder, a run or an exported folder")
    for place in places:
        if is_ensemble(place):
            raise several(place)
    plans = [plan_in(place) for place in places]
    _refuse_unlike(named, plans)
    size = shape or _default_shape(plans)
    _refuse_size(size, plans[0].data.rank)
    if not 0 <= seconds < math.inf:
        raise UsageError(f"expected seconds of 0 or more, got {seconds:g}", cure="such as 5")
    data, folder = plans[0].data, None if out is None else Path(out)
    found = BenchResult(
        image=size,
        channels=len(data.channels),
        pixels=data.pixels,
        suffix=suffix_for(plans[0], size),
        seconds=seconds,
        processor=_processor(),
    )
    if dry_run:
        return found.model_copy(update={"planned": _planned(named, plans, size, folder)})
    if folder is not None:
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as wrong:
            raise disk_error(wrong, folder) from wrong
    with tempfile.TemporaryDirectory(prefix="unet-bench-") as work:
        inside = Path(work) / "image"
        inside.mkdir()
        source, labels = write_image(inside, plans[0], size), Path(work) / "labels"
        jobs = [
            {"model": str(place), "device": device, "source": str(source), "out": str(labels / str(number))}
            for number, place in enumerate(places)
        ]
        machines, rows = _measure(
            named, jobs, pixels=math.prod(size), seconds=seconds, watch=progress or Quiet()
        )
    found = found.model_copy(update={"machines": machines, "rows": rows})
    if folder is not None:
        write_text(folder / RECORD, found.to_json())
        write_text(folder / PAGE, bench_page(found))
    return found


def _refuse_unlike(named: Sequence[str], plans: Sequence[Plan]) -> None:
    """One image has to do for all."""

    def takes(plan: Plan) -> str:
        data = plan.data
        return f"{data.rank} axes, {counted(len(data.channels), 'channel')} of {data.pixels}"

    for name, plan in zip(named, plans, strict=True):
        if takes(plan) != takes(plans[0]):
            raise UsageError(
                f"expected models that take the same images, got {takes(plans[0])} ({named[0]}) and "
                f"{takes(plan)} ({name})",
                cure="bench them one by one",
            )


def _refuse_size(size: Axes, rank: int) -> None:
    if len(size) != rank or min(size) < 1:
        written = "WIDTHxHEIGHT, such as 4096x4096" if rank == 2 else "DEPTHxHEIGHTxWIDTH, such as 64x256x256"
        raise UsageError(
            f"expected an image of {rank} axes with 1 pixel or more on each, got {list(size)}",
            cure=f"write --image {written}, or leave it out",
        )


def _default_shape(plans: Sequence[Plan]) -> Axes:
    """Some tiles a side, of the model with the largest ones."""

    def wanted(plan: Plan) -> Axes:
        side = TILES_A_SIDE[plan.data.rank]
        tile, slices = tuple(side * pixels for pixels in plan.inference.tile_size), Slices.of(plan.data)
        if slices is None:
            return tile
        return (*tile[: slices.axis], SLICES, *tile[slices.axis :])

    return tuple(max(axis) for axis in zip(*map(wanted, plans), strict=True))


def _planned(named: Sequence[str], plans: Sequence[Plan], size: Axes, out: Path | None) -> tuple[str, ...]:
    """What would be done, each in words that go on from "would"."""
    image = " × ".join(map(str, size))
    steps = [
        f"time {name} ({plan.inference.runtime}) on {image} pixels, in array order"
        for name, plan in zip(named, plans, strict=True)
    ]
    return (*steps, *(f"write {out / name}" for name in (RECORD, PAGE) if out is not None))


def _measure(
    named: Sequence[str], jobs: Sequence[dict[str, str]], *, pixels: int, seconds: float, watch: Progress
) -> tuple[tuple[Machine, ...], tuple[BenchRow, ...]]:
    """Every process is started and predicts once; then the three measurements, in turn."""
    with ExitStack() as stack:
        sides: list[Worker] = []
        facts: list[Answer] = []
        watch.begin("loading, first image", len(jobs))
        for name, job in zip(named, jobs, strict=True):
            sides.append(stack.enter_context(Worker(name)))
            facts.append(sides[-1].ask("start", **job) | sides[-1].ask("first"))
            watch.advance(1, model=name)
        watch.end()
        bests: dict[str, tuple[Worker, Answer]] = {}
        for where in dict.fromkeys(fact["device"] for fact in facts):
            worker = stack.enter_context(Worker(f"the best of {where}", alike=True))
            bests[where] = worker, worker.ask("start", roofline=where)
        timed = partial(_timed, seconds=seconds, watch=watch)
        proofs = [(worker, do) for worker, _ in bests.values() for do in ("multiply", "copy")]
        spent = timed("tiles alone", [*((side, "tiles") for side in sides), *proofs])
        tiles, best = spent[: len(sides)], spent[len(sides) :]
        fitting = [side for side, fact in zip(sides, facts, strict=True) if fact["in_memory"]]
        arrays = dict(
            zip(fitting, timed("array to mask", [(side, "array") for side in fitting]), strict=True)
        )
        files = timed("file to file", [(side, "file") for side in sides])
    machines = tuple(
        Machine(
            device=where,
            threads=fact["threads"],
            gflops=fact["operations"] / min(products) / 1e9,
            gbytes_per_second=fact["moved_bytes"] / min(copies) / 1e9,
        )
        for (where, (_, fact)), products, copies in zip(bests.items(), best[::2], best[1::2], strict=True)
    )
    at = {machine.device: machine for machine in machines}
    rows = tuple(
        _row(name, fact, (of_tiles, arrays.get(side), of_files), pixels=pixels, machine=at[fact["device"]])
        for name, side, fact, of_tiles, of_files in zip(named, sides, facts, tiles, files, strict=True)
    )
    return machines, rows


def _timed(
    task: str, turns: Sequence[tuple[Worker, str]], *, seconds: float, watch: Progress
) -> list[list[float]]:
    """Seconds of every unit of each; one turn of each in every round."""

    def turn(worker: Worker, do: str) -> list[float]:
        spent = worker.turn(do, seconds / ROUNDS)
        watch.advance()
        return spent

    works: list[Callable[[], list[float]]] = [partial(turn, worker, do) for worker, do in turns]
    watch.begin(task, ROUNDS * len(works))
    spent = in_turns(works, seconds=seconds, most=ROUNDS, least=LEAST_ROUNDS) if works else []
    watch.end()
    return spent


def _row(
    name: str,
    fact: Answer,
    spent: tuple[list[float], list[float] | None, list[float]],
    *,
    pixels: int,
    machine: Machine,
) -> BenchRow:
    """What follows from the times of a model."""
    tiles, array, file = (None if each is None else _timing(each) for each in spent)
    assert tiles is not None
    assert file is not None
    rate = fact["batch_size"] / tiles.median
    notes = list(fact["notes"])
    if array is None:
        notes.append("array to mask: not measured, 'predict' leaves so large an image in its file")
    counted = fact["multiply_adds"]
    moved = gflops = bound = None
    if counted is None:
        notes.append("multiply-adds: not counted when this was exported; export it anew to know its share")
    else:
        gflops = 2 * counted * rate / 1e9
        if fact["precision"] == "float32":
            moved = _FLOAT_BYTES * (2 * fact["elements"] + fact["parameters"])
            bound = min(machine.gflops, 2 * counted / moved * machine.gbytes_per_second)
    known = ("folder", "runtime", "precision", "device", "parameters", "network_mb", "tile_size")
    known += ("batch_size", "multiply_adds", "start_mb", "loaded_mb", "peak_mb", "device_mb")
    return BenchRow(
        model=name,
        **{key: fact[key] for key in known},
        tile_bytes=moved,
        tiles=tiles,
        array=array,
        file=file,
        tiles_per_second=rate,
        array_mpixels_per_second=None if array is None else pixels / array.median / 1e6,
        file_mpixels_per_second=pixels / file.median / 1e6,
        gflops=gflops,
        peak_share=None if gflops is None else gflops / machine.gflops,
        roofline_gflops=bound,
        roofline_share=None if gflops is None or bound is None else gflops / bound,
        notes=tuple(notes),
    )


def _timing(spent: Sequence[float]) -> Timing:
    return Timing(median=statistics.median(spent), fastest=min(spent), slowest=max(spent), units=len(spent))


def _processor() -> str:
    """The processor's name, where the system tells one."""
    try:
        rows = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        rows = []
    names = (row.partition(":")[2].strip() for row in rows if row.startswith("model name"))
    return next(names, "") or platform.processor() or platform.machine()
