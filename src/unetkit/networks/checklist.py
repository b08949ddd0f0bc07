"""What a medical model is asked for: the fields of CHAI's model card, the items of CLAIM, and what is known.

A blank is honest: intended use, population, annotators, approval and money are known to people only.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

from unetkit.records.figures import with_interval
from unetkit.records.plan import Plan
from unetkit.records.scores import Scores


@dataclass(frozen=True)
class Known:
    """What is known of a model when it is saved.

    Args:
        plan: Its plan.
        scores: How good it was measured to be, None when it was not.
        facts: What else is worth knowing.
        summary: What it does, in a sentence.
    """

    plan: Plan
    scores: Scores | None
    facts: dict[str, str]
    summary: str


Say = Callable[[Known], str]
"""What is known about one field; empty for nothing."""


def _nothing(_: Known) -> str:
    return ""


def _name(known: Known) -> str:
    return f"U-Net for {', '.join(known.plan.data.classes[1:])}"


def _type(known: Known) -> str:
    network = known.plan.network
    widths = ", ".join(map(str, network.widths))
    return (
        f"U-Net: encoder {network.encoder}, bottleneck {network.bottleneck}, skips by {network.fusion}, "
        f"decoder {network.decoder}, {len(network.widths)} stages of {widths} channels"
    )


def _input(known: Known) -> str:
    data, plan = known.plan.data, known.plan.preparation
    spacing = " × ".join(f"{step:g}" if step else "any" for step in plan.spacing_mm)
    words = f"images with {data.rank} axes and the channels {', '.join(data.channels)} ({data.pixels})"
    if data.slice_axis is not None or data.cascade == "full":
        words += f", seen {data.sight}"
    return f"{words}, brought to {spacing} mm" if spacing else words


def _output(known: Known) -> str:
    listed = ", ".join(f"{i} {name}" for i, name in enumerate(known.plan.data.classes))
    return f"one class per pixel ({listed}), on the grid of the image; class probabilities on request"


def _development(known: Known) -> str:
    count = known.facts.get("training cases")
    held = f", {len(known.scores.cases)} more held out" if known.scores else ""
    return f"{count} labelled cases{held}; who they are is for the publisher to say" if count else ""


def _preparation(known: Known) -> str:
    plan = known.plan.preparation
    schemes = ", ".join(channel.scheme for channel in plan.normalization)
    spacing = " × ".join(f"{step:g}" for step in plan.spacing_mm)
    steps = [f"resampled to {spacing} mm" if spacing else "not resampled"]
    steps += ["cropped to what is not zero"] if plan.crop_to_nonzero else []
    return f"{', '.join(steps)}; normalised by {schemes}; see the plan below"


def _partition(known: Known) -> str:
    if not known.scores:
        return ""
    count, how = known.facts.get("training cases", "?"), known.facts.get("split", "not recorded")
    return f"{count} training cases, {len(known.scores.cases)} held-out cases; how they were split: {how}"


def _disjoint(known: Known) -> str:
    if not known.scores:
        return ""
    groups = len({case.group for case in known.scores.cases})
    words = f"by group, as the data set states groups; the held-out cases are {groups} groups"
    return f"{words}, every case its own" if groups == len(known.scores.cases) else words


def _training(known: Known) -> str:
    training = known.plan.training
    terms = " + ".join(f"{term.weight:g} {term.name}" for term in known.plan.objective.losses)
    steps, count = known.facts.get("steps", ""), known.facts.get("networks", "1")
    models = "one model" if count == "1" else f"{count} models"
    return (
        f"{steps} steps of {training.batch_size} patches of {list(training.patch_size)} pixels, loss "
        f"{terms}, {models}; every value, with its reason, in the plan below"
    ).lstrip()


def _ensembling(known: Known) -> str:
    count = known.facts.get("networks", "1")
    return "none: one network" if count == "1" else f"the probabilities of {count} networks are averaged"


def _readers(known: Known) -> str:
    found = known.scores.readers if known.scores else None
    if found is None or found.among is None:
        return ""
    return f"Dice of the readers among themselves: {found.among:.3f} (mean over {found.cases} cases)"


def _start(known: Known) -> str:
    named = known.plan.training.pretrained
    return known.facts.get("started from") or ("at random" if named == "none" else f"encoder from {named}")


def _mean_dice(known: Known) -> str:
    scores = known.scores
    if scores is None:
        return ""
    parts = []
    for name, row in scores.summary.items():
        one = row.get("dice")
        if one is not None and one.mean is not None:
            parts.append(f"{name} {with_interval(one.mean, one.low, one.high)}")
    return f"Dice, mean [95 % interval]: {'; '.join(parts)}" if parts else ""


def _missed(known: Known) -> str:
    scores = known.scores
    if scores is None:
        return ""
    missed = {name: sum(name in case.missed for case in scores.cases) for name in scores.classes}
    false = {name: sum(name in case.spurious for case in scores.cases) for name in scores.classes}
    parts = [f"{name}: missed in {missed[name]}, false in {false[name]}" for name in scores.classes]
    return f"of {len(scores.cases)} cases, {'; '.join(parts)}. The report shows the worst first"


def _metrics(known: Known) -> str:
    if known.scores is None:
        return ""
    return f"{', '.join(map(known.scores.heading, known.scores.metrics))}. {known.scores.convention}"


def _intervals(known: Known) -> str:
    return (
        "95 % percentile bootstrap of the mean over cases, groups resampled, 1000 draws"
        if known.scores
        else ""
    )


def _measured(known: Known) -> str:
    scores = known.scores
    if scores is None:
        return ""
    groups = len({case.group for case in scores.cases})
    return f"{len(scores.cases)} cases in {groups} groups ({scores.split}), of the same data set"


def _selection(known: Known) -> str:
    if known.plan.training.select == "best":
        return "the best Dice on held-out cases during training: their scores flatter the model"
    return "the averaged weights at the end of the schedule; nothing was selected on held-out cases"


def _unknowns(known: Known) -> str:
    ignore = known.plan.data.ignore_value
    return (
        ""
        if ignore is None
        else f"pixels labelled {ignore} count as not labelled and are left out of the loss"
    )


def _software(known: Known) -> str:
    return "unetkit on PyTorch; versions in model.json"


def _limits(known: Known) -> str:
    return (
        "it knows its classes only and always answers with one of them; measured on the cases counted here "
        "and on nothing else"
    )


def _unapproved(_: Known) -> str:
    return "none: not a medical device"


def _how(_: Known) -> str:
    return "unet predict MODEL INPUT --out DIR"


def _secure(_: Known) -> str:
    return (
        "weights are numbers only (safetensors), the plan is JSON; neither can run code; SHA-256 of both in "
        "model.json"
    )


def _method(known: Known) -> str:
    return f"deep learning, {_type(known)}"


def _result(name: str, say: Say) -> dict[str, Say]:
    """The fields of one key metric."""
    return {
        f"{name}: MetricGoal": _nothing,
        f"{name}: Results": say,
        f"{name}: Interpretation": _nothing,
        f"{name}: TestType": lambda known: "internal, held-out cases" if say(known) else "",
        f"{name}: TestingDataDescription": lambda known: _measured(known) if say(known) else "",
        f"{name}: ValidationProcessAndJustification": lambda known: _disjoint(known) if say(known) else "",
    }


CHAI: dict[str, dict[str, Say]] = {
    "BasicInfo": {"ModelName": _name, "ModelDeveloper": _nothing, "DeveloperContact": _nothing},
    "ReleaseInfo": {
        "ReleaseStage": _nothing,
        "ReleaseDate": _nothing,
        "ReleaseVersion": _nothing,
        "GlobalAvailability": _nothing,
        "EHRCompatibility": _nothing,
        "RegulatoryApproval": _unapproved,
    },
    "ModelSummary": {
        "Summary": lambda known: known.summary,
        "Keywords": lambda known: f"segmentation, U-Net, {', '.join(known.plan.data.classes[1:])}",
    },
    "UsesAndDirections": {
        "IntendedUseAndWorkflow": _nothing,
        "PrimaryIntendedUsers": _nothing,
        "HowToUse": _how,
        "TargetedPatientPopulation": _nothing,
        "CautionedOutOfScopeSettings": _limits,
    },
    "Warnings": {
        "KnownRisksAndLimitations": _limits,
        "KnownBiasesOrEthicalConsiderations": _nothing,
        "ClinicalRiskLevel": _nothing,
    },
    "TrustIngredients, AISystemFacts": {
        "OutcomesAndOutputs": _output,
        "ModelType": _type,
        "FoundationModels": lambda known: known.facts.get("started from", ""),
        "InputDataSource": _nothing,
        "OutputAndInputDataTypes": lambda known: f"in: {_input(known)}; out: {_output(known)}",
        "DevelopmentDataCharacterization": _development,
        "BiasMitigationApproaches": _nothing,
        "OngoingMaintenance": _nothing,
        "Security": _secure,
        "Transparency": lambda _: "plan.json holds every decision with its reason, scores.json every case",
    },
    "TrustIngredients, TransparencyInformation": {
        "FundingSource": _nothing,
        "ThirdPartyInformation": _software,
        "StakeholdersConsulted": _nothing,
    },
    "KeyMetrics": {
        **_result("UsefulnessUsabilityEfficacy", _mean_dice),
        **_result("FairnessEquity", _nothing),
        **_result("SafetyReliability", _missed),
    },
    "Resources": {
        "EvaluationReferences": _nothing,
        "ClinicalTrial": _nothing,
        "PeerReviewedPublications": _nothing,
        "ReimbursementStatus": _nothing,
        "PatientConsentOrDisclosure": _nothing,
    },
    "Bibliography": {"Bibliography": _nothing},
}
"""Section → field → what is known. Names are the schema's (coalition-for-health-ai/mc-schema, v0.2)."""

