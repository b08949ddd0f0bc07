"""Read damaged files of every format in a process with little memory, and count what comes of them.

Each whole specimen is cut (at its ends, between its parts and at random places) and gets flipped bits in its
header and anywhere; bombs are read as they are. What a damaged file may end in: it is refused by an error
that names it; it is read as if it were whole (the damage touched nothing that is used); or it is read with
other pixels, which most formats cannot notice. Anything else is a crash: another exception, the end of the
process, more memory than the limit, more than some seconds. The seed alone decides the damage.
"""

from __future__ import annotations

import argparse
import hashlib
import json
import logging
import random
import re
import resource
import shutil
import signal
import subprocess
import sys
import tempfile
import traceback
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from bombs import make_bombs
from specimens import Specimen, make_all

MEMORY_BYTES, ADDRESS_BYTES, SECONDS = 2**28, 2**31, 30
"""What a file of a few kilobytes may take: resident memory, address space (beyond it the process gets none),
time."""

CUTS, HEADER_FLIPS, FLIPS = 14, 10, 6
WINDOWS = "windows"
TRUNCATED, HEADER, ANYWHERE, BOMB = "truncated", "header flip", "flip anywhere", "bomb"
REFUSED, SAME, OTHER, UNNAMED, CRASH = "refused", "same", "other", "unnamed", "crash"


@dataclass(frozen=True)
class Damage:
    """One damaged file.

    Args:
        specimen: What is damaged.
        file: Which of its files.
        sort: What is done to it.
        data: The file's bytes; None for a bomb.
    """

    specimen: Specimen
    file: str
    sort: str
    data: bytes | None
    note: str = ""


def damages(root: Path, seed: int) -> Iterator[Damage]:
    """All damaged files, in an order that depends on the seed alone.

    Args:
        root: An empty folder for the specimens.
        seed: Of every choice.
    """
    whole = [each for specimen in make_all(root) for each in with_windows(root, specimen)]
    draw = random.Random(seed)
    for specimen in whole:
        sources = {file: (root / specimen.name / file).read_bytes() for file in specimen.damaged}
        for length, file in cuts(sources, draw):
            yield Damage(specimen, file, TRUNCATED, sources[file][:length], f"{length}")
        for sort, count in ((HEADER, HEADER_FLIPS), (ANYWHERE, FLIPS)):
            for _ in range(count):
                file = draw.choice(sorted(sources))
                data, places = bytearray(sources[file]), []
                head = header_bytes(file, sources[file]) if sort == HEADER else range(len(data))
                for _ in range(draw.choice((1, 1, 3))):
                    places.append((draw.choice(head), draw.randrange(8)))
                    data[places[-1][0]] ^= 1 << places[-1][1]
                yield Damage(specimen, file, sort, bytes(data), f"{places}")
    for bomb in make_bombs(root):
        yield Damage(bomb, bomb.damaged[0], BOMB, None)


def with_windows(root: Path, specimen: Specimen) -> Iterator[Specimen]:
    """A specimen, and the same read in parts where its format has that."""
    from unetkit.data.formats import WindowedFormat, format_of

    yield specimen
    target = root / specimen.name / specimen.opened
    if specimen.road == "image" and isinstance(form := format_of(target), WindowedFormat):
        with form.windows(target) as part:
            if part is not None:
                yield replace(specimen, kind=f"{specimen.kind}, in parts", road=WINDOWS)


