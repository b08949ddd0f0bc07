from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.run import Run
from unetkit.workflows.report_origin import (
    data_facts,
    learning_curves,
    plan_reasons,
    usage,
    versions,
    weights_start,
)

PLAN = Plan.model_validate(EXAMPLE).with_values({"network.norm": "batch"}, reason="<large> batches")


def test_curves_come_from_the_journal_and_a_trend_from_long_ones(tmp_path):
    run = Run(tmp_path)
    assert learning_curves(run) == ""
    for step in range(1, 31):
        run.note("step", step=step, loss=1 / step, learning_rate=0.1)
    run.note("validation", step=30, dice=0.5)
    text = learning_curves(run)
    assert text.count("<svg") == 3
    assert "running mean" in text


def test_every_decision_stands_with_its_reason():
    text = plan_reasons(PLAN)
    assert "&lt;large&gt; batches" in text
    assert "values left at their defaults" in text


def test_the_program_names_the_classes(tmp_path):
    text = usage(Run(tmp_path), PLAN)
    assert "image.png" in text
    assert "0 background, 1 defect" in text


def test_an_export_in_the_run_is_the_model_to_use(tmp_path):
    assert f"unet predict {tmp_path / 'model'} image.png" in usage(Run(tmp_path), PLAN)
    (tmp_path / "openvino").mkdir()
    for name in ("network.xml", "network.bin", "plan.json", "model.json"):
        (tmp_path / "openvino" / name).touch()
    text = usage(Run(tmp_path), PLAN)
    assert f"unet predict {tmp_path / 'openvino'} image.png" in text
    assert str(tmp_path / "model") not in text


def test_what_is_not_known_leaves_no_section():
    assert data_facts(None) == versions(None) == weights_start(None) == ""
