"""Whether a candidate may take the place of the live model: paired, case by case, on every golden set."""

from __future__ import annotations

import statistics
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.errors import UsageError
from unetkit.metrics.noninferiority import (
    ALPHA,
    LEAST_GROUPS,
    MOST_GROUPS,
    Margin,
    more_often,
    non_inferiority,
)
from unetkit.metrics.paired import difference, paired_values
from unetkit.records.chain import Link
from unetkit.records.registered import Decision, SetResult, golden_digests, must_find_sources
from unetkit.records.scores import CaseScores, Scores

MARGIN = 0.01
"""Dice that a candidate may be lower on a golden set and still count as not worse: about what two trainings
with other seeds differ by."""

_SHOWN = 3
_LEARNED = "the candidate was trained on images of this set, which therefore cannot judge it"


@dataclass(frozen=True)
class Asked:
    """A golden set that a promotion asks.

    Args:
        contents: Hash of its cases as it was first named; empty for a new one.
        must_find: Whether it is a list of objects to be found, and not a sample to measure on.
    """

    contents: str
    must_find: bool


def asked_sets(
    golden: Iterable[str | Path], must_find: Iterable[str | Path], links: Sequence[Link]
) -> dict[str, Asked]:
    """Every golden set that is named now or ever was, by its path.

    Args:
        golden: Samples to measure on.
        must_find: Lists of objects to be found.
        links: The registry's log.

    Raises:
        UsageError: One is named in both ways, or is gone.
    """
    named = {str(Path(each).resolve()): False for each in golden}
    strict = {str(Path(each).resolve()): True for each in must_find}
    known, before = golden_digests(links), must_find_sources(links)
    remembered = {source: source in before for source in known}
    for source in sorted({*named, *strict, *remembered}):
        ways = {table[source] for table in (named, strict, remembered) if source in table}
        if len(ways) > 1:
            raise UsageError(
                "this set is named both as a golden set and as one of objects that must be found",
                cure="name it in one way; a copy of its hardest cases can be the other",
                where=source,
            )
        if not Path(source).exists():
            raise UsageError(
                "this golden set is gone", cure="put it back: it is asked at every promotion", where=source
            )
    return {
        source: Asked(known.get(source, ""), way) for source, way in (named | strict | remembered).items()
    }


def compare_set(
    name: str,
    candidate: Scores,
    live: Scores | None,
    *,
    margin: float = MARGIN,
    must_find: bool = False,
) -> SetResult:
    """A candidate against the live model on one golden set.

    It passes where its mean Dice is shown not to be lower by more than ``margin`` (one-sided, paired, groups
    as the units: ``metrics.noninferiority``), and where it does not miss objects in more groups than chance
    explains. What cannot be shown does not pass, and a set shows nothing of a model that was trained on it.
    Of objects that must be found, none may be missed that the live model finds; nothing else is asked.

    Args:
        name: The set.
        candidate: Its scores.
        live: Those of the live model on the same cases, None where nothing is live.
        margin: Dice, 0 or more.
        must_find: Whether the set is a list of objects to be found.
    """
    shared = [each for each in candidate.classes if live is None or each in live.classes]
    mine, *others = paired_values([each for each in (candidate, live) if each], shared, "dice")
    missed = _missed(candidate)
    learned = _LEARNED if candidate.split == "training" else ""
    mean = round(statistics.fmean(mine.values()), 6) if mine else None
    if live is None:
        return SetResult(
            name=name,
            must_find=must_find,
            cases=len(mine),
            live=None,
            candidate=mean,
            missed_candidate=sum(missed.values()),
            refused=learned,
        )
    (theirs,), before = others, _missed(live)
    groups = {case.id: case.group for case in candidate.cases}
    found, shown = difference(mine, theirs, groups), non_inferiority(mine, theirs, groups, margin=margin)
    refused = _lost(missed, before) if must_find else _worse(shown, missed, before, groups, margin)
    return SetResult(
        name=name,
        must_find=must_find,
        cases=found.cases,
        groups=shown.groups,
        live=round(statistics.fmean(theirs.values()), 6) if theirs else None,
        candidate=mean,
        difference=found.mean,
        low=found.low,
        high=found.high,
        bound=shown.bound,
        needed=shown.needed,
        p_value=found.p_value,
        missed_live=sum(before.values()),
        missed_candidate=sum(missed.values()),
        refused="; ".join(filter(None, (learned, refused))),
    )


