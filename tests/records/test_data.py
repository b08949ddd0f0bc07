"""What the network sees of the data."""

import pytest
from pydantic import ValidationError

from unetkit.records.data import DataPlan

PLAN = DataPlan(rank=3, channels=("T1", "T2"), classes=("no", "yes"), label_values=(0, 1))


@pytest.mark.parametrize(("axis", "context", "rank", "channels", "sight"), [
    (None, 0, 3, 2, "along every axis"),
    (0, 0, 2, 2, "slice by slice along axis 0"),
    (2, 2, 2, 10, "slice by slice along axis 2 with 2 neighbours on each side"),
])  # fmt: skip
def test_what_the_network_sees(axis, context, rank, channels, sight):
    plan = PLAN.model_copy(update={"slice_axis": axis, "context_slices": context})
    assert (plan.input_rank, plan.input_channels, plan.sight) == (rank, channels, sight)


def test_a_plan_of_before_there_were_slices_sees_every_axis():
    old = {key: value for key, value in PLAN.model_dump().items() if "slice" not in key}
    assert DataPlan.model_validate(old) == PLAN


@pytest.mark.parametrize("wrong", [{"slice_axis": 3}, {"slice_axis": -1}, {"context_slices": -1}])
def test_there_is_no_fourth_axis_and_no_fewer_than_no_neighbour(wrong):
    with pytest.raises(ValidationError):
        DataPlan.model_validate({**PLAN.model_dump(), **wrong})
