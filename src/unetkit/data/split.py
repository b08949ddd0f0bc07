"""Which cases are trained on and which are held out: by group, alike in classes, never leaking."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

import numpy as np

from unetkit.data.catalog import Catalog
from unetkit.data.facts import CaseFacts
from unetkit.data.labels import read_values
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Case

WIDEST_MARGIN = 32


@dataclass(frozen=True)
class Split:
    """Two sides.

    Args:
        train: Ids of the cases that are trained on.
        held_out: Ids of the cases that are only scored.
        how: How it was decided, in a sentence.
        parts: The cases to use instead of the catalog's where one image was cut into parts, else empty.
        warnings: What a stated split does that it should not, such as a group on both sides.
    """

    train: tuple[str, ...]
    held_out: tuple[str, ...]
    how: str
    parts: tuple[Case, ...] = ()
    warnings: tuple[str, ...] = ()


def folds(facts: Sequence[CaseFacts], *, k: int, seed: int) -> tuple[tuple[str, ...], ...]:
    """Divide cases into folds: by group, each fold with its share of every class.

    Groups that hold the same picture count as one. Groups with the rarest classes are placed first, each in
    the fold that has the fewest cases with those classes, then the fewest cases.

    Args:
        facts: What the cases are.
        k: Number of folds wanted; with fewer groups there are fewer folds.
        seed: Decides between equals.

    Returns:
        Case ids per fold, sorted.

    Raises:
        DataError: There is only one group.
    """
    groups = _groups(facts)
    k = min(k, len(groups))
    if k < 2:
        raise DataError(
            "every case is of one group (or the same picture): nothing can be held out",
            cure="give cases that do not belong together different groups, or state a split",
        )
    content = [_cases_with(group) for group in groups]
    total: Counter[int] = Counter()
    for one in content:
        total.update(one)
    # ties are broken by a shuffle that follows from the seed, never by the order of file names
    luck = np.random.Generator(np.random.Philox(seed)).permutation(len(groups))
    rarity = [min((total[value] for value in one), default=len(facts) + 1) for one in content]
    order = sorted(range(len(groups)), key=lambda n: (rarity[n], -len(groups[n]), luck[n]))
    members: list[list[str]] = [[] for _ in range(k)]
    held: list[Counter[int]] = [Counter() for _ in range(k)]
    for left, number in zip(range(len(order), 0, -1), order, strict=True):
        rarest = sorted(content[number], key=lambda value: (total[value], value))
        empty = [fold for fold in range(k) if not members[fold]]
        options = empty if left <= len(empty) else range(k)
        best = min(
            options,
            key=lambda fold: (*(held[fold][value] for value in rarest), len(members[fold]), fold),
        )
        members[best] += [fact.id for fact in groups[number]]
        held[best].update(content[number])
    return tuple(tuple(sorted(ids)) for ids in members)


_divide = folds  # `split` has a parameter of that name


def split(catalog: Catalog, facts: Sequence[CaseFacts], *, fold: int, folds: int, seed: int) -> Split:
    """Hold out one fold, or what the data set states; a single image is cut in space.

    Args:
        catalog: The cases.
        facts: What they are.
        fold: Which part is held out, from 0.
        folds: Into how many parts the groups are divided.
        seed: Decides between equals.

    Raises:
        UsageError: There is no such fold.
        DataError: Nothing can be held out, or a stated split leaves one side empty.
    """
    if not 0 <= fold < folds or folds < 2:
        raise UsageError(f"there is no fold {fold} of {folds}", cure=f"use 0/{folds} to {folds - 1}/{folds}")
    known = {fact.id for fact in facts}
    cases = [case for case in catalog.cases if case.id in known]
    if any(case.split for case in cases):
        return _stated(cases, facts)
    if len(cases) == 1:
        return _in_space(cases[0], facts[0], fold=fold, folds=folds)
    parts = _divide(facts, k=folds, seed=seed)
    chosen = fold % len(parts)
    held_out = parts[chosen]
    train = tuple(sorted(id for part in parts if part is not held_out for id in part))
    groups = len({fact.group for fact in facts})
    how = f"fold {chosen} of {len(parts)}: {groups} groups, none on both sides, alike in classes; seed {seed}"
    if len(parts) < folds:
        how += f"; {folds} folds were asked for, there are only {len(parts)} separate groups"
    return Split(train, held_out, how)


def every_fold(
    catalog: Catalog, facts: Sequence[CaseFacts], *, folds: int, seed: int
) -> tuple[tuple[str, ...], ...]:
    """What ``split`` holds out, fold after fold: every case once.

    Args:
        catalog: The cases.
        facts: What they are.
        folds: Into how many parts the groups are divided; with fewer groups there are fewer folds.
        seed: Decides between equals.

    Returns:
        Case ids per fold, sorted.

    Raises:
        DataError: The data set states its split, is a single image or a single group.
    """
    if any(case.split for case in catalog.cases):
        raise DataError(
            "the data set states which cases are held out (a column 'split', or folders): there are no folds",
            cure="remove the column, or train without --fold",
            where=catalog.source,
        )
    if len(facts) == 1:
        raise DataError(
            "a single image is split in space: its parts are not measured together",
            cure="add images, or train one fold of it, such as --fold 0/5",
            where=catalog.source,
        )
    return _divide(facts, k=folds, seed=seed)


def leaks(
    facts: Sequence[CaseFacts], train: Iterable[str], held_out: Iterable[str]
) -> tuple[tuple[str, str], ...]:
    """Pairs of a training and a held-out case that are the same picture or of the same group.

    Args:
        facts: What the cases are.
        train: Ids on one side.
        held_out: Ids on the other.

    Returns:
        ``(training id, held-out id)``, sorted; empty when the split is honest.
    """
    left, right = set(train), set(held_out)
    sides: dict[str, tuple[list[str], list[str]]] = defaultdict(lambda: ([], []))
    for fact in facts:
        for key in (f"group {fact.group}", f"digest {fact.digest}"):
            if fact.id in left:
                sides[key][0].append(fact.id)
            if fact.id in right:
                sides[key][1].append(fact.id)
    return tuple(sorted({(a, b) for ours, theirs in sides.values() for a in ours for b in theirs}))


def _part(case: Case, shape: tuple[int, ...], axis: int, cut: tuple[int, int], name: str) -> Case:
    region = tuple(cut if n == axis else (0, length) for n, length in enumerate(shape))
    return replace(case, id=f"{case.id}_{name}", group=f"{case.group}_{name}", region=region)


def _in_space(case: Case, fact: CaseFacts, *, fold: int, folds: int) -> Split:
    """One image: a slab of it is held out, the rest on both sides is trained on."""
    shape = fact.shape
    axis = int(np.argmax(shape))
    length = shape[axis]
    margin = min(WIDEST_MARGIN, length // (4 * folds))
    if margin < 1:
        raise DataError(
            f"one image of {length} pixels cannot be cut into {folds} parts with a margin",
            cure="use fewer folds, or add images",
            where=case.id,
        )
    values, _ = read_values(case)
    # the objects were counted in classes only: what is not labelled makes no slab worth holding out
    values = np.isin(values, list(fact.object_sizes)) if fact.object_sizes else values != 0
    chosen, low, high = fold, 0, 0
    for chosen in ((fold + n) % folds for n in range(folds)):
        low, high = round(length * chosen / folds), round(length * (chosen + 1) / folds)
        slab = np.moveaxis(values, axis, 0)
        inside, outside = slab[low:high], (slab[: max(0, low - margin)], slab[high + margin :])
        if inside.any() and any(part.any() for part in outside):
            break
    sides = [cut for cut in ((0, low - margin), (high + margin, length)) if cut[1] > cut[0]]
    train = tuple(_part(case, shape, axis, cut, f"part{n + 1}") for n, cut in enumerate(sides))
    held_out = _part(case, shape, axis, (low, high), "held_out")
    how = (
        f"there is one image: it was split in space along its longest axis; pixels {low} to {high} of "
        f"{length} are held out, with a margin of {margin} pixels that is neither trained on nor scored"
    )
    return Split(tuple(part.id for part in train), (held_out.id,), how, parts=(*train, held_out))


def _stated(cases: Sequence[Case], facts: Sequence[CaseFacts]) -> Split:
    sides: dict[str, list[str]] = defaultdict(list)
    for case in cases:
        sides[case.split or "train"].append(case.id)
    chosen = "val" if sides["val"] else "test"
    if not sides["train"] or not sides[chosen]:
        raise DataError(
            f"the column 'split' leaves one side empty: {len(sides['train'])} train, "
            f"{len(sides['val'])} val, {len(sides['test'])} test",
            cure="state cases for train and for val, or remove the column",
        )
    how = f"as the data set states it: {len(sides['train'])} train, {len(sides[chosen])} {chosen}"
    if chosen == "val" and sides["test"]:
        how += f"; {len(sides['test'])} test cases are used for neither"
    blank = sum(case.split is None for case in cases)
    if blank:
        how += f"; {blank} cases without a word count as train"
    pairs = leaks(facts, sides["train"], sides[chosen])
    warnings = ()
    if pairs:
        examples = ", ".join(f"'{a}' and '{b}'" for a, b in pairs[:3])
        warnings = (
            f"the stated split leaks: {len(pairs)} pairs of one group or one picture lie on both sides, "
            f"such as {examples}; scores on it are too good",
        )
    return Split(tuple(sorted(sides["train"])), tuple(sorted(sides[chosen])), how, warnings=warnings)


def _groups(facts: Sequence[CaseFacts]) -> list[list[CaseFacts]]:
    """Cases that must stay together: one group, or the same picture in several groups."""
    leader: dict[str, str] = {}

    def find(name: str) -> str:
        while leader.setdefault(name, name) != name:
            name = leader[name]
        return name

    owner: dict[str, str] = {}
    for fact in facts:
        other = owner.setdefault(fact.digest, fact.group)
        leader[find(fact.group)] = find(other)
    together: dict[str, list[CaseFacts]] = defaultdict(list)
    for fact in sorted(facts, key=lambda fact: fact.id):
        together[find(fact.group)].append(fact)
    return sorted(together.values(), key=lambda group: group[0].id)


def _cases_with(group: Sequence[CaseFacts]) -> Counter[int]:
    """Number of cases of a group in which each label value occurs."""
    return Counter(
        value for fact in group for value, count in fact.label_counts.items() if count and value != 0
    )
