"""``compare``: several networks under one budget and one set of seeds, and one table about them."""

from __future__ import annotations

import shutil
import statistics
import time
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import NamedTuple, Unpack

import numpy as np

from unetkit.errors import UsageError
from unetkit.metrics.paired import difference, paired_values
from unetkit.metrics.score import mean_interval
from unetkit.records.files import write_text
from unetkit.records.progress import Progress, Quiet
from unetkit.records.run import Run
from unetkit.workflows.comparison import Against, Compared, Comparison, Mean, as_html, as_markdown
from unetkit.workflows.run_folder import next_folder, safe_name
from unetkit.workflows.train import TrainedRun, TrainSettings, Wishes, reopen, train

PLANNED = "planned"
"""The name under which the planner's own network takes part."""
METRICS = ("dice", "iou", "hd95")
_TILES, _SECONDS = 9, 2.0


class Entry(NamedTuple):
    """One training of a comparison.

    Args:
        name: Of the network.
        seed: Of every random number.
        folder: Of the run.
    """

    name: str
    seed: int
    folder: Path


def compare(
    source: str | Path,
    names: Sequence[str],
    out: str | Path | None = None,
    *,
    seeds: int = 1,
    progress: Progress | None = None,
    **settings: Unpack[TrainSettings],
) -> Comparison:
    """Train several networks alike and write one table about them.

    For each seed every network sees the same training and held-out cases, the same budgets and the same
    changes. Runs that are finished already are kept, one that was stopped goes on: the same call resumes.

    Args:
        source: The data set.
        names: What ``network`` takes, and ``planned`` for the planner's own; the others are tested against
            the first.
        out: Folder of ``compare.json``, ``.md``, ``.html`` and of one run per network and seed.
        seeds: How many seeds, counted from ``seed`` (0).
        progress: Who watches.
        settings: See ``TrainSettings``.

    Raises:
        UsageError: A name is unknown or said twice, the folder holds a run, or a setting is wrong.
        DataError: The data set is refused.
        PreemptedError: It was asked to stop; what was done is kept.
    """
    wishes = Wishes.of(settings)
    watch = progress or Quiet()
    entries = planned_runs(source, names, out, seeds=seeds, **settings)
    folder = entries[0].folder.parent
    cache = Path(wishes.cache) if wishes.cache else folder / "cache"
    runs: dict[Entry, TrainedRun] = {}
    warmed: set[int] = set()
    for number, entry in enumerate(entries, start=1):
        watch.say(f"{number}/{len(entries)}: {entry.name}, seed {entry.seed} → {entry.folder}")
        if wishes.minutes and entry.seed not in warmed and reopen(Run(entry.folder)) is None:
            _warm(Path(source), wishes, entry.seed, cache)
            warmed.add(entry.seed)
        mine: TrainSettings = {
            **settings,
            "network": None if entry.name == PLANNED else entry.name,
            "seed": entry.seed,
            "cache": cache,
            "resume": not wishes.overwrite,
        }
        runs[entry] = train(source, entry.folder, progress=watch, **mine)
    found = _comparison(str(source), folder, runs, wishes.minutes)
    write_text(folder / "compare.json", found.to_json())
    write_text(folder / "compare.md", as_markdown(found))
    write_text(folder / "compare.html", as_html(found))
    if not wishes.cache and cache.is_dir():
        shutil.rmtree(cache)
    return found


def planned_runs(
    source: str | Path,
    names: Sequence[str],
    out: str | Path | None = None,
    *,
    seeds: int = 1,
    **settings: Unpack[TrainSettings],
) -> list[Entry]:
    """The trainings that ``compare`` makes, in order: all networks with one seed, then with the next.

    Args:
        source: See ``compare``.
        names: See ``compare``.
        out: See ``compare``.
        seeds: See ``compare``.
        settings: See ``compare``.

    Raises:
        UsageError: See ``compare``.
    """
    wishes = Wishes.of(settings)
    _check(names, seeds, wishes)
    folder = Path(out) if out is not None else next_folder(Path(source))
    if Run(folder).plan.exists():
        raise UsageError(
            "this folder holds a single run", cure="name another folder for the comparison", where=folder
        )
    first = wishes.seed or 0
    order = range(first, first + seeds)
    return [Entry(name, seed, folder / safe_name(f"{name}-seed{seed}")) for seed in order for name in names]


def _check(names: Sequence[str], seeds: int, wishes: Wishes) -> None:
    """Refuse what cannot be compared before anything is read."""
    from unetkit.planning.named import find, known

    if not names or len(set(names)) < len(names):
        raise UsageError(
            f"different names were expected, got {', '.join(names) or 'none'}",
            cure=f"name each network once, such as {PLANNED},{known()[0]}",
        )
    if seeds < 1:
        raise UsageError(f"1 seed or more was expected, got {seeds}", cure="correct --seeds")
    if wishes.network is not None or wishes.plan is not None:
        raise UsageError(
            "a comparison names its networks itself", cure="leave --network and --plan out beside --compare"
        )
    for name in names:
        if name != PLANNED:
            find(name)