def decide(number: int, live: int | None, sets: Sequence[SetResult], *, margin: float = MARGIN) -> Decision:
    """Whether a candidate passes: worse on no golden set, better on at least one.

    A candidate must pass on every set, so that no correction for their number is due: one that is worse by
    the margin on any of them passes with a chance of ``ALPHA`` at most, however many there are.

    Args:
        number: The candidate.
        live: What it would replace, None where nothing is live: then there is nothing to be worse than.
        sets: One per golden set.
        margin: As given to ``compare_set``.

    Raises:
        UsageError: There is no golden set to measure on.

    Reference:
        Berger, Multiparameter hypothesis testing and acceptance sampling, Technometrics 24 (1982).
    """
    measured = [each for each in sets if not each.must_find]
    if not measured:
        raise UsageError(
            "nothing says how good a model must be: this registry has no golden set",
            cure="name labelled cases that no model is trained on with --golden; they are remembered",
        )
    refused = [f"{each.name}: {each.refused}" for each in sets if each.refused]
    if live is not None and not refused and not any((each.difference or 0) > 0 for each in measured):
        refused.append("it is better on no golden set")
    return Decision(number=number, live=live, margin=margin, sets=tuple(sets), refused=tuple(refused))


_Missed = dict[tuple[str, str], int]
"""Case and class to how many objects were missed."""


def _missed(scores: Scores) -> _Missed:
    return {(case.id, name): _count(case, name) for case in scores.cases for name in scores.classes}


def _count(case: CaseScores, name: str) -> int:
    """Objects without a counterpart, where they were told apart; else 1 where none of the class was found."""
    return len(case.objects[name].missed) if name in case.objects else int(name in case.missed)


def _worse(shown: Margin, missed: _Missed, before: _Missed, groups: Mapping[str, str], margin: float) -> str:
    """Why a sample does not let a candidate pass; empty where it does."""
    refused = [_dice(shown, margin)]
    now, then = (_by_case(table, groups) for table in (missed, before))
    chance = more_often(now, then, groups)
    if chance <= ALPHA:
        words = f"{now.total()} objects are missed entirely, the live model misses {then.total()}"
        refused.append(f"{words}, which chance does not explain (p {chance:.2g})")
    return "; ".join(filter(None, refused))


def _by_case(table: _Missed, ids: Iterable[str]) -> Counter[str]:
    """Objects missed in each case, whatever their class."""
    found = Counter(dict.fromkeys(ids, 0))
    for (id, _), count in table.items():
        found[id] += count
    return found


def _dice(shown: Margin, margin: float) -> str:
    """Why the Dice of a sample does not let a candidate pass; how many groups it would take to say more."""
    if shown.mean is None:
        return "no case has an object of any class"
    if shown.bound is None:
        needed = max(LEAST_GROUPS, shown.needed or 0)
        return f"too few groups to tell: {shown.groups}, at least {needed} are needed"
    if shown.bound >= -margin:
        return ""
    words = f"Dice may be {-shown.bound:.4f} lower (one-sided 95 %), {margin:g} is allowed"
    if shown.mean <= -margin:
        return f"{words}, and it is {-shown.mean:.4f} lower here"
    if shown.needed is None:
        return f"{words}; not even {MOST_GROUPS} groups like these would show more"
    seems = f"if the difference is the {shown.mean:+.4f} that it seems"
    return f"{words}; {seems}, about {shown.needed} groups would show it, these are {shown.groups}"


def _lost(missed: _Missed, before: _Missed) -> str:
    """Objects that must be found, are found by the live model, and not by the candidate."""
    lost = [f"{id} ({name})" for (id, name), count in missed.items() if count > before.get((id, name), 0)]
    if not lost:
        return ""
    more = f" and {len(lost) - _SHOWN} more" if len(lost) > _SHOWN else ""
    return f"objects are missed that the live model finds: {', '.join(lost[:_SHOWN])}{more}"
