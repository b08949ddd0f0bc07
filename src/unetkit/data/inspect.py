"""One pass over all files: facts about every case, and everything that is wrong or was decided."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from unetkit.data.catalog import Catalog
from unetkit.data.classes import Classes, decide_classes, numbered_objects
from unetkit.data.facts import FEWEST_SAMPLES, MOST_SAMPLES, MOST_SAMPLES_TOGETHER, CaseFacts, take_facts
from unetkit.data.formats import format_of
from unetkit.data.labels import COLOURS, has_alpha, read_pixels, read_values
from unetkit.data.problems import Problem, from_error, note, raise_refusals, refused, warning
from unetkit.errors import DataError
from unetkit.records.case import Case, Grid
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress, Quiet

__all__ = ["CaseFacts", "Inspection", "Problem", "inspect", "inspect_unlabelled", "raise_if_refused"]


_CHANNELS_LAST = (
    "if the longer one holds channels, write them as such: of a TIFF (y, x, channel) with "
    "tifffile.imwrite(…, photometric='minisblack', planarconfig='contig'), of .npy at most 4 of them"
)
_FLAT = 3
"""Volumes so many times longer than thick, at 1 mm on every axis, have lost their spacing on the way."""
_ALPHA = "its alpha is not opaque everywhere: it counts as one more channel"
_NO_ALPHA = "its alpha was left out: other pictures have none, or an opaque one"


@dataclass(frozen=True)
class Inspection:
    """What was seen.

    Args:
        catalog: What was inspected.
        facts: One per case that could be read, in catalog order.
        problems: Everything worth saying, refusals first.
        data: Channels and classes as decided; None when the data set is refused.
    """

    catalog: Catalog
    facts: tuple[CaseFacts, ...]
    problems: tuple[Problem, ...]
    data: DataPlan | None

    @property
    def refused(self) -> bool:
        """Whether anything stops the work."""
        return any(problem.severity == "refused" for problem in self.problems)


def inspect(catalog: Catalog, *, progress: Progress | None = None) -> Inspection:
    """Read every file once and say all that is wrong with the data set, not the first thing only.

    Args:
        catalog: What to read.
        progress: Who watches.

    Returns:
        The facts, the findings and the decision; memory is bounded by the largest single case.
    """
    watcher = progress or Quiet()
    count = max(1, len(catalog.cases))
    samples = min(MOST_SAMPLES, max(FEWEST_SAMPLES, MOST_SAMPLES_TOGETHER // count))
    facts: list[CaseFacts] = []
    problems: list[Problem] = list(catalog.problems)
    said: dict[str, list[Path]] = defaultdict(list)
    watcher.begin("Reading every file", len(catalog.cases))
    try:
        for case in catalog.cases:
            fact = _look(case, samples, problems, said)
            if fact is not None:
                facts.append(fact)
            watcher.advance(1)
    finally:
        watcher.end()
    facts = _without_alpha(facts, catalog, said)
    problems += [note("file", paths[0], _often(text, len(paths))) for text, paths in said.items()]
    problems += [note("layout", catalog.source, text) for text in catalog.notes]
    problems += _across(facts, catalog.channels)
    classes, more = _classes(catalog, facts)
    problems += more
    order = {"refused": 0, "warning": 1, "note": 2}
    problems.sort(key=lambda problem: order[problem.severity])
    stopped = any(problem.severity == "refused" for problem in problems)
    data = None if stopped or not facts else _data(catalog, facts, classes)
    kept = tuple(_as_planned(_foreground_only(fact, classes), data) for fact in facts)
    return Inspection(catalog, kept, tuple(problems), data)


def inspect_unlabelled(inspection: Inspection, *, progress: Progress | None = None) -> tuple[Problem, ...]:
    """Read every image that has no label; a training does not open them, so nothing here stops one.

    Args:
        inspection: What was seen of the labelled cases.
        progress: Who watches.

    Returns:
        A warning per image that is damaged, holds NaN or is of another kind than the labelled ones.
    """
    watcher = progress or Quiet()
    cases = [case for case in inspection.catalog.unlabelled if all(path.exists() for path in case.images)]
    problems: list[Problem] = []
    watcher.begin("Reading images without a label", len(cases))
    try:
        for case in cases:
            pixels = _image(case, problems)[0]
            if pixels is not None and inspection.data is not None:
                problems += _other_kind(case, pixels, inspection.data)
            watcher.advance(1)
    finally:
        watcher.end()
    return tuple(replace(problem, severity="warning") for problem in problems)


def _other_kind(case: Case, pixels: np.ndarray, data: DataPlan) -> list[Problem]:
    channels = (1, 3) if data.channels == COLOURS else (len(data.channels),)
    count = len(pixels) - 1 if has_alpha(case, pixels) and len(pixels) not in channels else len(pixels)
    if pixels.ndim - 1 == data.rank and count in channels:
        return []
    text = f"an image without a label that differs from the labelled ones: {len(pixels)} channel(s) and "
    text += f"{pixels.ndim - 1} axes, they have {len(data.channels)} and {data.rank}"
    return [warning("unlabelled-kind", case.images[0], text, "take it out, or convert it")]


def raise_if_refused(inspection: Inspection) -> None:
    """Raise what stops the work, the first findings worded in full.

    Raises:
        DataError: The data set is refused.
    """
    raise_refusals(inspection.problems)


def _look(case: Case, samples: int, problems: list[Problem], said: dict[str, list[Path]]) -> CaseFacts | None:
    """Read one case; what is wrong with it goes to ``problems``."""
    before = len(problems)
    values, label_grid = None, Grid.plain(2)
    pixels, grid = _image(case, problems)
    if pixels is not None:
        _take_notes(case.images, said)
    try:
        values, label_grid = read_values(case)
        if case.label is not None:
            _take_notes((case.label,), said)
    except DataError as wrong:
        problems.append(from_error("label", wrong, case.label or case.id))
    if pixels is None or values is None:
        return None
    if values.shape != pixels.shape[1:]:
        problems.append(_other_size(case, pixels.shape[1:], values.shape))
    elif grid.calibrated and label_grid.calibrated and (differing := grid.difference(label_grid)):
        problems.append(_other_place(case, "{} {} and {}".format(*differing)))
    if values.size == 0:
        problems.append(refused("empty", case.images[0], "the image has no pixels", "remove it"))
    if len(problems) > before:
        return None
    if has_alpha(case, pixels):
        said[_ALPHA].append(case.images[0])
    fact = take_facts(case, pixels, values, grid, samples=samples)
    if fact.minima == fact.maxima:
        text = f"every pixel has the same value ({fact.minima[0]:g})"
        problems.append(warning("constant", case.images[0], text, "check the picture"))
    return fact


def _without_alpha(facts: list[CaseFacts], catalog: Catalog, said: dict[str, list[Path]]) -> list[CaseFacts]:
    """Facts of pictures of which some have an alpha and some do not: it is nobody's channel then."""
    clear = set(said.get(_ALPHA, ()))
    ids = {case.id for case in catalog.cases if case.images[0] in clear}
    rest = {fact.channels - (fact.id in ids) for fact in facts}
    if len({fact.channels for fact in facts}) < 2 or not ids or not rest <= {1, len(COLOURS)}:
        return facts
    said[_NO_ALPHA] = said.pop(_ALPHA)
    return [_first_channels(fact, fact.channels - 1) if fact.id in ids else fact for fact in facts]


