"""The table and the page of ``bench``: one row per model, bars, the roofline, and what is measured."""

from __future__ import annotations

import math

from unetkit.records.benched import BenchResult, BenchRow, Timing
from unetkit.records.figures import counted, figure, per_cent
from unetkit.workflows import page
from unetkit.workflows.page import Line

HEAD = (
    "model",
    "runtime",
    "precision",
    "tiles/s",
    "array → mask, Mpixel/s",
    "file → file, Mpixel/s",
    "peak memory, MB",
    "GFLOP/s",
    "of float32 peak",
    "of roofline",
)
MEASURED = (
    "Measured: tiles/s (the network alone, tiles ready in memory), array → mask and file → file, as "
    "medians of all units in at least three rounds in turn, every model in a process of its own. Memory "
    "is what the kernel says of that process, above what it took before the model was loaded, up to the "
    "end of the first image. The float32 peak is the fastest matrix product, the bandwidth the fastest "
    "copy, in the rounds of the tiles and on a CPU in as many threads as every engine gets."
)
DERIVED = (
    "Derived: GFLOP/s is twice the multiply-adds of a tile, counted from the network's shapes, times "
    "tiles/s. Its share of the float32 peak is stated for every precision; it may exceed 100 % where a "
    "network computes in fewer bits, or an engine with fewer operations than were counted. The roofline, "
    "for float32 alone, is the lesser of that peak and what the bandwidth allows if every answer of a "
    "convolution is written once and read once; an engine that joins layers moves less."
)
IMAGE = (
    "The image is seeded noise, which packs badly, and it lies in the system's file cache: it was just "
    "written. What depends on content (objects found, tiles left out) is another matter on real images."
)


def table_rows(result: BenchResult) -> list[tuple[str, ...]]:
    """The cells below ``HEAD``.

    Args:
        result: What was measured.
    """
    return [
        (
            row.model,
            row.runtime,
            row.precision,
            figure(row.tiles_per_second),
            figure(row.array_mpixels_per_second),
            figure(row.file_mpixels_per_second),
            figure(row.peak_mb),
            figure(row.gflops),
            per_cent(row.peak_share),
            per_cent(row.roofline_share),
        )
        for row in result.rows
    ]


def machine_lines(result: BenchResult) -> list[str]:
    """What every device does at its best, in words."""
    return [
        f"{machine.device}: float32 matrix product {figure(machine.gflops)} GFLOP/s, copy "
        f"{figure(machine.gbytes_per_second)} GB/s"
        + ("" if machine.threads is None else f", {counted(machine.threads, 'thread')}")
        for machine in result.machines
    ]


def bench_page(result: BenchResult) -> str:
    """A self-contained page.

    Args:
        result: What was measured.
    """
    size = " × ".join(map(str, result.image))
    return page.page(
        "How fast, with how much memory",
        f"{size} pixels ({result.channels} × {result.pixels}, {result.suffix}), {result.processor}",
        (
            ("Models", page.table(HEAD, table_rows(result), numbers=tuple(range(3, len(HEAD))))),
            ("Speed and memory", f'<div class="charts">{_bars(result)}</div>'),
            ("Roofline", _rooflines(result)),
            ("Every time", _times(result)),
            ("What is missing, and why", _notes(result)),
            (
                "What is measured and what is derived",
                "".join(f"<p>{each}</p>" for each in (MEASURED, DERIVED, IMAGE)),
            ),
        ),
        lead=_cards(result),
    )


def _name(row: BenchRow) -> str:
    return f"{row.model} ({row.runtime}, {row.precision})"


def _cards(result: BenchResult) -> str:
    best = max(result.rows, key=lambda row: row.file_mpixels_per_second)
    least = min(result.rows, key=lambda row: row.peak_mb)
    cards = [
        ("Fastest, file → file", f"{figure(best.file_mpixels_per_second)} Mpixel/s", _name(best)),
        ("Least memory", f"{figure(least.peak_mb)} MB", _name(least)),
    ]
    cards += [
        (f"Best of {machine.device}", f"{figure(machine.gflops)} GFLOP/s", "float32 matrix product, measured")
        for machine in result.machines
    ]
    return page.cards(cards)


def _bars(result: BenchResult) -> str:
    charts = {
        "File → file, Mpixel/s": [row.file_mpixels_per_second for row in result.rows],
        "Array → mask, Mpixel/s": [row.array_mpixels_per_second for row in result.rows],
        "Network alone, tiles/s": [row.tiles_per_second for row in result.rows],
        "Peak memory, MB": [row.peak_mb for row in result.rows],
    }
    return "".join(
        page.bars(
            title,
            [
                (_name(row), math.nan if value is None else value, figure(value))
                for row, value in zip(result.rows, values, strict=True)
            ],
        )
        for title, values in charts.items()
    )


def _rooflines(result: BenchResult) -> str:
    """Per device: what memory and arithmetic allow over operations per byte, and where each model is."""
    charts = []
    for machine in result.machines:
        dots = [
            Line(_name(row), [(2 * row.multiply_adds / row.tile_bytes, row.gflops)], dots=True)
            for row in result.rows
            if row.device == machine.device and row.gflops and row.tile_bytes and row.multiply_adds
        ]
        if not dots:
            continue
        ridge = machine.gflops / machine.gbytes_per_second
        at = [x for line in dots for x, _ in line.points]
        ends = (min([ridge, *at]) / 3, ridge, 3 * max([ridge, *at]))
        roof = [(x, min(machine.gflops, machine.gbytes_per_second * x)) for x in ends]
        title, words = f"{machine.device}, float32, GFLOP/s", "operations per byte of memory"
        charts.append(page.chart(title, [*dots, Line("roofline", roof)], x_name=words, log=True))
    return f'<div class="charts">{"".join(charts)}</div>' if charts else ""


def _times(result: BenchResult) -> str:
    def cells(name: str, what: str, timing: Timing | None) -> list[tuple[str, ...]]:
        if timing is None:
            return []
        seconds = (timing.median, timing.fastest, timing.slowest)
        return [(name, what, *(f"{1e3 * each:.2f}" for each in seconds), str(timing.units))]

    rows = [
        cell
        for row in result.rows
        for what, timing in (
            (f"{counted(row.batch_size, 'tile')} of {' × '.join(map(str, row.tile_size))}", row.tiles),
            ("array → mask", row.array),
            ("file → file", row.file),
        )
        for cell in cells(_name(row), what, timing)
    ]
    head = ("model", "unit of work", "median, ms", "fastest", "slowest", "units")
    return page.table(head, rows, numbers=(2, 3, 4, 5))


def _notes(result: BenchResult) -> str:
    rows = [(_name(row), note) for row in result.rows for note in row.notes]
    return page.table(("model", "what"), rows) if rows else ""
