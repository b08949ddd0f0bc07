"""Counted memory against a direct count and against arithmetic; plans shrink until a real step fits."""

from __future__ import annotations

import itertools
import math

import pytest
import torch
from torch.autograd.graph import saved_tensors_hooks

from unetkit.errors import ResourceError, UsageError
from unetkit.networks.unet import build
from unetkit.planning import memory
from unetkit.planning.memory import check_sizes, fit_to_memory, saved_bytes, smaller, step_bytes, try_step
from unetkit.planning.topology import divisors, network_for, topology
from unetkit.records.plan import (
    DataPlan,
    InferencePlan,
    LossTerm,
    Normalization,
    Plan,
    PreparationPlan,
    TrainingPlan,
)

CE = (LossTerm(name="cross_entropy"),)
CPU = torch.device("cpu")


def a_plan(patch=(32, 32), batch=4, width=8):
    rank = len(patch)
    shape = topology((1.0,) * rank, patch, smallest_edge=8)
    return Plan(
        data=DataPlan(rank=rank, channels=("image",), classes=("background", "a"), label_values=(0, 1)),
        preparation=PreparationPlan(normalization=(Normalization(scheme="zscore"),)),
        network=network_for(shape, first_width=width),
        training=TrainingPlan(patch_size=shape.patch, batch_size=batch),
        inference=InferencePlan(tile_size=shape.patch),
    )


def directly_counted(network, patch, classes):
    net = build(network, rank=len(patch), in_channels=1, classes=classes).train()
    weights = {weight.untyped_storage().data_ptr() for weight in net.parameters()}
    kept = {}

    def keep(tensor):
        storage = tensor.untyped_storage()
        if storage.data_ptr() not in weights:
            kept[storage.data_ptr()] = storage.nbytes()
        return tensor

    order = torch.channels_last if len(patch) == 2 else torch.channels_last_3d
    pixels = torch.zeros((1, 1, *patch)).contiguous(memory_format=order)
    with saved_tensors_hooks(keep, lambda tensor: tensor):
        losses = [
            torch.nn.functional.cross_entropy(y, torch.zeros((1, *y.shape[2:]), dtype=torch.int64))
            for y in net(pixels)
        ]
        torch.stack(losses).sum()
    return sum(kept.values())


@pytest.mark.parametrize("patch", [(96, 64), (32, 32, 24)])
@pytest.mark.parametrize("preset", ["plain", "resenc-m"])
def test_the_extended_count_is_the_direct_one(patch, preset):
    shape = topology((1.0,) * len(patch), patch, smallest_edge=8)
    network = network_for(shape, first_width=8, preset=preset)
    counted = saved_bytes(network, rank=len(patch), in_channels=1, classes=3, patch=patch, losses=CE)
    assert counted == pytest.approx(directly_counted(network, patch, 3), rel=0.02)


def test_a_batch_norm_at_a_coarsest_map_of_one_pixel_is_counted():
    network = a_plan().network.model_copy(update={"norm": "batch"})
    asked = {"rank": 2, "in_channels": 1, "classes": 2, "losses": CE}
    assert saved_bytes(network, patch=(64, 64), **asked) > saved_bytes(network, patch=(32, 32), **asked)


def test_an_odd_patch_is_counted_as_it_is_padded():
    network = a_plan().network
    sizes = [
        saved_bytes(network, rank=2, in_channels=1, classes=2, patch=p, losses=CE)
        for p in ((31, 30), (32, 32))
    ]
    assert sizes[0] == sizes[1]


def test_a_step_grows_with_the_batch_by_its_activations():
    one, two, three = (step_bytes(a_plan(batch=batch)) for batch in (1, 2, 3))
    assert three - two == pytest.approx(two - one, abs=2)
    network = a_plan().network
    terms = a_plan().objective.losses
    saved = saved_bytes(network, rank=2, in_channels=1, classes=2, patch=(32, 32), losses=terms)
    assert saved < two - one < 2 * saved


def test_bfloat16_needs_less():
    assert step_bytes(a_plan(), device="cuda") < step_bytes(a_plan(), device="cpu")


def test_what_fits_stays_and_says_what_it_needs():
    plan = a_plan()
    fitted = fit_to_memory(plan, 4.0)
    assert fitted.training.patch_size == plan.training.patch_size
    assert fitted.training.batch_size == plan.training.batch_size
    assert fitted.training.memory_gb == 4.0
    assert "as counted" in fitted.reasons["training.memory_gb"]


def test_the_batch_goes_first_then_the_patch():
    plan = a_plan(patch=(128, 128), batch=8)
    budget = (step_bytes(plan.with_values({"training.batch_size": "3"})) + 1000) / 1e9
    fitted = fit_to_memory(plan, max(budget, 0.12))
    assert fitted.training.batch_size < 8
    assert fitted.training.patch_size == (128, 128)
    assert "8 did not fit into" in fitted.reasons["training.batch_size"]


