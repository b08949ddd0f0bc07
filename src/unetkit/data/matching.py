"""Images, masks and the index of a data set put together by their names."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from unetkit.data.folders import Part, channel_word, is_mask_word, masks_beside, unique_ids
from unetkit.data.formats import SUFFIXES, channel_of, sort_folder, stem_of, suffix_of
from unetkit.data.pairing import composed, pair_names
from unetkit.data.problems import Problem, refused, warning
from unetkit.data.tables import Row, read_rows
from unetkit.errors import DataError
from unetkit.records.case import Case

INDEX, DECLARED = "index.csv", "dataset.json"
READERS = "readers"
"""Where ``unet convert lidc`` writes the readers' marks, and the column of ``index.csv`` that counts them."""

MOST_READERS = 16
_MOST_GUESSES = 20
_PARTLY_MARKED = ("JPEGImages",)
"""Image folders of which most images have no mask, as in Pascal VOC: those are left out, not missed."""


@dataclass
class Found:
    """What is being collected while the names are matched.

    Args:
        cases: Images with a label.
        unlabelled: Images without one.
        problems: What is wrong.
        notes: What was recognised, in words.
        channels: Channel names that the file names state.
        guessed: Whether it was said that masks have other names than their images.
    """

    cases: list[Case] = field(default_factory=list)
    unlabelled: list[Case] = field(default_factory=list)
    problems: list[Problem] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)
    channels: tuple[str, ...] = ()
    guessed: bool = False


@dataclass
class Named:
    """Files by their names.

    Args:
        images: Case id to its image files.
        labels: Case id to its mask.
        parts: Case id to the part of the data set it lies in.
        orphans: Stem to a mask that no image has.
    """

    images: dict[str, tuple[Path, ...]] = field(default_factory=dict)
    labels: dict[str, Path] = field(default_factory=dict)
    parts: dict[str, Part] = field(default_factory=dict)
    orphans: dict[str, Path] = field(default_factory=dict)


def name_cases(source: Path, parts: Sequence[Part], found: Found) -> Named:
    """Give the cases of all parts their ids: the names of their images, with the folder's where they recur.

    Args:
        source: The data set.
        parts: Where its images and masks are.
        found: Takes what is said on the way.

    Raises:
        DataError: A folder holds no image or no mask, two files have one name, or a channel is missing.
    """
    gathered = [(part, *_gather(part, source, found)) for part in parts]
    places = [part.images.relative_to(source).parts for part in parts]
    shared = set(places[0]).intersection(*places)
    prefixes = ["-".join(word for word in place if word not in shared) for place in places]
    stems = [(prefix, id) for prefix, (_, images, _) in zip(prefixes, gathered, strict=True) for id in images]
    ids = iter(unique_ids(stems))
    named = Named()
    for part, images, labels in gathered:
        fresh = {id: next(ids) for id in images}
        named.images |= {fresh[id]: paths for id, paths in images.items()}
        named.labels |= {fresh[id]: path for id, path in labels.items() if id in fresh}
        named.orphans |= {id: path for id, path in labels.items() if id not in fresh}
        named.parts |= dict.fromkeys(fresh.values(), part)
    return named


def _gather(part: Part, source: Path, found: Found) -> tuple[dict[str, tuple[Path, ...]], dict[str, Path]]:
    """Images and masks of one part, each by the id of its case."""
    images = _files(part.images, found)
    if part.whole:
        words = {path: channel_word(path, part.images) for path in images}
        channels = [path for path in sorted(images, key=words.__getitem__) if not is_mask_word(words[path])]
        found.channels = tuple(words[path] for path in channels)
        masks = [path for path in images if path not in channels]
        return {part.images.name: tuple(channels)}, {part.images.name: masks[0]}
    images, masks = masks_beside(images) if part.mixed else (images, _files(part.labels, found))
    if not masks:
        raise _no_mask(part.labels, source)
    stems, labels = _unique(images, part.images), _unique(masks, part.labels)
    channelled = dict.fromkeys(hit[0] for path in images if (hit := channel_of(path)))
    cases = [*stems, *(channelled if channelled.keys() & labels.keys() else ())]
    pairs, guessed = pair_names(cases, list(labels))
    if not pairs:
        pairs, guessed = pair_names(list(channelled), list(labels))
    if guessed and not found.guessed:
        found.notes.append(guessed)
        found.guessed = True
    named = {label: case for case, label in pairs.items()}
    labels = {named.get(stem, stem): path for stem, path in labels.items()}
    return _by_case(images, labels), labels