CLAIM: tuple[tuple[str, Say], ...] = (
    ("Title or abstract names the AI method and its kind", _method),
    ("Structured summary of design, methods, results, conclusions", _nothing),
    ("Background, with intended use and clinical role", _nothing),
    ("Objectives and hypotheses", _nothing),
    ("Prospective or retrospective", _nothing),
    ("Goal of the study", _nothing),
    ("Sources of the data", _nothing),
    ("Eligibility: how, where and when cases were found", _nothing),
    ("Preprocessing", _preparation),
    ("Selection of subsets of the data", _nothing),
    ("Definitions of data elements", _output),
    ("De-identification", _nothing),
    ("How missing data were handled", _unknowns),
    ("Definition of the reference standard", _nothing),
    ("Why this reference standard", _nothing),
    ("Who annotated, with what qualification", _nothing),
    ("Annotation tools", _nothing),
    ("Variability between and within readers, and how it was resolved", _readers),
    ("Intended sample size and how it was chosen", _nothing),
    ("How cases were assigned to partitions, with proportions", _partition),
    ("Level at which partitions are disjoint", _disjoint),
    ("The model: inputs, outputs, layers, connections", lambda known: f"{_type(known)}; {_input(known)}"),
    ("Software", _software),
    ("How parameters were initialised", _start),
    ("Training: augmentation, hyperparameters, number of models", _training),
    ("How the final model was selected", _selection),
    ("Ensembling", _ensembling),
    ("Metrics", _metrics),
    ("Statistical measures of significance and uncertainty", _intervals),
    ("Robustness or sensitivity analysis", _nothing),
    ("Explainability", _nothing),
    ("Testing on external data", _nothing),
    ("Flow of participants or cases", _nothing),
    ("Demographic and clinical characteristics of each partition", _nothing),
    ("Performance on all partitions", _mean_dice),
    ("Estimates of accuracy with their precision", _mean_dice),
    ("Analysis of failures", _missed),
    ("Limitations", _limits),
    ("Implications for practice", _nothing),
    ("Registration", _nothing),
    ("Where the protocol, the data and the code can be had", _nothing),
    ("Funding, and the role of the funders", _nothing),
)
"""The items in their order, in short words of our own, and what is known about each."""
