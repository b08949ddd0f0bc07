"""``check``: read every file of a data set and say what is there and what is wrong with it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable
from pathlib import Path

import numpy as np

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import CaseFacts, Inspection, inspect, inspect_unlabelled
from unetkit.data.labels import class_ids, read_pixels, read_values
from unetkit.data.problems import Problem, from_error
from unetkit.data.split import split
from unetkit.errors import DataError
from unetkit.records.figures import counted
from unetkit.records.files import write_text
from unetkit.records.plan import DataPlan
from unetkit.records.progress import Progress, Quiet
from unetkit.records.saved import Saved
from unetkit.workflows import page
from unetkit.workflows.asked import wanted_split
from unetkit.workflows.pictures import fullest, previews
from unetkit.workflows.train import Wishes

SAMPLES, SAMPLE_EDGE = 12, 320
_CLASS_HEAD = (
    "class",
    "value",
    "share of pixels",
    "cases with it",
    "small objects, pixels (10th percentile)",
)


class ProblemRow(Saved):
    """One thing that was found.

    Args:
        severity: ``refused`` (training would not start), ``warning`` or ``note``.
        code: A short name of the kind of problem.
        where: File or case.
        problem: What was expected and what was found.
        cure: What to do.
    """

    severity: str
    code: str
    where: str
    problem: str
    cure: str


class ClassRow(Saved):
    """One class over the whole data set.

    Args:
        name: Class name.
        value: Its value in the label files.
        pixels: Pixels of the class.
        share: Share of all labelled pixels.
        cases: Cases in which it occurs.
        smallest_object: 10th percentile of object area (pixels), None for the background.
    """

    name: str
    value: int
    pixels: int
    share: float
    cases: int
    smallest_object: float | None = None


class CheckResult(Saved):
    """What a data set holds.

    Args:
        source: The data set.
        layout: How its files are arranged.
        cases: Labelled cases.
        unlabelled: Images without a label.
        groups: Distinct groups.
        refused: Whether training would be refused.
        shapes: Shape → number of cases.
        spacings_mm: Spacing → number of cases; empty where no file states one.
        data: Rank, channels and classes as training would take them, None when that cannot be told.
        classes: One row per class.
        problems: Everything found, worst first.
        page: The html page, None when not asked for.
    """

    source: Path
    layout: str
    cases: int
    unlabelled: int
    groups: int
    refused: bool
    shapes: dict[str, int]
    spacings_mm: dict[str, int]
    data: DataPlan | None
    classes: tuple[ClassRow, ...]
    problems: tuple[ProblemRow, ...]
    page: Path | None = None


def check(
    source: str | Path, *, html: str | Path | None = None, progress: Progress | None = None
) -> CheckResult:
    """Read every file of a data set; find missing, damaged and mismatched files, leaks and odd labels.

    Args:
        source: The data set.
        html: Also write a self-contained page with pictures.
        progress: Who watches.

    Returns:
        Everything found; look at ``refused``.

    Raises:
        DataError: There is no data set at all.
    """
    watch = progress or Quiet()
    catalog = find_cases(Path(source))
    inspection = inspect(catalog, progress=watch)
    facts = inspection.facts
    order = {"refused": 0, "warning": 1, "note": 2}
    unsplit = _unsplit(inspection)
    problems = sorted(
        (*inspection.problems, *inspect_unlabelled(inspection, progress=watch), *unsplit),
        key=lambda each: (order.get(each.severity, 3), each.code, each.where),
    )
    result = CheckResult(
        source=Path(source),
        layout=catalog.layout,
        cases=len(catalog.cases),
        unlabelled=len(catalog.unlabelled),
        groups=len({case.group for case in catalog.cases}),
        refused=inspection.refused or bool(unsplit),
        shapes=_counted(_times(each.shape) for each in facts),
        spacings_mm=_counted(_times(f"{v:g}" for v in each.spacing_mm) for each in facts if each.calibrated),
        data=inspection.data,
        classes=_classes(facts, inspection.data),
        problems=tuple(
            ProblemRow(severity=p.severity, code=p.code, where=p.where, problem=p.problem, cure=p.cure)
            for p in problems
        ),
        page=None if html is None else Path(html),
    )
    if html is not None:
        write_text(Path(html), _page(result, inspection))
    return result


def _unsplit(inspection: Inspection) -> tuple[Problem, ...]:
    """Why nothing can be held out, which a training would be refused for after everything else is right."""
    if inspection.refused or not inspection.facts:
        return ()
    wanted = wanted_split(Wishes(), None)
    try:
        split(inspection.catalog, inspection.facts, fold=wanted.fold, folds=wanted.folds, seed=wanted.seed)
    except DataError as wrong:
        return (from_error("split", wrong, inspection.catalog.source),)
    return ()


def _times(values: Iterable[object]) -> str:
    return " × ".join(str(value) for value in values)


def _counted(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _classes(facts: tuple[CaseFacts, ...], data: DataPlan | None) -> tuple[ClassRow, ...]:
    if data is None:
        return ()
    total = sum(
        count for each in facts for value, count in each.label_counts.items() if value in data.label_values
    )
    rows = []
    for name, value in zip(data.classes, data.label_values, strict=True):
        pixels = sum(each.label_counts.get(value, 0) for each in facts)
        sizes = [size for each in facts for size in each.object_sizes.get(value, ())]
        rows.append(
            ClassRow(
                name=name,
                value=value,
                pixels=pixels,
                share=pixels / max(total, 1),
                cases=sum(value in each.label_counts for each in facts),
                smallest_object=float(np.percentile(sizes, 10)) if sizes else None,
            )
        )
    return tuple(rows)


def _page(result: CheckResult, inspection: Inspection) -> str:
    verdict = "Training would be refused" if result.refused else "Ready to train"
    refused = sum(row.severity == "refused" for row in result.problems)
    warnings = sum(row.severity == "warning" for row in result.problems)
    beside = f"{counted(result.groups, 'group')}, {result.unlabelled} unlabelled"
    lead = page.cards(
        [
            ("Verdict", verdict, f"{refused} refused, {counted(warnings, 'warning')}"),
            ("Labelled cases", str(result.cases), beside),
            ("Layout", result.layout, ""),
            ("Sizes", str(len(result.shapes)), "in pixels; see below"),
        ]
    )
    problems = [[row.severity, row.where, row.problem, row.cure] for row in result.problems]
    classes = [
        [
            page.swatch(row.name, index - 1) if index else row.name,
            row.value,
            page.share_bar(row.share, index - 1 if index else None),
            row.cases,
            "" if row.smallest_object is None else f"{row.smallest_object:.0f}",
        ]
        for index, row in enumerate(result.classes)
    ]
    shapes = [
        [shape, page.share_bar(count / max(1, result.cases)), count]
        for shape, count in list(result.shapes.items())[:20]
    ]
    spacings = [[spacing, count] for spacing, count in list(result.spacings_mm.items())[:20]]
    nothing = "<p>Nothing to complain about.</p>"
    sizes = (
        page.table(["shape, pixels", "share of the cases", "cases"], shapes, numbers=(2,)) if shapes else ""
    )
    sizes += page.table(["spacing (mm)", "cases"], spacings, numbers=(1,)) if spacings else ""
    return page.page(
        f"Check of {result.source.name or result.source}",
        f"{counted(result.cases, 'labelled case')}, layout {result.layout}",
        (
            (
                "Findings",
                page.table(["severity", "where", "what", "do this"], problems) if problems else nothing,
            ),
            ("Classes", page.table(_CLASS_HEAD, classes, numbers=(1, 3, 4))),
            ("Pictures", _samples(inspection)),
            ("Sizes", sizes),
        ),
        lead=lead,
    )


def _samples(inspection: Inspection) -> str:
    """A few cases with their labels, evenly spread over the data set."""
    data = inspection.data
    cases = [case for case in inspection.catalog.cases if case.label is not None]
    if data is None or not cases:
        return ""
    picks = np.unique(np.linspace(0, len(cases) - 1, min(SAMPLES, len(cases))).round().astype(int))
    figures: list[tuple[str, str]] = []
    for case in (cases[int(pick)] for pick in picks):
        try:
            pixels, _ = read_pixels(case)
            values, _ = read_values(case)
            labels, _ = class_ids(values, data, where=case.id)
        except DataError:
            continue  # it stands among the problems already
        at = fullest(labels) if labels.ndim == 3 else 0
        figures.append((case.id, previews(pixels, (labels,), edge=SAMPLE_EDGE, at=at)[0]))
    return page.thumbnails(figures)
