"""Convert: a data set as another tool or archive lays it out, into our own layout."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

from unetkit.data.exchange import FAMILY, KINDS, Foreign, Kind, kind_of_set
from unetkit.data.exchange.writing import write_declared, write_item, write_tables, write_unseen
from unetkit.data.problems import Problem, from_error
from unetkit.errors import DataError, UsageError
from unetkit.lookup import pick
from unetkit.records.files import atomic_folder, write_text
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved

RECORD = "conversion.json"


class RefusedCase(Saved):
    """A case that was not converted.

    Args:
        id: Its name; empty for what belongs to no case.
        where: The file or folder.
        problem: What is wrong with it.
        cure: What to do.
    """

    id: str = ""
    where: str
    problem: str
    cure: str


class Conversion(Saved):
    """What a conversion did; it lies in the folder it made.

    Args:
        kind: What the source was.
        source: The name of its folder or file.
        cases: Cases written (or to be written, in a dry run).
        groups: How many groups they form.
        classes: Label value to class name.
        unseen: Images without a label, in ``unseen/``.
        refused: What was left out, and why; every other case is there.
        notes: What was decided.
    """

    version: int = 1
    kind: str
    source: str
    cases: int
    groups: int
    classes: dict[int, str]
    unseen: int = 0
    refused: tuple[RefusedCase, ...] = ()
    notes: tuple[str, ...] = ()


def convert(
    source: str | Path,
    out: str | Path,
    kind: str | None = None,
    *,
    overwrite: bool = False,
    dry_run: bool = False,
    progress: Progress | None = None,
) -> Conversion:
    """Write ``images/``, ``masks/``, ``index.csv`` and ``dataset.json`` from a data set of another kind.

    The folder appears whole or not at all. A case that is refused stops nothing: it is listed in the result.

    Args:
        source: The file or folder.
        out: The folder to make.
        kind: A row of ``KINDS``, such as ``lidc`` or ``coco``; recognised when None.
        overwrite: Whether a folder that an earlier conversion made may be replaced.
        dry_run: List the cases, read and write nothing.
        progress: Who watches.

    Raises:
        UsageError: The kind is unknown, or there is something at ``out`` already.
        DataError: The source is not there or not of this kind, or no case of it can be used.
        ResourceError: The disk is full or cannot be written.
    """
    source, target = Path(os.path.normpath(source)), Path(out)
    if not source.exists():
        raise DataError("there is no such file or folder", cure="correct the path", where=source)
    name = kind or kind_of_set(source)
    reader: Kind = pick(FAMILY, KINDS, name)()
    _refuse_taken(source, target, overwrite=overwrite)
    foreign = reader.find(source)
    if dry_run:
        groups = {item.group or item.id for item in foreign.items}
        return _record(name, source, foreign, (len(foreign.items), len(groups)), _whole(foreign, source))
    watch = progress or Quiet()
    with atomic_folder(target) as part:
        return _fill(part, name, source, foreign, watch)


def _fill(part: Path, name: str, source: Path, foreign: Foreign, watch: Progress) -> Conversion:
    """Write everything into a folder that nobody sees yet."""
    rows: list[dict[str, str]] = []
    tables: dict[str, list[Mapping[str, str]]] = defaultdict(list)
    refused = _whole(foreign, source)
    watch.begin("converting", len(foreign.items))
    for item in foreign.items:
        try:
            content = item.read()
            row = write_item(part, item, content)
        except DataError as wrong:
            refused.append(_refused(from_error("case", wrong, item.where), source, item.id))
        else:
            rows.append(row)
            for table, each in content.tables.items():
                tables[table] += [{"id": item.id, "group": row["group"], **one} for one in each]
        watch.advance(1, case=item.id)
    watch.end()
    if not rows:
        first = refused[0] if refused else None
        raise DataError(
            f"no case can be used: {first.problem}" if first else "there is no case",
            cure=first.cure if first else "name the folder of the data set",
            where=first.where if first else source,
        )
    write_tables(part, rows, tables)
    write_declared(part, foreign)
    unseen = write_unseen(part, foreign.unseen)
    groups = len({row["group"] for row in rows})
    done = _record(name, source, foreign, (len(rows), groups), refused, unseen=unseen)
    write_text(part / RECORD, done.to_json())
    return done


def _record(
    name: str,
    source: Path,
    foreign: Foreign,
    counts: tuple[int, int],
    refused: list[RefusedCase],
    *,
    unseen: int | None = None,
) -> Conversion:
    warned = [each.problem for each in foreign.problems if each.severity != "refused"]
    return Conversion(
        kind=name,
        source=source.name,
        cases=counts[0],
        groups=counts[1],
        classes=dict(foreign.names),
        unseen=len(foreign.unseen) if unseen is None else unseen,
        refused=tuple(refused),
        notes=(*foreign.notes, *warned),
    )


def _whole(foreign: Foreign, source: Path) -> list[RefusedCase]:
    """What was refused before any case was read."""
    return [_refused(each, source) for each in foreign.problems if each.severity == "refused"]


def _refused(problem: Problem, source: Path, id: str = "") -> RefusedCase:
    """A refusal as it is kept: the record goes where the data set goes and names nothing above its source."""
    place = Path(problem.where)
    inside = place.is_relative_to(source.parent)
    where = str(place.relative_to(source.parent)) if inside else problem.where
    return RefusedCase(id=id, where=where, problem=problem.problem, cure=problem.cure)


def _refuse_taken(source: Path, target: Path, *, overwrite: bool) -> None:
    """Refuse to write over anything but an earlier conversion, and that only when told.

    Raises:
        UsageError: There is something, or one folder lies in the other.
    """
    one, other = source.resolve(), target.resolve()
    if one == other or other in one.parents or one in other.parents:
        raise UsageError(
            "the new data set and its source lie in one another",
            cure="name a folder outside of the source",
            where=target,
        )
    if not target.exists() or (target.is_dir() and not any(target.iterdir())):
        return
    ours = target.is_dir() and (target / RECORD).is_file()
    if not (ours and overwrite):
        cure = "say --overwrite to replace it, or name another folder" if ours else "name another folder"
        what = "an earlier conversion" if ours else "something that no conversion made"
        raise UsageError(f"there is {what} already", cure=cure, where=target)
