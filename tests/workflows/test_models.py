import pytest

from unetkit.errors import UsageError
from unetkit.networks.presets import PRESETS
from unetkit.planning.cost import multiply_adds
from unetkit.planning.named import FAMILIES
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows.models import _Bench, _plain, models


def test_every_row_of_every_table_is_listed_and_counted_or_says_why_not():
    found = models(patch=(64, 64))
    listed = [(row.family, row.name) for row in found.rows]
    assert len(set(listed)) == len(listed)
    assert {name for family, name in listed if family == "preset"} == set(PRESETS)
    for family, table in FAMILIES.items():
        assert {name for other, name in listed if other == family} >= set(table)
    for row in found.rows:
        if row.parameters is None:
            assert row.remark, row.name
        else:
            assert row.multiply_adds > 0
            assert row.memory_gb > 0.1
    plain = next(row for row in found.rows if (row.family, row.name) == ("encoder", "plain"))
    network = _plain((64, 64))
    assert plain.multiply_adds == multiply_adds(network, rank=2, in_channels=1, classes=2, patch=(64, 64))


def test_a_plan_gives_patch_channels_and_classes(tmp_path, monkeypatch):
    monkeypatch.setattr(_Bench, "wanted", lambda _: [("decoder", "unet")])
    plan = Plan.model_validate(EXAMPLE)
    file = tmp_path / "plan.json"
    file.write_text(plan.to_json())
    found = models(plan=file)
    assert (found.patch, found.batch, found.channels, found.classes) == ((32, 32), 2, 1, 2)
    assert [row.parameters for row in found.rows] == [6562]
    assert models(plan=plan, patch=(64, 32)).patch == (64, 32)


def test_wrong_patches_are_refused(tmp_path):
    for patch, told in (
        ((64,), "a patch of 2 or 3 positive numbers"),
        ((64, 0), "positive numbers"),
        ((8, 8), "at least 16 pixels per axis"),
    ):
        with pytest.raises(UsageError, match=told):
            models(patch=patch)
    with pytest.raises(UsageError, match="a patch of 2 positive numbers was expected, got"):
        models(patch=(32, 32, 32), plan=Plan.model_validate(EXAMPLE))
    with pytest.raises(UsageError, match="this plan does not exist"):
        models(plan=tmp_path / "none.json")