def _no_mask(folder: Path, source: Path) -> DataError:
    """The error for a folder of masks without one that can be read."""
    inside = sorted(path.name for path in folder.iterdir() if not path.name.startswith("."))
    cure = f"put the masks there, as {', '.join(SUFFIXES)}"
    if any((folder / name).is_dir() for name in inside):
        cure = f"put one mask per image into {folder.name}/ itself, with a number for each class"
    elif any(name.lower().endswith((".txt", ".json", ".xml")) for name in inside):
        cure = f"outlines are no masks yet: unet convert {source} OUT makes images/ and masks/ of them"
    got = f"only {listed(inside)}" if inside else "it is empty"
    return DataError(f"this folder holds no mask that can be read, {got}", cure=cure, where=folder)


def listed(names: Sequence[str], most: int = 3) -> str:
    """The first few names.

    Example:
        >>> listed(["a", "b", "c", "d"])
        'a, b, c …'
    """
    return ", ".join(names[:most]) + (" …" if len(names) > most else "")


def _files(folder: Path, found: Found) -> list[Path]:
    """The files of a folder that a format reads; others are said, never dropped silently."""
    known, rest = sort_folder(folder)
    other = [path.name for path in rest if path.name not in (INDEX, DECLARED)]
    if other:
        found.problems.append(
            warning(
                "other-files",
                folder,
                f"{len(other)} entries are no pictures and were left out: {listed(other)}",
                "convert them to PNG, TIFF or NIfTI if they are data",
            )
        )
    return known


def _unique(paths: Iterable[Path], folder: Path) -> dict[str, Path]:
    """Stem to path.

    Raises:
        DataError: Two files share a stem.
    """
    table: dict[str, Path] = {}
    for path in paths:
        stem = stem_of(path)
        if stem in table:
            raise DataError(
                f"two files have the same name: {table[stem].name} and {path.name}",
                cure="remove one",
                where=folder,
            )
        table[stem] = path
    return table


def _by_case(images: list[Path], labels: dict[str, Path]) -> dict[str, tuple[Path, ...]]:
    """Case id to its image files: one file of the label's name, or ``_0000``, ``_0001`` … behind it."""
    stems = _unique(images, images[0].parent)
    channelled = any((hit := channel_of(path)) and hit[0] in labels for path in stems.values())
    grouped: dict[str, list[tuple[int, Path]]] = defaultdict(list)
    for stem, path in stems.items():
        hit = channel_of(path)
        if hit and stem not in labels and (hit[0] in labels or channelled):
            grouped[hit[0]].append((hit[1], path))
        else:
            grouped[stem].append((-1, path))
    for id, parts in grouped.items():
        numbers = sorted(number for number, _ in parts)
        if numbers not in ([-1], list(range(len(numbers)))):
            got = ", ".join(path.name for _, path in sorted(parts))
            raise DataError(
                f"the channels of '{id}' must be numbered _0000, _0001 …, got {got}",
                cure="add the missing channel, or rename the files",
                where=images[0].parent,
            )
    return {id: tuple(path for _, path in sorted(parts)) for id, parts in grouped.items()}


def read_index(path: Path, images: Collection[str], found: Found) -> dict[str, Row] | None:
    """The rows of ``index.csv`` by id; None where there is none or it has no ids.

    Args:
        path: Where it would be.
        images: Ids of the images, of which a row may write the accents otherwise.
        found: Takes what is said of it.
    """
    if not path.is_file():
        return None
    rows = read_rows(path, needed=())
    if "id" not in rows[0].values:
        found.problems.append(
            warning("index", path, "it has no column 'id' and was not used", "add the column")
        )
        return None
    used = [name for name in ("id", "group", "split", "ignore_value") if name in rows[0].values]
    found.notes.append(f"{path.name} was used: {len(rows)} rows, columns {', '.join(used)}")
    known = {composed(id): id for id in images}

    def meant(id: str) -> str:
        """The image of that name, also where the row gives its file's suffix."""
        file = Path(id)
        bare = id if id in images or suffix_of(file) is None else stem_of(file)
        return bare if bare in images else known.get(composed(bare), id)

    named = (replace(row, values={**row.values, "id": meant(row.values.get("id", ""))}) for row in rows)
    return rows_by_id(named, path)


def rows_by_id(rows: Iterable[Row], path: Path) -> dict[str, Row]:
    """The rows of a CSV by the id of their case.

    Args:
        rows: Of the CSV.
        path: The CSV, for the error.

    Raises:
        DataError: An id is empty or occurs twice.
    """
    table: dict[str, Row] = {}
    for row in rows:
        id = row.values.get("id", "")
        if not id or id in table:
            problem = f"the id '{id}' occurs twice" if id else "the id is empty"
            raise DataError(f"line {row.line}: {problem}", cure="give every row its own id", where=path)
        table[id] = row
    return table