def _first_channels(fact: CaseFacts, count: int) -> CaseFacts:
    return replace(
        fact,
        channels=count,
        sampled=fact.sampled[:count],
        minima=fact.minima[:count],
        maxima=fact.maxima[:count],
        integer=fact.integer[:count],
    )


def _image(case: Case, problems: list[Problem]) -> tuple[np.ndarray | None, Grid]:
    """The pixels of one case and where they lie; None where they cannot be read."""
    try:
        return read_pixels(case)
    except DataError as wrong:
        problems.append(
            from_error("nan-pixels" if "NaN" in wrong.problem else "image", wrong, case.images[0])
        )
        return None, Grid.plain(2)


def _take_notes(paths: Iterable[Path], said: dict[str, list[Path]]) -> None:
    for path in paths:
        for text in format_of(path).describe(path).notes:
            said[text].append(path)


def _often(text: str, count: int) -> str:
    return text if count == 1 else f"{text} (and so in {count} files in all)"


def _other_size(case: Case, image: tuple[int, ...], label: tuple[int, ...]) -> Problem:
    turned = len(image) == len(label) and sorted(image) == sorted(label)
    return refused(
        "label-size",
        case.label or case.id,
        f"a mask of another size: the image {case.images[0].name} has {_by(image)} pixels, "
        f"its mask {_by(label)}"
        + (" (turned: the image may carry an EXIF rotation that the mask lacks)" if turned else ""),
        _CHANNELS_LAST if len(image) == 1 + len(label) else "export the mask at the size of the image",
    )


