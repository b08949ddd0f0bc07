"""The model card."""

from unetkit.networks.card import BLANK, FORMAT, MEDICAL, model_card
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.scores import CaseScores, Scores, Summary

PLAN = Plan.model_validate(EXAMPLE).with_values({"network.norm": "batch"}, reason="large batches")


def scores() -> Scores:
    found = Summary(mean=0.8125, median=0.85, low=0.7, high=0.9, n=12, missed=2, undefined=3)
    nowhere = Summary(mean=None, median=None, low=None, high=None, n=0, missed=0, undefined=15)
    return Scores(
        split="held-out",
        classes=("defect",),
        metrics=("dice", "hd95"),
        tolerance_mm=1.5,
        cases=(),
        summary={"defect": {"dice": found, "hd95": nowhere}},
        convention="A missed object takes the worst value.",
    )


def test_scores_stand_with_what_was_missed_and_undefined():
    card = model_card(PLAN, scores(), {})
    assert "| defect | dice | 0.812 [0.700, 0.900] | 0.850 | 12 | 2 | 3 |" in card
    assert "| defect | hd95 (mm) | – | – | 0 | 0 | 15 |" in card
    assert "Cases: 0 (held-out). A missed object takes the worst value." in card


def test_distances_of_pictures_are_in_pixels():
    case = CaseScores(id="a", group="a", values={"defect": {"dice": 1.0, "hd95": 0.0}}, calibrated=False)
    card = model_card(PLAN, scores().model_copy(update={"cases": (case,)}), {})
    assert "| defect | hd95 (px) |" in card
    assert " mm" not in card.partition("## Scores")[2].partition("## How")[0]


def test_without_scores_it_says_so():
    assert "\n## Scores\n\nNot measured.\n" in model_card(PLAN, None, {})


def test_it_says_what_it_is_how_to_use_it_and_what_it_is_not():
    card = model_card(PLAN, None, {"made by": "unet train"})
    assert card.startswith("# U-Net for defect\n")
    assert "| 1 | defect | 255 |" in card
    assert "| made by | unet train |" in card
    assert "unet predict MODEL INPUT --out DIR" in card
    assert "**Not a medical device: not cleared" in card
    assert "| `network.norm` | batch | large batches |" in card
    assert "| `training.patch_size` | [32, 32] |  |" in card


def test_what_the_network_sees_of_a_volume_is_said():
    assert "| seen by the network | along every axis |" in model_card(PLAN, None, {})
    said = {"data.rank": "3", "data.slice_axis": "0", "data.context_slices": "1"}
    card = model_card(PLAN.with_values({**said, "preparation.spacing_mm": "[0, 1.5, 1]"}), None, {})
    assert "| seen by the network | slice by slice along axis 0 with 1 neighbours on each side |" in card
    assert "| spacing (mm) | any × 1.5 × 1 |" in card


def test_a_medical_model_is_asked_for_more():
    facts = {FORMAT: "dicom", "training cases": "40", "split": "5 parts by group"}
    card = model_card(PLAN, scores(), facts)
    assert "## CHAI applied model card" in card
    assert "## CLAIM checklist" in card
    assert f"| TargetedPatientPopulation | {BLANK} |" in card
    assert "| 42 | Funding, and the role of the funders |" in card
    assert "how they were split: 5 parts by group" in card
    assert "Dice, mean [95 % interval]: defect 0.812 [0.700, 0.900]" in card
    plain = model_card(PLAN, scores(), facts | {FORMAT: "raster"})
    assert "CLAIM" not in plain


def test_a_class_name_cannot_break_the_table():
    names = {"classes": ["background", "a|<b>\n# boo"]}
    plan = Plan.model_validate({**EXAMPLE, "data": {**EXAMPLE["data"], **names}})
    card = model_card(plan, None, {})
    assert "| 1 | a\\|&lt;b> # boo | 255 |" in card
    assert "\n# boo" not in card


def test_medical_formats_are_formats():
    from unetkit.data.formats import FORMATS

    assert set(FORMATS) > MEDICAL
