"""The model card: what a model is, what it can do, how to use it, in one page of Markdown."""

from __future__ import annotations

from collections.abc import Mapping

from unetkit.networks.checklist import CHAI, CLAIM, Known
from unetkit.records.figures import score, with_interval
from unetkit.records.markdown import markdown_table, plain
from unetkit.records.plan import Plan
from unetkit.records.scores import Scores, Summary

FORMAT = "file format"
"""Fact of a saved model: the format of its training images."""
MEDICAL = frozenset({"dicom", "metaimage", "nifti", "nrrd"})
"""Formats that hospitals and their research use."""
NOT_A_DEVICE = (
    "Not a medical device: not cleared, certified or approved for diagnosis, treatment or any other decision "
    "about a patient."
)
BLANK = "_to be filled in_"
_LIMITS = """\
- It knows only the classes above and always answers with one of them, also on pictures of something else.
- It was measured on the cases counted above and on nothing else: another device, site, material or
  population may give other results. Measure it there before relying on it."""


def model_card(plan: Plan, scores: Scores | None, facts: Mapping[str, str]) -> str:
    """Write the card.

    Args:
        plan: The model's plan.
        scores: How good it was measured to be, None when it was not.
        facts: What else is worth knowing, as label to text.

    Returns:
        Markdown.
    """
    data = plan.data
    parts = [
        f"# U-Net for {plain(_listed(data.classes[1:]))}",
        f"**{NOT_A_DEVICE}**",
        _summary(plan),
        "## Classes",
        markdown_table(
            ("id", "class", "value in label files"),
            [(str(i), name, str(data.label_values[i])) for i, name in enumerate(data.classes)],
        ),
        "## Data",
        _data(plan, facts),
        "## Scores",
        _scores(scores),
        "## How to use",
        _usage(),
        "## Limits",
        _LIMITS,
        *(_checklists(plan, scores, facts) if is_medical(facts) else ()),
        "## Plan",
        markdown_table(
            ("key", "value", "why"),
            [(f"`{key}`", _short(value), plan.reasons.get(key, "")) for key, value in plan.flat().items()],
        ),
    ]
    return "\n\n".join(parts) + "\n"


def is_medical(facts: Mapping[str, str]) -> bool:
    """Whether a model was trained on images of a medical format.

    Args:
        facts: Of the saved model.

    Example:
        >>> is_medical({FORMAT: "nifti"}), is_medical({FORMAT: "raster"}), is_medical({})
        (True, False, False)
    """
    return facts.get(FORMAT) in MEDICAL


def _summary(plan: Plan) -> str:
    data = plan.data
    return f"Gives each pixel of an image with {data.rank} axes one of {len(data.classes)} classes (unetkit)."


def _checklists(plan: Plan, scores: Scores | None, facts: Mapping[str, str]) -> tuple[str, ...]:
    """What a medical model is asked for, filled in as far as unetkit knows it."""
    known = Known(plan, scores, dict(facts), _summary(plan))
    chai = [
        (section, name, say(known) or BLANK) for section, rows in CHAI.items() for name, say in rows.items()
    ]
    claim = [(str(number), asked, say(known) or BLANK) for number, (asked, say) in enumerate(CLAIM, start=1)]
    filled = sum(answer != BLANK for _, _, answer in claim)
    return (
        "## CHAI applied model card",
        "The fields of the schema of the Coalition for Health AI, version 0.2. "
        "What only the publisher can know is left blank.",
        markdown_table(("section", "field", "content"), chai),
        "## CLAIM checklist",
        f"The {len(claim)} items of the Checklist for Artificial Intelligence in Medical Imaging (Mongan "
        "et al., Radiology: Artificial Intelligence 2020; what it calls ground truth is the reference "
        f"standard of the 2024 update). {filled} are pre-filled from the training; the others are yours.",
        markdown_table(("item", "what is asked", "answer"), claim),
    )


def _data(plan: Plan, facts: Mapping[str, str]) -> str:
    spacing = plan.preparation.spacing_mm
    rows = [
        ("channels", _listed(plan.data.channels)),
        ("pixels of the training images", plan.data.pixels),
        ("seen by the network", plan.data.sight),
        (
            "spacing (mm)",
            " × ".join(f"{step:g}" if step else "any" for step in spacing) if spacing else "as it comes",
        ),
        ("normalisation", _listed([channel.scheme for channel in plan.preparation.normalization])),
        *facts.items(),
    ]
    return markdown_table(("fact", "value"), rows)


def _scores(scores: Scores | None) -> str:
    if scores is None:
        return "Not measured."
    rows = []
    for name, metrics in scores.summary.items():
        for metric, summary in metrics.items():
            rows.append((name, scores.heading(metric), *_numbers(summary, metric)))
    notes = [f"Cases: {len(scores.cases)} ({scores.split})."]
    if scores.convention:
        notes.append(scores.convention)
    head = ("class", "metric", "mean [95 % interval]", "median", "n", "missed", "undefined")
    return markdown_table(head, rows) + "\n\n" + " ".join(notes)


def _numbers(summary: Summary, metric: str) -> tuple[str, ...]:
    counts = (str(summary.n), str(summary.missed), str(summary.undefined))
    mean = with_interval(summary.mean, summary.low, summary.high, metric=metric)
    return (mean, score(summary.median, metric), *counts)


def _usage() -> str:
    return """\
    unet predict MODEL INPUT --out DIR

`MODEL` is this folder, `INPUT` an image or a folder of images. In Python:

    import unetkit as uk
    mask = uk.load("MODEL").predict("image.png")"""


def _listed(words: tuple[str, ...] | list[str]) -> str:
    *first, last = words
    return f"{', '.join(first)} and {last}" if first else last


def _short(value: object) -> str:
    text = str(list(value)) if isinstance(value, tuple) else str(value)
    return text if len(text) <= 120 else text[:117] + "…"