def _other_place(case: Case, differing: str) -> Problem:
    return refused(
        "label-geometry",
        case.label or case.id,
        f"the geometry of the label is not that of its image {case.images[0].name}: {differing}",
        "export the label on the grid of the image (its header, not only its size)",
    )


def _by(shape: tuple[int, ...]) -> str:
    return " × ".join(map(str, shape))


def _across(facts: Sequence[CaseFacts], stated: tuple[str, ...]) -> list[Problem]:
    """What only shows when cases are compared."""
    problems: list[Problem] = []
    ranks = _kinds(facts, lambda fact: len(fact.shape))
    if len(ranks) > 1:
        text = f"mixed axes: {_examples(ranks, 'axes')}"
        problems.append(
            refused("mixed-rank", next(iter(ranks.values())), text, "train pictures and volumes apart")
        )
    channels = _kinds(facts, lambda fact: fact.channels)
    if len(channels) > 1:
        text = f"mixed channel counts: {_examples(channels, 'channels')}"
        if set(channels) == {1, 3} and set(ranks) == {2}:
            text += "; a grey picture counts as one with three equal channels"
            problems.append(warning("grey-and-colour", channels[1], text, "check that this is meant"))
        else:
            cure = "give every image the same channels"
            problems.append(refused("mixed-channels", min(channels.values()), text, cure))
    if stated and facts and len(stated) != max(channels):
        text = f"dataset.json names {len(stated)} channels, the images hold {max(channels)}: not used"
        problems.append(warning("channel-names", channels[max(channels)], text, "correct 'channel_names'"))
    if len({fact.calibrated for fact in facts}) > 1:
        odd = next(fact.id for fact in facts if not fact.calibrated)
        text = "some files state their spacing and some do not (1 was assumed there)"
        problems.append(warning("spacing", odd, text, "write the spacing into every file"))
    deep = [fact for fact in facts if len(fact.shape) == 3 and min(fact.shape) > 1]
    flat = [fact for fact in deep if _FLAT * min(fact.shape) <= max(fact.shape)]
    if len(flat) == len(facts) > 0 and all(set(fact.spacing_mm) == {1.0} for fact in facts):
        many = _by(flat[0].shape)
        text = f"the spacing is 1 mm on every axis, or not stated, yet '{flat[0].id}' has {many} voxels"
        cure = "write the true spacing into the files if they lost it; plans and distances in mm follow it"
        problems.append(warning("spacing", flat[0].id, text, cure))
    return problems + _duplicates(facts)


def _kinds(facts: Sequence[CaseFacts], kind) -> dict[int, str]:  # noqa: ANN001 - CaseFacts to int
    """Kind to the id of the first case of that kind."""
    found: dict[int, str] = {}
    for fact in facts:
        found.setdefault(kind(fact), fact.id)
    return found


def _examples(kinds: dict[int, str], word: str) -> str:
    return ", ".join(f"{number} {word} in '{id}'" for number, id in sorted(kinds.items()))


def _duplicates(facts: Sequence[CaseFacts]) -> list[Problem]:
    by_digest: dict[str, list[CaseFacts]] = defaultdict(list)
    for fact in facts:
        by_digest[fact.digest].append(fact)
    problems: list[Problem] = []
    for same in by_digest.values():
        names = ", ".join(f"'{fact.id}'" for fact in same[:4]) + (" …" if len(same) > 4 else "")
        if len({fact.group for fact in same}) > 1:
            text = f"the same picture in different groups: {names}; they are kept on one side of every split"
            problems.append(
                warning("duplicate", same[0].id, text, "remove the copies, or give them one group")
            )
        elif len(same) > 1:
            problems.append(note("duplicate", same[0].id, f"the same picture more than once: {names}"))
    return problems


