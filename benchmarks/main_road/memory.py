"""Train on a generated TIFF data set of a given size and state the peak memory of the whole command."""

from __future__ import annotations

import argparse
import contextlib
import json
import resource
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import tifffile

EDGE = 4096


def generate(folder: Path, gigabytes: float) -> int:
    """Grey 16-bit TIFFs of 4096² (33.5 MB each) with a few bright specks, and their masks."""
    count = max(5, round(gigabytes * 1e9 / (EDGE * EDGE * 2)))
    for part in ("images", "masks"):
        (folder / part).mkdir(parents=True, exist_ok=True)
    for index in range(count):
        if (folder / "masks" / f"{index:04d}.tif").exists():
            continue
        draw = np.random.default_rng(index)
        image = draw.normal(2000, 100, (EDGE, EDGE)).astype(np.uint16)
        mask = np.zeros((EDGE, EDGE), np.uint8)
        for y, x in draw.integers(0, EDGE - 64, (20, 2)):
            image[y : y + 48, x : x + 48] += 600
            mask[y : y + 48, x : x + 48] = 1
        tifffile.imwrite(folder / "images" / f"{index:04d}.tif", image)
        tifffile.imwrite(folder / "masks" / f"{index:04d}.tif", mask, compression="zlib")
    return count


def watch(process: subprocess.Popen[bytes]) -> float:
    """The most memory of its own, in GB, that a command had, mapped files left out."""
    most = 0.0
    while process.poll() is None:
        with contextlib.suppress(OSError):  # it has just ended
            status = Path(f"/proc/{process.pid}/status").read_text()
            own = [line.split()[1] for line in status.splitlines() if line.startswith("RssAnon")]
            most = max([most, *(int(kilobytes) / 1e6 for kilobytes in own)])
        time.sleep(0.2)
    if process.returncode:
        raise SystemExit(process.returncode)
    return most


def main() -> None:
    """Generate, train, print one JSON line."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", type=Path, required=True)
    parser.add_argument("--gigabytes", type=float, default=8.0)
    parser.add_argument("--minutes", type=float, default=3.0)
    given = parser.parse_args()
    count = generate(given.work / "data", given.gigabytes)
    command = [str(Path(sys.executable).with_name("unet")), "train", str(given.work / "data")]
    command += ["--out", str(given.work / "run"), "--overwrite", "--minutes", str(given.minutes), "--quiet"]
    own = watch(subprocess.Popen(command))
    peak = resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1e6
    facts = {"images": count, "gigabytes": given.gigabytes, "peak_gb": round(peak, 2)}
    print(json.dumps({**facts, "peak_without_mapped_files_gb": round(own, 2)}))


if __name__ == "__main__":
    main()
