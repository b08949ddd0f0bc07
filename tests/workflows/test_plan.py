import pytest

from unetkit.errors import DataError, UsageError
from unetkit.records.plan import Plan
from unetkit.workflows.plan import plan


def test_a_plan_is_made_changed_and_written(wafers, tmp_path):
    result = plan(wafers, minutes=2, changes={"training.steps": "9"}, device="cpu", out=tmp_path / "p.json")
    assert result.plan.training.steps == 9
    assert result.plan.reasons["training.steps"] == "set by hand"
    assert result.fingerprint.rank == result.plan.data.rank == 2
    written = Plan.from_json((tmp_path / "p.json").read_bytes(), where="p.json")
    assert written == result.plan


def test_wrong_keys_and_bad_data_are_refused(wafers, tmp_path):
    with pytest.raises(UsageError, match=r"use 'network\.widths'"):
        plan(wafers, changes={"network.width": "3"})
    with pytest.raises(DataError):
        plan(tmp_path)
