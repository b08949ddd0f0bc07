"""A memory of examples: few enough to keep, chosen so that no class and no domain is forgotten."""

from __future__ import annotations

import csv
import io
import json
import shutil
from collections import Counter, defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from unetkit.data.formats import files_of
from unetkit.errors import DataError
from unetkit.records.case import Case
from unetkit.records.files import atomic, sha256, write_text
from unetkit.records.plan import DataPlan
from unetkit.records.saved import Saved

MEMORY = "memory.json"


class Exemplar(Saved):
    """One kept case.

    Args:
        id: Its id in the memory.
        group: Its group.
        domain: Where it is from.
        classes: Ids of the foreground classes in its label.
        images: Its images, below the memory's folder.
        label: Its label, likewise.
        label_kind: What kind of label it is.
        sha256: File to the hash of its bytes.
        named: Ids of the classes that its data set names; any other may hide in its background. Empty: all
            that the memory has.
    """

    id: str
    group: str
    domain: str
    classes: tuple[int, ...]
    images: tuple[str, ...]
    label: str
    label_kind: str
    sha256: dict[str, str]
    named: tuple[int, ...] = ()


class MemoryFile(Saved):
    """``memory.json``: what is kept, and how it was chosen.

    Args:
        budget_bytes: The most that was to be kept.
        seed: Decided between equals.
        how: ``random`` or ``herding``.
        classes: Class names, background first.
        label_values: Value of each class in the label files.
        newest: The domain that was new when the memory was made.
        cases: What is kept.
    """

    version: int = 1
    budget_bytes: int
    seed: int
    how: str
    classes: tuple[str, ...]
    label_values: tuple[int, ...]
    newest: str
    cases: tuple[Exemplar, ...]


@dataclass(frozen=True)
class Candidate:
    """A case that could be kept.

    Args:
        case: Its address; with a label, and not a part of a larger image.
        domain: Where it is from.
        classes: Ids of the foreground classes in its label.
        size: Bytes of its files.
        named: Ids of the foreground classes that its data set names; empty: all.
    """

    case: Case
    domain: str
    classes: frozenset[int]
    size: int
    named: frozenset[int] = frozenset()


def choose(
    candidates: Sequence[Candidate],
    budget_bytes: int,
    *,
    seed: int,
    features: np.ndarray | None = None,
) -> list[Candidate]:
    """Choose what to keep, always of the domain with the fewest bytes and its class with the fewest cases.

    Args:
        candidates: What there is.
        budget_bytes: The most that all chosen files together may take.
        seed: Shuffles the candidates.
        features: ``(N, D)`` one row per candidate: those whose mean is nearest to that of their domain and
            class come first (herding); None: in the shuffled order.

    Returns:
        The chosen, in the order in which they were; every start of the list is balanced, too.

    Reference:
        Rebuffi et al., iCaRL, CVPR 2017, algorithm 4 (herding); Prabhu et al., GDumb, ECCV 2020 (balance).
    """
    luck = np.random.Generator(np.random.Philox(seed)).permutation(len(candidates))
    queues: dict[str, dict[int, list[int]]] = defaultdict(dict)
    for domain in sorted({each.domain for each in candidates}):
        inside = [int(index) for index in luck if candidates[index].domain == domain]
        for value in {value for index in inside for value in candidates[index].classes or {0}}:
            having = [index for index in inside if value in (candidates[index].classes or {0})]
            if features is not None:
                having = [having[place] for place in herding_order(features[having])]
            queues[domain][value] = having
    chosen: list[int] = []
    used: Counter[str] = Counter()
    held: dict[str, Counter[int]] = {domain: Counter() for domain in queues}
    while True:
        left = budget_bytes - used.total()
        for domain in sorted(queues, key=lambda name: (used[name], name)):
            pick = _next(queues[domain], held[domain], candidates, chosen, left)
            if pick is not None:
                break
        else:
            return [candidates[index] for index in chosen]
        chosen.append(pick)
        used[domain] += candidates[pick].size
        held[domain].update(candidates[pick].classes or {0})


def _next(
    queues: dict[int, list[int]],
    held: Counter[int],
    candidates: Sequence[Candidate],
    chosen: Sequence[int],
    left: int,
) -> int | None:
    """The first candidate that fits, of the class that has the fewest cases."""
    taken = set(chosen)
    for value in sorted(queues, key=lambda value: (held[value], value)):
        for index in queues[value]:
            if index not in taken and candidates[index].size <= left:
                return index
    return None


def herding_order(features: np.ndarray) -> list[int]:
    """Rows in an order in which the mean of the first ones is, at every length, near the mean of all.

    Args:
        features: ``(N, D)``.

    Reference:
        Welling, Herding Dynamical Weights to Learn, ICML 2009; Rebuffi et al., iCaRL, CVPR 2017.

    Example:
        >>> herding_order(np.array([[0.0], [10.0], [4.0]]))
        [2, 1, 0]
    """
    rows = np.asarray(features, np.float64)
    mean, total = rows.mean(axis=0), np.zeros(rows.shape[1])
    left, order = list(range(len(rows))), []
    for count in range(1, len(rows) + 1):
        distances = [float(np.linalg.norm(mean - (total + rows[index]) / count)) for index in left]
        order.append(left.pop(int(np.argmin(distances))))
        total += rows[order[-1]]
    return order


