"""After the last step: which objects are believed, by size and by number, told by the training cases."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from unetkit.data.labels import read_label
from unetkit.inference.cleanup import Believable, Objects, believable, objects
from unetkit.records.case import Case
from unetkit.records.plan import Plan
from unetkit.records.progress import Progress
from unetkit.workflows.fitting import Trained, spread, to_fit

PIXEL_SHARE = 0.05
"""Pixels looked at, as a share of those trained on: about a sixtieth of the time, as nothing is learned."""


def fit_object_sizes(trained: Trained, *, progress: Progress) -> Trained:
    """The same network with a plan that says how large an object of each class must be, or that one stays.

    Short trainings and rare classes leave specks: a few pixels of a class in pictures that have none of it.
    The sizes are measured on training cases, never on held-out ones, so that the scores stay honest; a
    network that has learned its training cases by heart leaves no specks there, and every object stays.

    Args:
        trained: What the loop left.
        progress: Who watches.
    """
    plan = trained.ready.plan
    if not to_fit(plan):
        return trained
    cases = _affordable(trained)
    found: list[tuple[Objects, ...]] = []
    classes = plan.data.classes
    progress.begin("Fitting object sizes", len(cases))
    for case in cases:
        reference, known, _ = read_label(case, plan.data)
        labels = trained.predictor.sample(trained.ready.cache.get(case)).labels
        found.append(objects(labels, reference, known, classes=len(classes)))
        progress.advance(1, case=case.id)
    progress.end()
    if not found:
        return trained
    rules = [believable(rows) for rows in zip(*found, strict=True)]
    if not any(rule.pixels or rule.largest for rule in rules):
        return trained
    return replace(trained, ready=replace(trained.ready, plan=told(plan, rules)))


def _affordable(trained: Trained) -> tuple[Case, ...]:
    """Training cases, evenly spread, with no more pixels together than a share of those trained on."""
    ready, training = trained.ready, trained.ready.plan.training
    budget = PIXEL_SHARE * trained.outcome.step * training.batch_size * math.prod(training.patch_size)
    each = sum(math.prod(sample.pixels.shape[1:]) for sample in ready.train) / len(ready.train)
    return spread(ready.trained_on, min(ready.plan.inference.fit_cases, int(budget / each)))


def told(plan: Plan, rules: Sequence[Believable], *, cases: str = "training cases") -> Plan:
    """The plan with what was fitted; what no class needs stays as it was.

    Args:
        plan: The plan.
        rules: What was fitted, one per foreground class.
        cases: What it was fitted on, in words.
    """
    names = plan.data.classes[1:]
    most = max(rule.cases for rule in rules)

    def reason(start: str, chosen: list[bool]) -> str:
        words = [
            f"{name} {rule.before:.3f} → {rule.after:.3f}"
            for name, rule, here in zip(names, rules, chosen, strict=True)
            if here
        ]
        return f"{start}; mean Dice on up to {most} {cases}: {', '.join(words)}."

    small, single = [rule.pixels > 0 for rule in rules], [rule.largest for rule in rules]
    if any(small):
        pixels = str([rule.pixels for rule in rules])
        why = reason("Smaller objects were mostly wrong", small)
        plan = plan.with_values({"inference.minimum_pixels": pixels}, reason=why)
    if any(single):
        why = reason("All but the largest object were mostly wrong", single)
        plan = plan.with_values({"inference.largest_only": str(single).lower()}, reason=why)
    return plan