def _warm(source: Path, wishes: Wishes, seed: int, cache: Path) -> None:
    """Prepare the training cases before the clock runs, so that the first network does not pay for all."""
    from dataclasses import replace

    from unetkit.data.prepare import Cache
    from unetkit.workflows.readying import look

    seen = look(source, replace(wishes, seed=seed, init=None, network=None), progress=Quiet())
    prepared = Cache(cache, seen.plan.data, seen.plan.preparation)
    for case in seen.cases(seen.split.train):
        prepared.get(case)


def _comparison(source: str, folder: Path, runs: Mapping[Entry, TrainedRun], minutes: float) -> Comparison:
    names = list(dict.fromkeys(entry.name for entry in runs))
    groups: dict[str, str] = {}
    of_name = {name: [run for entry, run in runs.items() if entry.name == name] for name in names}
    values = {metric: case_means(of_name, metric) for metric in METRICS}
    for run in runs.values():
        groups |= {case.id: case.group for case in run.scores.cases} if run.scores else {}
    compared = []
    for name in names:
        scores = {metric: _mean(values[metric][name], groups) for metric in METRICS}
        against = {
            metric: _against(values[metric][name], values[metric][names[0]], groups) for metric in METRICS
        }
        mine = {entry: run for entry, run in runs.items() if entry.name == name}
        compared.append(_compared(name, mine, scores, {} if name == names[0] else against))
    seeds = tuple(dict.fromkeys(entry.seed for entry in runs))
    device = next((str(e["device"]) for run in runs.values() for e in run.run.events("layout")), "unknown")
    units = {run.scores.unit for run in runs.values() if run.scores}
    return Comparison(
        source=source,
        folder=str(folder),
        seeds=seeds,
        minutes=minutes,
        device=device,
        networks=tuple(compared),
        unit=" or ".join(sorted(units)),
    )


def case_means(runs: Mapping[str, Sequence[TrainedRun]], metric: str) -> dict[str, dict[str, float]]:
    """Name → case id → the mean of a metric over classes, then over the runs that held the case out.

    A class that only some of the runs find where there is none counts as the best value for the others.

    Args:
        runs: Name of a network → its runs with several seeds.
        metric: Name of the metric.
    """
    scored = {name: [run.scores for run in mine if run.scores] for name, mine in runs.items()}
    every = [one for mine in scored.values() for one in mine]
    classes = every[0].classes if every else ()
    tables = iter(paired_values(every, classes, metric))
    found: dict[str, dict[str, float]] = {}
    for name, mine in scored.items():
        seen: dict[str, list[float]] = defaultdict(list)
        for _ in mine:
            for id, value in next(tables).items():
                seen[id].append(value)
        found[name] = {id: statistics.fmean(each) for id, each in seen.items()}
    return found


def _mean(values: Mapping[str, float], groups: Mapping[str, str]) -> Mean:
    if not values:
        return Mean(mean=None)
    low, high = mean_interval(list(values.values()), [groups[id] for id in values]) or (None, None)
    return Mean(mean=statistics.fmean(values.values()), low=low, high=high, cases=len(values))


def _against(one: Mapping[str, float], first: Mapping[str, float], groups: Mapping[str, str]) -> Against:
    found = difference(one, first, groups)
    return Against(mean=found.mean, low=found.low, high=found.high, cases=found.cases, p_value=found.p_value)


def _compared(
    name: str, runs: Mapping[Entry, TrainedRun], scores: dict[str, Mean], against: dict[str, Against]
) -> Compared:
    from unetkit.planning.count import count
    from unetkit.workflows.readying import step_gigabytes

    plan = next(iter(runs.values())).plan
    training = plan.training
    found = count(
        plan.network,
        rank=plan.data.input_rank,
        in_channels=plan.data.input_channels,
        classes=len(plan.data.classes),
        patch=training.patch_size,
    )
    speeds = [_steps_per_second(run) * run.plan.training.batch_size for run in runs.values()]
    return Compared(
        name=name,
        runs=tuple(entry.folder.name for entry in runs),
        parameters=found.parameters,
        multiply_adds=found.multiply_adds,
        patch=training.patch_size,
        batch=training.batch_size,
        steps=statistics.fmean(_steps(run) for run in runs.values()),
        patches_per_second=round(statistics.fmean(speeds), 3),
        predicted_per_second=round(_tiles_per_second(next(iter(runs.values()))), 3),
        memory_gb=round(step_gigabytes(plan), 3),
        scores=scores,
        against_first=against,
    )


def _steps_per_second(run: TrainedRun) -> float:
    """The median over the rows of the journal: validations and pauses are not in it; 0 without a step."""
    speeds = [float(event["steps_per_second"]) for event in run.run.events("step")]
    return statistics.median(speeds) if speeds else 0.0


def _tiles_per_second(run: TrainedRun) -> float:
    """How fast the trained network answers: the median of a few tiles of zeros, after one to warm up."""
    plan, runtime = run.plan, run.model.sole.runtime
    tile = np.zeros((1, plan.data.input_channels, *plan.inference.tile_size), np.float32)
    runtime.run(tile)
    spent: list[float] = []
    while len(spent) < _TILES and sum(spent) < _SECONDS:
        started = time.perf_counter()
        runtime.run(tile)
        spent.append(time.perf_counter() - started)
    return 1.0 / statistics.median(spent)


def _steps(run: TrainedRun) -> int:
    return max(int(event["step"]) for event in run.run.events("finished"))