def keep(
    folder: Path,
    chosen: Sequence[Candidate],
    data: DataPlan,
    *,
    budget_bytes: int,
    seed: int,
    how: str,
    newest: str,
) -> MemoryFile:
    """Copy the files of what was chosen; the folder is a data set by itself (``cases.csv``).

    ``memory.json`` comes last: without it the folder is no memory, and is made anew.

    Args:
        folder: Where; what is there is replaced.
        chosen: What to keep.
        data: Classes and their label values.
        budget_bytes: As given to ``choose``.
        seed: Likewise.
        how: ``random`` or ``herding``.
        newest: The domain that is new; ``recall`` can leave it out.

    Raises:
        ResourceError: The disk is full or may not be written.
    """
    if folder.is_dir():
        shutil.rmtree(folder)
    kept = [_copied(folder, number, each) for number, each in enumerate(chosen)]
    names = dict(zip(data.classes, data.label_values, strict=True))
    if data.ignore_value is not None:
        names["ignore"] = data.ignore_value
    write_text(folder / "dataset.json", json.dumps({"labels": names}, indent=1) + "\n")
    table = io.StringIO()
    writer = csv.writer(table, lineterminator="\n")
    writer.writerow(("id", "image", "label", "group"))
    writer.writerows((each.id, ";".join(each.images), each.label, each.group) for each in kept)
    write_text(folder / "cases.csv", table.getvalue())
    record = MemoryFile(
        budget_bytes=budget_bytes,
        seed=seed,
        how=how,
        classes=data.classes,
        label_values=data.label_values,
        newest=newest,
        cases=tuple(kept),
    )
    write_text(folder / MEMORY, record.to_json())
    return record


def _copied(folder: Path, number: int, each: Candidate) -> Exemplar:
    """Copy one case; its own file names stay, in folders of its own."""
    case, home = each.case, f"files/{number:05d}"
    label = case.label
    assert label is not None  # only labelled cases are candidates
    places = [f"{home}/image{place}" for place in range(len(case.images))]
    named = dict(_files(label, f"{home}/label"))
    for path, place in zip(case.images, places, strict=True):
        named |= dict(_files(path, place))
    for name, path in named.items():
        with path.open("rb") as source, atomic(folder / name) as target:
            shutil.copyfileobj(source, target)
    prefix = "" if case.id.startswith(f"{each.domain}-") else f"{each.domain}-"
    return Exemplar(
        id=f"{prefix}{case.id}",
        group=f"{prefix}{case.group}",
        domain=each.domain,
        classes=tuple(sorted(each.classes)),
        images=tuple(f"{place}/{path.name}" for path, place in zip(case.images, places, strict=True)),
        label=f"{home}/label/{label.name}",
        label_kind=case.label_kind,
        sha256={name: sha256(folder / name) for name in named},
        named=tuple(sorted(each.named)),
    )


def _files(path: Path, place: str) -> Iterator[tuple[str, Path]]:
    """Name in the memory and file of what an image or a label is made of: slices, data beside a header."""
    for file in files_of(path):
        yield f"{place}/{file.relative_to(path.parent).as_posix()}", file


def recall(folder: Path, data: DataPlan, *, older: bool = False) -> tuple[Candidate, ...]:
    """Read a memory; every file's hash is compared.

    Args:
        folder: What ``keep`` wrote.
        data: Classes; the memory must have them, or the first of them: the others are newer.
        older: Leave the newest domain out.

    Raises:
        DataError: It is empty, a file is missing or was changed, or it has other classes.
    """
    path = folder / MEMORY
    record = MemoryFile.from_json(path.read_bytes(), where=path)
    cases = [each for each in record.cases if not older or each.domain != record.newest]
    if not cases:
        raise DataError(
            "this memory is empty",
            cure="name old data, or raise budget_mb of 'replay' above the size of one case",
            where=folder,
        )
    count = len(record.classes)
    if (record.classes, record.label_values) != (data.classes[:count], data.label_values[:count]):
        raise DataError(
            f"expected a memory of the classes {_words(data.classes, data.label_values)}, got "
            f"{_words(record.classes, record.label_values)}",
            cure="name a memory of the same classes",
            where=folder,
        )
    every = tuple(range(1, count))
    return tuple(_recalled(folder, each, each.named or every) for each in cases)


def _recalled(folder: Path, each: Exemplar, named: Sequence[int]) -> Candidate:
    for name, digest in each.sha256.items():
        file = folder / name
        if not file.is_file() or sha256(file) != digest:
            raise DataError(
                "this file of the memory is missing or is not the one that was kept (SHA-256 differs)",
                cure="restore it from a backup, or make the memory anew from the old data",
                where=file,
            )
    images = tuple(folder / name for name in each.images)
    case = Case(each.id, images, folder / each.label, each.group, each.label_kind)
    size = sum((folder / name).stat().st_size for name in each.sha256)
    return Candidate(case, each.domain, frozenset(each.classes), size, frozenset(named))


def _words(classes: Sequence[str], values: Sequence[int]) -> str:
    return ", ".join(f"{value} {name}" for value, name in zip(values, classes, strict=True))
