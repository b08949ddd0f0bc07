"""What ``bench`` measured: per model its times, its memory and its share of what the machine can do."""

from __future__ import annotations

from pathlib import Path

from unetkit.records.plan import Axes
from unetkit.records.saved import Saved


class Timing(Saved):
    """How long a unit of work takes.

    Args:
        median: Seconds.
        fastest: Seconds of the fastest unit.
        slowest: Seconds of the slowest.
        units: How many were timed.
    """

    median: float
    fastest: float
    slowest: float
    units: int


class Machine(Saved):
    """What a device does at its best, measured in the same rounds as the models.

    Args:
        device: ``cpu``, ``cuda:0`` …
        threads: Threads of the measurement on a CPU, as many as every engine gets; None elsewhere.
        gflops: Floating point operations per second of the fastest float32 matrix product, 1e9.
        gbytes_per_second: Bytes read and written per second by the fastest copy, 1e9.
    """

    device: str
    threads: int | None
    gflops: float
    gbytes_per_second: float


class BenchRow(Saved):
    """One model. ``measured`` is what a clock or the kernel said, ``derived`` what follows from it.

    Args:
        model: As it was named.
        folder: The model folder.
        runtime: A name of ``runtimes.RUNTIMES``.
        precision: Of its arithmetic.
        device: Where it computed.
        parameters: Learned values.
        network_mb: Size of the network's files, MB (1e6 bytes).
        tile_size: Pixels per axis of a tile.
        batch_size: Tiles per network call.
        multiply_adds: Of one tile, counted from the network's shapes; None where nobody counted them.
        tile_bytes: Of one tile: every answer of a convolution written once and read once, every weight read
            once, four bytes each; derived, None likewise and where it does not compute in float32.
        tiles: Measured: a network call of ``batch_size`` tiles that are ready.
        array: Measured: an image in memory to its class ids; None where it is too large for that.
        file: Measured: an image file to its label file, as ``predict`` does it.
        tiles_per_second: Derived from ``tiles``.
        array_mpixels_per_second: Derived from ``array``, 1e6 pixels (voxels) of the image.
        file_mpixels_per_second: Derived from ``file``.
        start_mb: Measured: memory of the process before the model was loaded, MB.
        loaded_mb: Measured: the peak above it once the model was loaded, its engine included.
        peak_mb: Measured: the peak above it after the first image, file to file.
        device_mb: Measured: the peak on an accelerator by then; None on a CPU.
        gflops: Derived: 2 · ``multiply_adds`` · ``tiles_per_second``, 1e9.
        peak_share: Derived: ``gflops`` over the machine's, which is float32 whatever the model computes in.
        roofline_gflops: Derived: what memory and arithmetic allow for ``tile_bytes``, 1e9 per second.
        roofline_share: Derived: ``gflops`` over it.
        notes: What is missing and why, and what the runtime did differently from what was asked.
    """

    model: str
    folder: Path
    runtime: str
    precision: str
    device: str
    parameters: int
    network_mb: float
    tile_size: Axes
    batch_size: int
    multiply_adds: int | None
    tile_bytes: int | None
    tiles: Timing
    array: Timing | None
    file: Timing
    tiles_per_second: float
    array_mpixels_per_second: float | None
    file_mpixels_per_second: float
    start_mb: float
    loaded_mb: float
    peak_mb: float
    device_mb: float | None
    gflops: float | None
    peak_share: float | None
    roofline_gflops: float | None
    roofline_share: float | None
    notes: tuple[str, ...] = ()


class BenchResult(Saved):
    """Models on one image, in turn.

    Args:
        image: Pixels per axis of the generated image, in array order.
        channels: Its channels.
        pixels: Their type.
        suffix: Of its file.
        seconds: Asked for, per measurement and model.
        processor: The machine's processor, as it names itself.
        machines: Each device that a model computed on.
        rows: One per model, in the order in which they were named.
        planned: With ``dry_run``: what would be done.
    """

    version: int = 1
    image: Axes
    channels: int
    pixels: str
    suffix: str
    seconds: float
    processor: str
    machines: tuple[Machine, ...] = ()
    rows: tuple[BenchRow, ...] = ()
    planned: tuple[str, ...] = ()
