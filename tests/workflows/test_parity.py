"""How two runtimes are compared, and what is beyond tolerance."""

import numpy as np
import pytest

from unetkit.data.catalog import find_cases
from unetkit.errors import DataError
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.workflows.parity import Both, compare, generated_tiles, some_cases

PLAN = Plan.model_validate(EXAMPLE)


class Bright:
    """Bright pixels are a defect; ``shift`` is added to its logits."""

    notes = ()

    def __init__(self, shift=0.0, size=None):
        self.shift, self.size = shift, size

    def run(self, batch):
        logits = np.concatenate([0 * batch, batch + np.float32(self.shift)], axis=1)
        return logits if self.size is None else logits[..., : self.size]


def found(after, cases=(), plan=PLAN):
    return compare(Bright(), after, plan, cases, sizes=(100, 50))


def test_the_same_network_has_no_fault():
    parity = found(Bright())
    assert parity.faults() == ()
    assert (parity.max_difference, parity.label_agreement, parity.images, parity.tiles) == (0, 1, 0, 3)
    assert parity.sizes == ("11×11", "21×21", "32×32")
    assert parity.dice_before == {}
    assert min(parity.seconds_before, parity.seconds_after) > 0
    assert (parity.bytes_before, parity.bytes_after) == (100, 50)


def test_a_difference_is_measured_and_told():
    parity = found(Bright(0.5))
    assert parity.max_difference == pytest.approx(0.5, rel=1e-6)
    tiles = [tile.ravel() for tile in generated_tiles(PLAN)]
    pixels = np.concatenate(tiles)
    alike = ((pixels > 0) == (pixels + np.float32(0.5) > 0)).mean()
    assert parity.label_agreement == pytest.approx(alike)
    assert parity.largest_logit == pytest.approx(np.abs(pixels).max())
    first, second = parity.faults()
    assert first == f"logits were expected to differ by at most {parity.allowed_difference:.2g}, got 0.5"
    assert second == f"expected the same class for 99.9 % of the pixels, got {100 * alike:.1f} %"


def test_what_stands_in_for_a_runtime_is_named_and_not_timed():
    parity = compare(
        Bright(), Bright(1e-2), PLAN, (), sizes=(100, 50), precision="float16", stand_in="another engine"
    )
    assert (parity.stand_in, parity.seconds_after, parity.precision) == ("another engine", None, "float16")
    assert parity.seconds_before > 0
    assert parity.faults() == ()  # half is allowed a fiftieth
    assert found(Bright(1e-2)).faults() != ()
    eight = PLAN.network.model_copy(update={"quantization": "int8"})
    plan = PLAN.model_copy(update={"network": eight})
    assert compare(Bright(), Bright(), plan, (), sizes=(1, 1), precision="float16").precision == "int8"


def test_tiles_of_slices_have_the_channels_of_all():
    data = PLAN.data.model_copy(update={"rank": 3, "slice_axis": 1, "context_slices": 1})
    tiles = generated_tiles(PLAN.model_copy(update={"data": data}))
    assert [tile.shape[1:] for tile in tiles] == [(3, *tile.shape[2:]) for tile in generated_tiles(PLAN)]


@pytest.mark.parametrize("after", [Bright(np.nan), Bright(np.inf), Bright(size=4)])
def test_what_is_no_number_or_of_another_size_is_a_fault(after):
    assert any("logits were expected" in fault for fault in found(after).faults())


def test_a_nan_in_one_tile_is_not_forgotten_after_a_good_one():
    class Once(Bright):
        def run(self, batch):
            return super().run(batch) * (np.nan if batch.shape[2] == 21 else 1)

    both = Both(Bright(), Once())
    for tile in generated_tiles(PLAN):
        both.run(tile)
    assert np.isnan(both.difference)


def test_a_lost_class_is_a_fault_though_most_pixels_agree():
    parity = found(Bright()).model_copy(
        update={"dice_before": {"a": 0.9, "b": 0.8, "c": None}, "dice_after": {"a": 0.8995, "b": 0.7}}
    )
    assert parity.faults() == ("expected a Dice of 0.8000 for 'b' as before, got 0.7000",)
    lost = parity.model_copy(update={"dice_after": {"a": 0.9}})
    assert lost.faults() == ("expected a Dice of 0.8000 for 'b' as before, got none",)


def test_images_of_a_data_set_come_with_labels_and_a_folder_without(wafers, tmp_path):
    some = some_cases(wafers, tmp_path, PLAN)
    every = find_cases(wafers).cases
    assert len(some) == 8
    assert (some[0], some[-1]) == (every[0], every[-1])
    assert all(case.label for case in some)
    plain = some_cases(wafers / "images", tmp_path, PLAN)
    assert [case.id for case in plain] == [case.id for case in some]
    assert not any(case.label for case in plain)
    (single,) = some_cases(wafers / "images" / "wafer00-0.png", tmp_path, PLAN)
    assert single.id == "wafer00-0"
    with pytest.raises(DataError, match="holds no image"):
        some_cases(tmp_path, tmp_path / "out", PLAN)


def test_dice_is_that_of_the_labelled_images(wafers, exported, finished):
    from unetkit.workflows.evaluate import score_model
    from unetkit.workflows.model import load

    model = load(exported)
    cases = some_cases(wafers, exported, model.plan)[:2]
    runtime = model.predictor.runtime
    parity = compare(runtime, runtime, model.plan, cases, sizes=(1, 1))
    scores = score_model(model, cases, split="unknown")
    wanted = {name: scores.summary[name]["dice"].mean for name in model.classes[1:]}
    assert parity.dice_before == parity.dice_after == wanted
    assert parity.images == 2
    assert parity.tiles > 3


class Ids(Bright):
    """The same, but it answers classes."""

    def run(self, batch):
        ids = super().run(batch).argmax(axis=1).astype(np.uint8)
        return ids if self.size is None else ids[..., :4]


def test_where_classes_come_out_only_they_are_compared():
    plan = PLAN.with_values({"inference.network_output": "classes"})
    parity = found(Ids(), plan=plan)
    assert (parity.max_difference, parity.label_agreement, parity.faults()) == (None, 1, ())
    (fault,) = found(Ids(0.5), plan=plan).faults()
    assert fault.startswith("expected the same class for 99.9 % of the pixels")
    assert any("logits were expected" in fault for fault in found(Ids(size=4), plan=plan).faults())


def test_where_stored_pixels_go_in_the_trials_are_such():
    plan = PLAN.with_values({"inference.network_input": "uint8"})
    tiles = generated_tiles(plan)
    assert {tile.dtype for tile in tiles} == {np.dtype(np.uint8)}
    assert [tile.shape for tile in tiles] == [tile.shape for tile in generated_tiles(PLAN)]
    assert tiles[0].min() < 100 < 156 < tiles[0].max()