def cuts(sources: dict[str, bytes], draw: random.Random) -> Iterator[tuple[int, str]]:
    """Lengths to cut files to: nothing, one byte less, and so on; between parts; anywhere."""
    found: list[tuple[int, str]] = []
    for file, data in sources.items():
        ends = {0, 1, len(data) - 1, len(data) - 2, len(data) - 4, len(data) // 2}
        marks = draw.sample(seams := seams_of(file, data), min(len(seams), CUTS))
        found += [(length, file) for length in {*ends, *marks} if 0 <= length < len(data)]
    kept = found if len(found) <= 2 * CUTS else draw.sample(found, 2 * CUTS)
    yield from sorted(kept)
    for _ in range(CUTS):
        file = draw.choice(sorted(sources))
        yield draw.randrange(len(sources[file])), file


def seams_of(file: str, data: bytes) -> list[int]:
    """Where one part of a file ends and the next one begins: lines, chunks, elements."""
    if file.endswith((".nrrd", ".nhdr", ".mha", ".mhd", ".json", ".xml")):
        return [hit.end() for hit in re.finditer(rb"[\n>]", data[:4000])]
    if file.endswith(".png"):
        return [hit.start() - 4 for hit in re.finditer(rb"IHDR|PLTE|IDAT|IEND", data)]
    if file.endswith(".jpg"):
        return [hit.start() for hit in re.finditer(rb"\xff[\xc0-\xfe]", data)]
    if file.endswith(".dcm"):
        return elements(data)
    return []


def elements(data: bytes) -> list[int]:
    """Where the elements of a DICOM file begin, on its first level."""
    import io

    from pydicom.filereader import data_element_generator, read_partial

    stream = io.BytesIO(data)
    read_partial(stream, stop_when=lambda tag, *_: tag >= 0x00080000, force=True)
    stream.seek(data.index(b"\x08\x00\x16\x00UI"))
    found = [stream.tell()]
    for _ in data_element_generator(stream, is_implicit_VR=False, is_little_endian=True):
        found.append(stream.tell())
    return found[:-1]


def header_bytes(file: str, data: bytes) -> Sequence[int]:
    """Places of a file that are no pixels."""
    if file.endswith(".tif"):
        import io

        import tifffile

        pixels: set[int] = set()
        with tifffile.TiffFile(io.BytesIO(data)) as stack:
            for page in stack.pages:
                for start, count in zip(page.dataoffsets, page.databytecounts, strict=True):
                    pixels |= set(range(start, start + count))
        return [at for at in range(len(data)) if at not in pixels]
    ends = {
        ".png": 60, ".bmp": 54, ".nii": 352, ".npy": 128, ".raw": len(data), ".gz": 30,
        ".jpg": data.find(b"\xff\xda") + 14,
        ".nrrd": data.find(b"\n\n") + 2, ".mha": data.find(b"LOCAL\n") + 6,
        ".dcm": data.rfind(b"\xe0\x7f\x10\x00") + 12,
    }  # fmt: skip
    end = next((end for suffix, end in ends.items() if file.endswith(suffix)), 0)
    if ".zarr/" in file and not file.endswith(".json"):
        end = 24
    return range(end if 12 < end <= len(data) else len(data))


def read(specimen: Specimen, folder: Path, out: Path) -> tuple[str, str]:
    """What a specimen holds.

    Returns:
        A digest, and what was refused of it where some of it was.
    """
    from unetkit.data.formats import WindowedFormat, format_of
    from unetkit.data.formats.dicom import DicomFormat
    from unetkit.workflows.convert import convert

    target = folder / specimen.opened
    if specimen.road in ("image", "label"):
        form = format_of(target)
        form.describe(target)
        pixels, grid = form.read(target) if specimen.road == "image" else form.read_label(target)
        return digest([pixels.dtype, pixels.shape, pixels.tobytes(), grid]), ""
    if specimen.road == WINDOWS:
        form = format_of(target)
        assert isinstance(form, WindowedFormat)
        with form.windows(target) as part:
            if part is None:  # told so by a damaged header: then it is read as a whole
                return read(replace(specimen, road="image"), folder, out)
            header = part.header
            pixels = part.read(tuple((0, size) for size in header.shape))
            return digest([pixels.dtype, pixels.shape, pixels.tobytes(), header.grid]), ""
    if specimen.road == "outlines":
        image = DicomFormat().describe(folder / "ct")
        labels, grid = DicomFormat().read_label_on(target, image.shape, image.grid)
        return digest([labels.dtype, labels.shape, labels.tobytes(), grid]), ""
    done = convert(target, out / "made", specimen.road, overwrite=True)
    files = sorted(path for path in (out / "made").rglob("*") if path.is_file() and path.suffix != ".json")
    seen = digest([(path.name, path.read_bytes()) for path in files])
    return seen, "; ".join(f"{each.where}: {each.problem}" for each in done.refused)


def digest(parts: Sequence[object]) -> str:
    """A short name of some values."""
    return hashlib.sha256(repr(parts).encode()).hexdigest()[:16]


def outcome(damage: Damage, folder: Path, out: Path, expected: str) -> tuple[str, str]:
    """What comes of a damaged file, and what was said."""
    from unetkit.errors import UnetkitError

    def named(said: str) -> bool:
        return Path(damage.file).name in said or (folder / damage.specimen.opened).name in said

    try:
        seen, refused = read(damage.specimen, folder, out)
    except UnetkitError as wrong:
        return (REFUSED if named(wrong.where or "") else UNNAMED), str(wrong)
    except BaseException:
        return CRASH, traceback.format_exc(limit=-4)
    if refused:
        return (REFUSED if named(refused) else UNNAMED), refused
    return (SAME if seen == expected else OTHER), ""


def child(work: Path, seed: int, first: int) -> None:
    """Read the damaged files from a number on; a line of JSON before and after each."""
    logging.disable()  # what readers say besides
    root = work / "whole"
    shutil.rmtree(root, ignore_errors=True)
    root.mkdir(parents=True)
    every = list(damages(root, seed))
    memory = resident = 0
    expected: dict[str, str] = {}
    out = work / "out"
    out.mkdir(exist_ok=True)
    for number, damage in enumerate(every):
        name = damage.specimen.name + damage.specimen.road
        folder = root / damage.specimen.name
        path = folder / damage.file
        if name not in expected and damage.sort != BOMB:
            expected[name] = read(damage.specimen, folder, out)[0]
            if read(damage.specimen, folder, out) != (expected[name], ""):
                raise SystemExit(f"{name}: a whole file is not read twice alike")
        if number < first:
            continue
        if not memory:
            memory = address_bytes()
            resource.setrlimit(resource.RLIMIT_AS, (memory + ADDRESS_BYTES, resource.RLIM_INFINITY))
        print(json.dumps({"starts": number}), flush=True)
        whole = path.read_bytes()
        if damage.data is not None:
            path.write_bytes(damage.data)
        Path("/proc/self/clear_refs").write_text("5")  # the peak begins anew
        resident = status_bytes("VmRSS")
        signal.alarm(SECONDS)
        came, said = outcome(damage, folder, out, expected.get(name, ""))
        signal.alarm(0)
        grown = status_bytes("VmHWM") - resident
        path.write_bytes(whole)
        if grown > MEMORY_BYTES:
            came, said = CRASH, f"{grown >> 20} MiB of memory; {came}: {said}"
        answer = {
            "number": number, "name": damage.specimen.name, "kind": damage.specimen.kind, "file": damage.file,
            "sort": damage.sort, "note": damage.note, "came": came, "said": said, "grown": grown,
        }  # fmt: skip
        print(json.dumps(answer), flush=True)


def status_bytes(name: str) -> int:
    """A number of the kernel's about this process."""
    line = next(each for each in Path("/proc/self/status").read_text().splitlines() if each.startswith(name))
    return int(line.split()[1]) * 1024


def address_bytes() -> int:
    """The address space that this process has taken."""
    return status_bytes("VmSize")


def run(seed: int) -> list[dict[str, object]]:
    """Have every damaged file read; a child that ends early is a crash of the file that it had begun."""
    rows: list[dict[str, object]] = []
    first, ended = 0, False
    with tempfile.TemporaryDirectory() as work:
        while not ended:
            words = [sys.executable, __file__, "--child", work, "--seed", f"{seed}", "--first", f"{first}"]
            process = subprocess.Popen(words, stdout=subprocess.PIPE, text=True)
            begun = -1
            assert process.stdout is not None
            for line in process.stdout:
                found = json.loads(line)
                begun = found.get("starts", -1)
                if "came" in found:
                    rows.append(found)
                    first = found["number"] + 1
            code = process.wait()
            ended = code == 0
            if not ended and begun < 0:
                raise SystemExit(f"the reader ended with {code} between two files")
            if not ended:
                rows.append({"number": begun, "came": CRASH, "said": f"the process ended with {code}"})
                first = begun + 1
    return rows


def table(rows: Sequence[dict[str, object]]) -> dict[str, dict[str, dict[str, int]]]:
    """Format → what was done → what came of it → how often."""
    counts: dict[str, dict[str, Counter[str]]] = {}
    for row in rows:
        sort = counts.setdefault(str(row.get("kind", "?")), {}).setdefault(
            str(row.get("sort", "?")), Counter()
        )
        sort[str(row["came"])] += 1
    return {kind: {sort: dict(each) for sort, each in sorts.items()} for kind, sorts in counts.items()}


def main() -> None:
    """Damage, read and count; prints one JSON line, and what went wrong to the log."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--child", type=Path)
    parser.add_argument("--first", type=int, default=0)
    given = parser.parse_args()
    if given.child:
        child(given.child, given.seed, given.first)
        return
    rows = run(given.seed)
    cut = [row for row in rows if row.get("sort") == TRUNCATED]
    for row in rows:
        loud = row["came"] in (CRASH, UNNAMED) or (row in cut and row["came"] != REFUSED)
        if loud:
            print(json.dumps(row), file=sys.stderr)
    totals = Counter(str(row["came"]) for row in rows)
    facts = {
        "files": len(rows),
        "truncations": dict(Counter(str(row["came"]) for row in cut)),
        "crashes": totals[CRASH],
        "not_named": totals[UNNAMED],
        "memory_limit_mib": MEMORY_BYTES >> 20,
        "largest_mib": round(max(int(str(row.get("grown", 0))) for row in rows) / 2**20, 1),
        "formats": table(rows),
    }
    print(json.dumps(facts))


if __name__ == "__main__":
    main()