def test_out_of_memory_shrinks_until_the_step_goes_through(monkeypatch):
    tried = []

    def step(plan, device):
        training = plan.training
        tried.append((training.batch_size, training.patch_size))
        if training.batch_size * math.prod(training.patch_size) > 2 * 96 * 128:
            raise (
                torch.OutOfMemoryError("CUDA out of memory")
                if len(tried) % 2
                else RuntimeError("DefaultCPUAllocator: can't allocate memory")
            )

    monkeypatch.setattr(memory, "_step", step)
    fitted = fit_to_memory(a_plan(patch=(128, 128), batch=4), 16.0)
    assert tried[:3] == [(4, (128, 128)), (3, (128, 128)), (2, (128, 128))]
    assert fitted.training.batch_size == 2
    assert math.prod(fitted.training.patch_size) <= 96 * 128
    assert fitted.inference.tile_size == fitted.training.patch_size
    assert "128×128 did not fit" in fitted.reasons["training.patch_size"]


def test_a_step_above_the_budget_shrinks_too(monkeypatch):
    monkeypatch.setattr(memory, "try_step", lambda plan, device: 1e9 * plan.training.batch_size)
    assert fit_to_memory(a_plan(batch=4), 3.0).training.batch_size == 3


def test_without_a_step_the_count_decides_and_says_so(monkeypatch):
    def never(plan, device):
        raise AssertionError("a step was made")

    monkeypatch.setattr(memory, "try_step", never)
    plan = a_plan(patch=(128, 128), batch=8)
    budget = (step_bytes(plan.with_values({"training.batch_size": "3"})) + 1000) / 1e9
    counted = fit_to_memory(plan, budget, step=False)
    assert counted.training.batch_size < 8
    assert counted.training.memory_gb == plan.training.memory_gb
    assert "8 did not fit into" in counted.reasons["training.batch_size"]
    assert "Training makes one real step first" in counted.reasons["training.memory_gb"]
    assert "measured" not in counted.reasons["training.memory_gb"]


def test_nothing_fits_is_said():
    with pytest.raises(ResourceError, match=r"more memory than the budget of 0\.0001 GB"):
        fit_to_memory(a_plan(), 0.0001)


def test_another_error_is_not_mistaken_for_memory(monkeypatch):
    def step(plan, device):
        raise RuntimeError("sizes do not match")

    monkeypatch.setattr(memory, "_step", step)
    with pytest.raises(RuntimeError, match="sizes do not match"):
        try_step(a_plan(), CPU)


def test_shrinking_ends_with_one_patch_of_two_bottleneck_pixels():
    plan, sizes = a_plan(patch=(64, 64), batch=16), []
    while plan is not None:
        sizes.append((plan.training.batch_size, *plan.training.patch_size))
        steps = divisors(plan.network.strides)
        assert all(p % d == 0 for p, d in zip(plan.training.patch_size, steps, strict=True))
        plan = smaller(plan)
    assert [size[0] for size in sizes[:6]] == [16, 12, 9, 6, 4, 3]
    assert sizes[-1][0] == 1
    assert all(later <= earlier for earlier, later in itertools.pairwise(sizes))


def test_a_real_step_is_measured_and_leaves_no_trace():
    before = torch.get_rng_state()
    peak = try_step(a_plan(patch=(64, 64), batch=2, width=16), CPU)
    assert 0 <= peak < 1e9
    assert torch.equal(torch.get_rng_state(), before)


def test_where_the_kernel_does_not_count_the_step_still_runs(monkeypatch, tmp_path):
    monkeypatch.setattr(memory, "_CLEAR", tmp_path / "none" / "clear_refs")
    assert try_step(a_plan(), CPU) == 0.0


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        (
            {"training.patch_size": "[2,16]"},
            "training.patch_size is 2×16, smaller than the network's stride, 4×4.*patch_size to 4×4",
        ),
        ({"training.patch_size": "[0,16]"}, r"training.patch_size is \[0, 16\], 2 positive numbers"),
        ({"training.patch_size": "[16]"}, r"training.patch_size is \[16\], 2 positive numbers"),
        ({"inference.tile_size": "[16,16,16]"}, r"inference.tile_size is \[16, 16, 16\], 2 positive"),
    ],
)
def test_a_size_that_the_network_cannot_work_on_is_refused(changes, told):
    plan = a_plan().with_values(changes)
    assert divisors(plan.network.strides) == (4, 4)
    with pytest.raises(UsageError, match=told):
        fit_to_memory(plan, budget_gb=4, step=False)


def test_the_least_patch_is_the_networks_stride():
    plan = a_plan().with_values({"training.patch_size": "[4,4]"})
    assert fit_to_memory(plan, budget_gb=4, step=False).training.patch_size == (4, 4)


def test_a_patch_of_the_plane_is_asked_where_the_network_sees_slices():
    plan = a_plan()
    sliced = plan.model_copy(
        update={"data": plan.data.model_copy(update={"rank": 3, "slice_axis": 0, "context_slices": 1})}
    )
    check_sizes(sliced)
    assert step_bytes(sliced) > step_bytes(plan)
    with pytest.raises(UsageError, match=r"training.patch_size is .*, 2 positive numbers were expected"):
        check_sizes(sliced.with_values({"training.patch_size": "[8, 32, 32]"}))
    with pytest.raises(UsageError, match=r"the images have 2 axes and no slices"):
        check_sizes(plan.with_values({"data.slice_axis": "0"}))
