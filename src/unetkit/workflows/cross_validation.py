"""What was found over all folds, as it is kept (``cross_validation.json``) and as tables to read."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

from pydantic import Field

from unetkit.records.figures import difference, metric_name, p_value, with_interval
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.records.scores import Scores, Summary
from unetkit.workflows import page
from unetkit.workflows.comparison import Against, Mean
from unetkit.workflows.refinement import Gain

SPLIT = "cross-validation"
"""What the cases of pooled scores are: each was measured with a model that had not seen it."""
POOLED = "all folds"


class FoldRow(Saved):
    """One fold.

    Args:
        runs: Folders of the runs that held it out, one per configuration; below this record's own folder
            where they lie there.
        trained_on: Cases they were trained on.
        held_out: Cases that were measured.
        summary: Class (or ``mean``) → metric → summary over these cases; empty before they were measured.
    """

    runs: tuple[str, ...]
    trained_on: int = 0
    held_out: int = 0
    summary: dict[str, dict[str, Summary]] = Field(default_factory=dict)


class Candidate(Saved):
    """Configurations that could answer together.

    Args:
        names: Which.
        dice: Mean over cases that they had not seen, each case the mean over its classes.
        against_best_alone: Difference to the best configuration alone, case by case; None for itself.
        chosen: Whether it was chosen.
    """

    names: tuple[str, ...]
    dice: Mean
    against_best_alone: Against | None = None
    chosen: bool = False


class CrossValidation(Saved):
    """``cross_validation.json``.

    Args:
        source: The data set as it was named.
        asked: Into how many parts the cases were to be divided; 0 where single runs were put together.
        folds: One row per fold.
        candidates: How good every option is, where there were several configurations.
        refinement: What a refinement would bring, where it was tried; measured on the same cases.
        rules_by_fold: Whether the objects that are believed were told, fold by fold, by the other folds.
    """

    version: int = 1
    source: str
    asked: int = 0
    folds: tuple[FoldRow, ...]
    candidates: tuple[Candidate, ...] = ()
    refinement: Gain | None = None
    rules_by_fold: bool = False

    @property
    def finished(self) -> bool:
        """Whether every fold was measured."""
        return all(fold.summary for fold in self.folds)


def read_cross_validation(run: Run) -> CrossValidation | None:
    """The record of a folder in which several runs were put together; None for any other folder."""
    path = run.cross_validation
    return CrossValidation.from_json(path.read_bytes(), where=path) if path.is_file() else None


NOTE = (
    "Every case was measured with networks that had not seen it; the whole ensemble, which has seen all of "
    "them, was not measured. Intervals: 95 % bootstrap of the mean, groups resampled."
)
OPTIONS_HEAD = ("configurations", "Dice", "against the best alone", "p", "chosen")
OPTIONS_NOTE = (
    "Chosen by these figures, which are therefore slightly optimistic for what was chosen. p: two-sided "
    "Wilcoxon signed-rank test, not corrected for the number of options."
)


def fold_head(scores: Scores) -> tuple[str, ...]:
    """Column names of ``fold_rows``."""
    dice = (f"Dice {name}" for name in _shown(scores))
    return (
        "fold",
        "trained on",
        "held out",
        *dice,
        *(scores.heading(metric, metric_name(metric)) for metric in _others(scores)),
    )


def fold_rows(found: CrossValidation, scores: Scores) -> list[tuple[str, ...]]:
    """One row per fold and one over all cases.

    Args:
        found: The record.
        scores: Over all cases.
    """
    rows = [
        (str(place), str(fold.trained_on), str(fold.held_out), *_cells(fold.summary, scores))
        for place, fold in enumerate(found.folds)
    ]
    return [*rows, (POOLED, "", str(len(scores.cases)), *_cells(scores.summary, scores))]


def option_rows(found: CrossValidation) -> list[tuple[str, ...]]:
    """One row per option, in the order of ``OPTIONS_HEAD``."""
    rows = []
    for one in found.candidates:
        apart = one.against_best_alone
        words, p = ("–", "–") if apart is None else (difference(apart.mean), p_value(apart.p_value))
        dice = with_interval(one.dice.mean, one.dice.low, one.dice.high)
        rows.append((" + ".join(one.names), dice, words, p, "yes" if one.chosen else ""))
    return rows


def refinement_sentence(gain: Gain) -> str:
    """What became of a refinement that was tried."""
    by = with_interval(gain.gain.mean, gain.gain.low, gain.gain.high, apart=True)
    became = "it was kept" if gain.accepted else "it was left out"
    cases = f"the mean Dice of {gain.gain.cases} unseen cases"
    return f"The refinement that was tried changes {cases} by {by}: {became}."


def as_html(found: CrossValidation, scores: Scores | None) -> str:
    """The tables for the report; empty while nothing was measured."""
    if scores is None or not found.finished:
        return ""
    head = fold_head(scores)
    folds, options = (
        [tuple(map(page.stacked, row)) for row in rows]
        for rows in (fold_rows(found, scores), option_rows(found))
    )
    parts = [page.table(head, folds, numbers=range(1, len(head))), _soft(NOTE)]
    if found.candidates:
        parts += [page.table(OPTIONS_HEAD, options, numbers=range(1, 4)), _soft(OPTIONS_NOTE)]
    if found.refinement is not None:
        parts.append(_soft(refinement_sentence(found.refinement)))
    return "".join(parts)


def _shown(scores: Scores) -> Sequence[str]:
    return (*scores.classes, "mean") if len(scores.classes) > 1 else scores.classes


def _others(scores: Scores) -> list[str]:
    return [metric for metric in ("hd95", "nsd") if metric in scores.metrics]


def _cells(summary: dict[str, dict[str, Summary]], scores: Scores) -> list[str]:
    row = [_cell(summary[name]["dice"], "dice") for name in _shown(scores)]
    return [*row, *(_cell(summary["mean"][metric], metric) for metric in _others(scores))]


def _cell(one: Summary, metric: str) -> str:
    return with_interval(one.mean, one.low, one.high, metric=metric)


def _soft(text: str) -> str:
    return f'<p class="soft">{escape(text)}</p>'