def match_cases(source: Path, named: Named, index: dict[str, Row] | None, found: Found) -> None:
    """Put images, labels and the index together.

    Args:
        source: The data set.
        named: Its files.
        index: Rows of ``index.csv`` by id, None where there is none.
        found: Takes the cases and what is wrong with them.
    """
    orphans = dict(sorted(named.orphans.items()))
    for id in sorted(named.images) if index is None else sorted(index):
        row = Row(0, {}) if index is None else index[id]
        if id not in named.images:
            text = f"index.csv names '{id}' (line {row.line}), which has no image"
            found.problems.append(refused("missing-image", source / INDEX, text, "add it or the row"))
            continue
        part = named.parts[id]
        group = row.values.get("group") or part.group or id
        split = row.split(source / INDEX) or part.split
        case = Case(id, named.images[id], named.labels.get(id), group, split=split)
        if case.label is None:
            _missing_mask(case, part, orphans, found)
        else:
            found.cases.append(case)
    lone = sum(named.parts[case.id].images.name in _PARTLY_MARKED for case in found.unlabelled)
    if lone:
        found.notes.append(f"{lone} images have no mask and were left out")
    if index is None and orphans:
        text = f"{len(orphans)} masks have no image: {listed(list(orphans))}"
        where = next(iter(orphans.values())).parent
        found.problems.append(warning("missing-image", where, text, "add the images, or rename the masks"))
    elif index is not None and (left := sorted(set(named.images) - set(index))):
        found.notes.append(f"{len(left)} images are not in index.csv and were left out: {listed(left)}")
    _say_groups(named, index, found)


def match_readers(source: Path, index: Mapping[str, Row], found: Found) -> None:
    """Give the cases the files of their readers' marks, where there is one and the index counts the readers.

    Args:
        source: The data set.
        index: Case id to its row of ``index.csv``.
        found: Its cases.

    Raises:
        DataError: A number of readers is none.
    """
    folder = source / READERS
    if not folder.is_dir():
        return
    marks = _unique(_files(folder, found), folder)
    found.cases = _with_readers(found.cases, marks, index)
    if several := sum(case.readers is not None for case in found.cases):
        found.notes.append(f"{READERS}/ holds what each reader marked, for {several} of the cases")


def _with_readers(cases: Sequence[Case], marks: Mapping[str, Path], rows: Mapping[str, Row]) -> list[Case]:
    found: list[Case] = []
    for case in cases:
        path, count = marks.get(case.id), rows[case.id].values.get(READERS, "") if case.id in rows else ""
        if path is None or not count:
            found.append(case)
            continue
        if not count.isdecimal() or not 1 <= int(count) <= MOST_READERS:
            raise DataError(
                f"line {rows[case.id].line}: expected 1 to {MOST_READERS} {READERS}, got '{count[:20]}'",
                cure="write how many people read the case, those who marked nothing included",
                where=path.parent.parent / "index.csv",
            )
        found.append(replace(case, readers=path, reader_count=int(count)))
    return found


def _say_groups(named: Named, index: dict[str, Row] | None, found: Found) -> None:
    groups = sorted({part.group for part in named.parts.values()} - {""})
    if any(part.split for part in named.parts.values()):
        found.notes.append("the names of the folders state what is trained on and what is held out")
    if index is not None and any("group" in row.values for row in index.values()):
        return
    text = "no groups are given: every image counts as its own group"
    found.notes.append(f"folders were taken as groups: {listed(groups)}" if groups else text)


def _missing_mask(case: Case, part: Part, orphans: dict[str, Path], found: Found) -> None:
    """A mask is missing; one of nearly the same name may be meant for it."""
    folder = part.labels
    found.unlabelled.append(case)
    if part.images.name in _PARTLY_MARKED:
        return
    text = f"missing mask: expected a file named '{case.id}' in {folder.name}/, found none"
    cure = "add the mask (an empty one where there is nothing to see), or take the image out"
    if len(found.unlabelled) <= _MOST_GUESSES:
        near = next((path for stem, path in orphans.items() if _akin(case.id, stem)), None)
        if near is not None:
            text += f" (there is '{near.name}')"
            name = f"{case.id}{suffix_of(near) or ''}"
            cure = f"give every mask the name of its image: rename '{near.name}' to '{name}'"
    found.problems.append(refused("missing-mask", case.images[0], text, cure))


def _akin(one: str, other: str) -> bool:
    """Whether one name is the other with a word before or behind it, as ``a7`` and ``a7_mask`` are."""
    short, long = sorted((one, other), key=len)
    if len(short) == len(long):
        return False
    behind = long.startswith(short) and not long[len(short)].isalnum()
    return behind or (long.endswith(short) and not long[-len(short) - 1].isalnum())