def _classes(catalog: Catalog, facts: Sequence[CaseFacts]) -> tuple[Classes, list[Problem]]:
    """The decision about label values, and what follows from it case by case."""
    totals: Counter[int] = Counter()
    for fact in facts:
        totals.update(fact.label_counts)
    if not facts:
        return Classes((), (), catalog.ignore_value, ()), []
    classes = decide_classes(
        dict(totals), names=catalog.names, ignore_value=catalog.ignore_value, where=catalog.source
    )
    if not classes.names:
        return classes, list(classes.problems)
    objects = [fact.object_sizes for fact in facts]
    problems = [*classes.problems, *numbered_objects(objects, names=catalog.names, where=catalog.source)]
    labels = {case.id: case.label or case.id for case in catalog.cases}
    allowed = {*classes.values, classes.ignore_value}
    listed = ", ".join(f"{v} {name}" for v, name in zip(classes.values, classes.names, strict=True))
    for fact in facts:
        for value in sorted(set(fact.label_counts) - allowed)[:1]:
            stated = f"the {len(classes.names)} classes of dataset.json ({listed})"
            text = f"the label value {value} is beyond {stated}"
            problems.append(
                refused("label-value", labels[fact.id], text, "correct the mask, or add the class")
            )
    return classes, problems + _presence(classes, facts, catalog.source)


def _presence(classes: Classes, facts: Sequence[CaseFacts], where: Path) -> list[Problem]:
    problems: list[Problem] = []
    rare: list[str] = []
    for value, name in zip(classes.values[1:], classes.names[1:], strict=True):
        groups = {fact.group for fact in facts if fact.label_counts.get(value)}
        if len(groups) == 1:
            rare.append(f"'{name}' (in '{next(iter(groups))}')")
    if rare and len({fact.group for fact in facts}) > 1:
        names = ", ".join(rare[:4]) + (" …" if rare[4:] else "")
        text = f"{len(rare)} classes occur in one group only: {names}"
        cure = "add cases with them: each can be trained or tested, not both"
        problems.append(warning("rare-class", where, text, cure))
    empty = [
        fact.id for fact in facts if not any(fact.label_counts.get(value) for value in classes.values[1:])
    ]
    if empty and len(empty) < len(facts):
        names = f"{len(facts)} cases: " + ", ".join(empty[:3]) + (" …" if empty[3:] else "")
        problems.append(note("empty-masks", where, f"background only in {len(empty)} of {names}"))
    return problems


def _data(catalog: Catalog, facts: Sequence[CaseFacts], classes: Classes) -> DataPlan:
    count = max(fact.channels for fact in facts)
    kinds = Counter(fact.dtype for fact in facts)
    rank = len(facts[0].shape)
    names = catalog.channels
    if len(names) != count or len({fact.channels for fact in facts}) > 1:
        colours = count == 3 and rank == 2 and all(len(case.images) == 1 for case in catalog.cases)
        names = (
            COLOURS if colours else tuple(f"channel {n}" for n in range(count)) if count > 1 else ("image",)
        )
    return DataPlan(
        rank=3 if rank == 3 else 2,
        channels=names,
        classes=classes.names,
        label_values=classes.values,
        ignore_value=classes.ignore_value,
        pixels=max(sorted(kinds), key=kinds.__getitem__),
    )


def _foreground_only(fact: CaseFacts, classes: Classes) -> CaseFacts:
    """Without the samples and objects of what turned out to be background or not labelled."""
    foreground = classes.values[1:]
    kept = np.isin(fact.sampled_values, foreground)
    objects = {value: sizes for value, sizes in fact.object_sizes.items() if value in foreground}
    if not foreground or (kept.all() and len(objects) == len(fact.object_sizes)):
        return fact
    return replace(
        fact,
        sampled=fact.sampled[:, kept],
        sampled_values=fact.sampled_values[kept],
        object_sizes=objects,
    )


def _as_planned(fact: CaseFacts, data: DataPlan | None) -> CaseFacts:
    """A grey picture among colour ones as what it is trained as: three equal channels."""
    if data is None or fact.channels != 1 or len(data.channels) == 1:
        return fact
    count = len(data.channels)
    return replace(
        fact,
        channels=count,
        sampled=np.repeat(fact.sampled, count, axis=0),
        minima=fact.minima * count,
        maxima=fact.maxima * count,
        integer=fact.integer * count,
    )
