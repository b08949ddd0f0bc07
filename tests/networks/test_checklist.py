import dataclasses

import pytest

from unetkit.networks.checklist import CHAI, CLAIM, Known
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.scores import CaseScores, ReaderAgreement, Scores, Summary

PLAN = Plan.model_validate(EXAMPLE)


def known(*, scores=True, **facts):
    one = Summary(mean=0.8, median=0.8, low=0.7, high=0.9, n=2, missed=1, undefined=0)
    cases = (
        CaseScores(id="a", group="p", values={"defect": {"dice": 0.0}}, missed=("defect",)),
        CaseScores(id="b", group="p", values={"defect": {"dice": 0.9}}),
    )
    found = Scores(
        split="held-out",
        classes=("defect",),
        metrics=("dice",),
        tolerance_mm=1,
        cases=cases,
        summary={"defect": {"dice": one}},
        convention="A miss is 0.",
    )
    return Known(PLAN, found if scores else None, facts, "A sentence.")


def test_every_field_of_the_schema_and_every_item_is_there():
    names = [name for rows in CHAI.values() for name in rows]
    assert len(names) == len(set(names)) == 38 + 3 * 6
    assert {"ClinicalRiskLevel", "PatientConsentOrDisclosure", "SafetyReliability: Results"} <= set(names)
    assert len(CLAIM) == 42


@pytest.mark.parametrize("scores", [True, False])
def test_every_answer_is_a_text_whatever_is_known(scores):
    for facts in ({}, {"training cases": "40", "steps": "9", "split": "by group", "started from": "another"}):
        here = known(scores=scores, **facts)
        for say in (*(say for rows in CHAI.values() for say in rows.values()), *(say for _, say in CLAIM)):
            assert isinstance(say(here), str)


def test_slices_are_owned_up_to():
    said = {"data.rank": "3", "data.slice_axis": "1", "preparation.spacing_mm": "[2, 0, 1]"}
    here = dataclasses.replace(known(), plan=PLAN.with_values(said))
    answers = [say(here) for _, say in CLAIM]
    wanted = "seen slice by slice along axis 1, brought to 2 × any × 1 mm"
    assert any(wanted in answer for answer in answers)
    assert not any("slice by slice" in say(known()) for _, say in CLAIM)


def test_people_answer_what_only_people_know():
    blank = [asked for asked, say in CLAIM if not say(known())]
    for word in (
        "annotated",
        "Funding",
        "Registration",
        "Eligibility",
        "De-identification",
        "reference standard",
    ):
        assert any(word in asked for asked in blank)
    assert not CHAI["UsesAndDirections"]["IntendedUseAndWorkflow"](known())
    assert not CHAI["KeyMetrics"]["FairnessEquity: TestType"](known())


def test_what_was_measured_is_said_and_nothing_without():
    say = dict(CLAIM)
    here = known(split="fold 0 of 5", **{"training cases": "8"})
    assert say["Analysis of failures"](here).startswith("of 2 cases, defect: missed in 1, false in 0")
    assert say["Level at which partitions are disjoint"](here).endswith("the held-out cases are 1 groups")
    assert say["How cases were assigned to partitions, with proportions"](here) == (
        "8 training cases, 2 held-out cases; how they were split: fold 0 of 5"
    )
    assert say["Estimates of accuracy with their precision"](here).endswith("defect 0.800 [0.700, 0.900]")
    bare = known(scores=False)
    for asked in ("Analysis of failures", "Metrics", "Performance on all partitions"):
        assert say[asked](bare) == ""


def test_weights_chosen_on_held_out_cases_are_owned_up_to():
    select = dict(CLAIM)["How the final model was selected"]
    assert "nothing was selected on held-out cases" in select(known())
    best = Known(PLAN.with_values({"training.select": "best"}, reason="x"), None, {}, "")
    assert "flatter" in select(best)


def test_several_networks_and_several_readers_are_told():
    say = dict(CLAIM)
    training, readers = "Training: augmentation, hyperparameters, number of models", "Variability between"
    readers = next(asked for asked in say if asked.startswith(readers))
    one, five = known(steps="9"), known(networks="5")
    assert say["Ensembling"](one) == "none: one network"
    assert say["Ensembling"](five) == "the probabilities of 5 networks are averaged"
    assert say[training](one).startswith("9 steps of")
    assert ", one model;" in say[training](one)
    assert say[training](five).startswith("steps of")
    assert ", 5 models;" in say[training](five)
    assert say[readers](one) == ""
    agreement = ReaderAgreement(cases=3, among=0.8333, model=0.7, consensus=0.8)
    several = dataclasses.replace(one, scores=one.scores.model_copy(update={"readers": agreement}))
    assert say[readers](several) == "Dice of the readers among themselves: 0.833 (mean over 3 cases)"
