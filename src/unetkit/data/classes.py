"""From the values that masks hold to classes: binary, numbered from one, with gaps, with an ignore value."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Sized
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.problems import Problem, note, refused, warning
from unetkit.records.figures import per_cent
from unetkit.records.scores import MEAN

MOST_CLASSES = 200
"""More different values than this, unnamed, are objects or grey levels rather than classes."""

LARGEST = 65535
"""The largest label value of a class; one that means "not labelled" may be any whole number."""

USUAL_IGNORE = 255

_SEVERAL_OBJECTS, _ONE_OBJECT_SHARE, _NUMBERED_SHARE = 8, 0.8, 0.8
_INTERPOLATED_VALUES = 16
_INTERPOLATED_SHARE = 0.9
_REDRAW = "save the masks as whole class numbers, without smoothing, resizing or JPEG"


@dataclass(frozen=True)
class Classes:
    """The decision.

    Args:
        names: Class names, background first; empty when the values were refused.
        values: Raw value of each class.
        ignore_value: Raw value that means "not labelled", None when there is none.
        problems: What was decided, or why the values are refused.
    """

    names: tuple[str, ...]
    values: tuple[int, ...]
    ignore_value: int | None
    problems: tuple[Problem, ...]


def decide_classes(
    counts: Mapping[int, int],
    *,
    names: Mapping[int, str],
    ignore_value: int | None,
    where: Path | str,
) -> Classes:
    """Decide which raw label value is which class.

    Args:
        counts: Raw value to number of pixels, over the whole data set.
        names: Raw value to class name where the data set states them, else empty.
        ignore_value: Raw value that means "not labelled" where the data set states it.
        where: The data set, for the findings.

    Example:
        >>> decide_classes({0: 90, 255: 10}, names={}, ignore_value=None, where="data").values
        (0, 255)
        >>> decide_classes({0: 9, 1: 9, 255: 2}, names={}, ignore_value=None, where="data").ignore_value
        255
    """
    smoothed = _smoothed(counts, names, where)  # first: in such masks 255 may well stand beside 0…254
    if smoothed is not None:
        return Classes((), (), ignore_value, (smoothed,))
    ignored, found = _ignore(counts, names, ignore_value, where)
    seen = sorted(value for value in counts if value != ignored)
    stop = _refusal({value: counts[value] for value in seen}, names, where)
    if stop is not None:
        return Classes((), (), ignored, (*found, stop))
    if names:
        stated = {value: name for value, name in names.items() if value != ignored}
        stated.setdefault(0, "background")
        stop = _misnamed(stated, where)
        if stop is not None:
            return Classes((), (), ignored, (*found, stop))
        order = sorted(stated)
        absent = [stated[value] for value in order[1:] if value not in counts]
        if absent:
            text = f"dataset.json names {', '.join(absent[:5])}, which no mask holds"
            found.append(warning("absent-class", where, text, "take the class out, or add masks with it"))
        return Classes(tuple(stated[value] for value in order), tuple(order), ignored, tuple(found))
    if seen[0] != 0:
        text = f"labels start at {seen[0]}: the value {seen[0]} was taken as the background"
        found.append(
            warning("one-based", where, text, "use 0 for the background if this is not what you mean")
        )
    _say_numbering(seen, where, found)
    kinds = ("foreground",) if len(seen) == 2 else tuple(f"class {value}" for value in seen[1:])
    return Classes(("background", *kinds), tuple(seen), ignored, tuple(found))


def numbered_objects(
    cases: Sequence[Mapping[int, Sized]], *, names: Mapping[int, str], where: Path | str
) -> list[Problem]:
    """Warn of masks that number objects (instances) rather than classes, few enough to pass as classes.

    In such masks every value from 1 on is one connected object, and each image has another number of them.

    Args:
        cases: Of each case: raw value to the connected objects of that value.
        names: Raw value to class name where the data set states them; nothing is suspected then.
        where: The data set, for the finding.

    Example:
        >>> two, nine = ({value: [20] for value in range(1, count + 1)} for count in (2, 9))
        >>> [found.code for found in numbered_objects([two, nine], names={}, where="data")]
        ['numbered-objects']
        >>> numbered_objects([nine, nine], names={}, where="data")
        []
    """
    held = [objects for objects in cases if objects]
    alike = [
        len(objects)
        for objects in held
        if max(objects) == len(objects)
        and sum(len(each) == 1 for each in objects.values()) >= _ONE_OBJECT_SHARE * len(objects)
    ]
    most = max(alike, default=0)
    if names or most < _SEVERAL_OBJECTS or 2 * min(alike) > most or len(alike) < _NUMBERED_SHARE * len(held):
        return []
    text = (
        f"the masks look like numbered objects: in {len(alike)} of {len(held)} every value from 1 on is one "
        f"connected object, {min(alike)} to {most} of them; each number would be learnt as a class of its own"
    )
    cure = "if they are objects of one kind, save 1 wherever there is one (2 for a second kind)"
    return [warning("numbered-objects", where, text, cure)]


def _ignore(
    counts: Mapping[int, int], names: Mapping[int, str], stated: int | None, where: Path | str
) -> tuple[int | None, list[Problem]]:
    if stated is not None:
        share = counts.get(stated, 0) / max(1, sum(counts.values()))
        text = f"the value {stated} means 'not labelled', as stated ({per_cent(share)} of the pixels)"
        return stated, [note("ignore-value", where, text)]
    others = sorted(value for value in counts if value != USUAL_IGNORE)
    consecutive = (
        2 <= len(others) < MOST_CLASSES and others[0] in (0, 1) and others[-1] - others[0] == len(others) - 1
    )
    if USUAL_IGNORE not in counts or USUAL_IGNORE in names or not consecutive:
        return None, []
    text = (
        f"the value 255 stands beside {others[0]}…{others[-1]}: it was taken as 'not labelled' and is "
        "neither learnt nor scored"
    )
    cure = 'state it in dataset.json as "ignore": 255, or give the class the next number if it is one'
    return USUAL_IGNORE, [warning("ignore-value", where, text, cure)]


def _smoothed(counts: Mapping[int, int], names: Mapping[int, str], where: Path | str) -> Problem | None:
    """0/255 masks that were resized with interpolation or went through JPEG."""
    between = [value for value in counts if value not in (0, USUAL_IGNORE)]
    total, grey = sum(counts.values()), sum(counts[value] for value in between)
    several = len(between) >= _INTERPOLATED_VALUES and max(between) < USUAL_IGNORE and USUAL_IGNORE in counts
    if names or not several or grey > (1 - _INTERPOLATED_SHARE) * total:
        return None
    return refused(
        "interpolated",
        where,
        f"the masks are 0/255 with {len(between)} grey values between ({per_cent(grey / total)} of the "
        "pixels): they were smoothed",
        "threshold them at 128 and save them as PNG",
    )


def _refusal(counts: Mapping[int, int], names: Mapping[int, str], where: Path | str) -> Problem | None:
    """Why these values cannot be classes, None when they can."""
    seen = sorted(counts)
    if names:
        # a value beyond the stated ones is refused mask by mask, where its file is known
        if not any(counts[value] for value in seen if value != 0):
            return _nothing(where)
        return None
    if seen in ([], [0]):
        return _nothing(where)
    if len(seen) == 1:
        return refused(
            "one-value",
            where,
            f"every pixel of every mask has the value {seen[0]}: there is nothing to tell apart",
            "use 0 for the background",
        )
    if seen[0] < 0 or seen[-1] > LARGEST:
        return refused(
            "label-value",
            where,
            f"label values run from {seen[0]} to {seen[-1]}, expected 0 to {LARGEST}",
            "number the classes from 0 on",
        )
    if len(seen) > MOST_CLASSES:
        return refused(
            "too-many-values",
            where,
            f"the masks hold {len(seen)} different values, at most {MOST_CLASSES} classes are trained; these "
            "look like numbered objects (instances) or grey levels",
            "save class numbers, such as 1 for every object",
        )
    return None


def _misnamed(names: Mapping[int, str], where: Path | str) -> Problem | None:
    """Why these names cannot stand in a table of scores, None when they can."""
    owners: dict[str, int] = {}
    for value, name in sorted(names.items()):
        if not 0 <= value <= LARGEST:
            text = f"dataset.json names the label value {value} '{name}', expected 0 to {LARGEST}"
            cure = "number the classes from 0 on; a value that means 'not labelled' is named 'ignore'"
            return refused("label-value", where, text, cure)
        if name == MEAN:
            text = (
                f"dataset.json names the label value {value} '{MEAN}', which is the row of averages in every "
                "table of scores"
            )
            return refused("class-name", where, text, "give the class another name in dataset.json")
        if name in owners:
            text = f"dataset.json gives the label values {owners[name]} and {value} one name, '{name}'"
            cure = "give each label value its own name; the value 0 is the background"
            return refused("class-name", where, text, cure)
        owners[name] = value
    return None


def _nothing(where: Path | str) -> Problem:
    return refused(
        "all-background",
        where,
        "all-background labels: no mask of this data set holds anything but 0",
        _REDRAW.replace("save", "check that the masks are not empty, and save"),
    )


def _say_numbering(seen: list[int], where: Path | str, found: list[Problem]) -> None:
    if len(seen) == 2 and seen[1] - seen[0] > 1:
        text = f"masks are {seen[0]}/{seen[1]}: two classes, {seen[1]} is the foreground"
        found.append(note("binary", where, text))
    elif seen[-1] - seen[0] > len(seen) - 1:
        gaps = sorted(set(range(seen[0], seen[-1])) - set(seen))
        missing = ", ".join(map(str, gaps[:8])) + (" …" if len(gaps) > 8 else "")
        text = (
            f"label values have gaps (no {missing}): {len(seen)} classes, numbered 0…{len(seen) - 1} inside"
        )
        found.append(note("gaps", where, text))
