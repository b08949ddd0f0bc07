"""The thirteen oracle rows of nnU-Net's planner, its ResEnc presets, and the rules one by one."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from unetkit.planning.topology import (
    coarse_axis,
    configure,
    feature_elements,
    first_patch,
    network_for,
    shrink,
    target_spacing,
    topology,
)

HIPPOCAMPUS_SLICES = 36 * 50 * 35 * 260
SKIP_ONE = [(1, 3, 3)]
ROWS = [
    # name, spacing, median, cases, classes, gb, voxels, patch, batch, pools, stages, last, flat, cover
    ("hippocampus", (1, 1, 1), (36, 50, 35), 260, 3, 8, None, (40, 56, 40), 9, (3, 3, 3), 4, 256, [], 1.422),
    ("hippocampus slices", (1, 1), (50, 35), 260, 3, 8, HIPPOCAMPUS_SLICES,
     (56, 40), 366, (3, 3), 4, 256, [], 1.28),
    ("brats", (1, 1, 1), (138, 169, 138), 484, 4, 8, None, (128, 128, 128), 2, (5, 5, 5), 6, 320, [], 0.652),
    ("lung", (1.24, 0.785, 0.785), (252, 512, 512), 63, 2, 8, None,
     (80, 192, 160), 2, (4, 5, 5), 6, 320, [], 0.037),
    ("liver", (1, 0.767, 0.767), (482, 512, 512), 131, 3, 8, None,
     (128, 128, 128), 2, (5, 5, 5), 6, 320, [], 0.017),
    ("prostate", (3.6, 0.62, 0.62), (20, 320, 319), 32, 3, 8, None,
     (20, 320, 256), 2, (2, 6, 6), 7, 320, SKIP_ONE * 2, 0.803),
    ("spleen", (1.6, 0.793, 0.793), (187, 512, 512), 41, 2, 8, None,
     (64, 192, 160), 2, (4, 5, 5), 6, 320, SKIP_ONE, 0.040),
    ("pancreas", (2.5, 0.80, 0.80), (96, 512, 512), 281, 3, 8, None,
     (40, 224, 224), 2, (3, 5, 5), 6, 320, SKIP_ONE, 0.080),
    ("heart", (1.37, 1.25, 1.25), (115, 320, 232), 20, 2, 8, None,
     (80, 192, 160), 2, (4, 5, 5), 6, 320, [], 0.288),
    ("acdc", (5.0, 1.5625, 1.5625), (18, 237, 208), 200, 4, 8, None,
     (20, 256, 224), 4, (2, 5, 5), 6, 320, SKIP_ONE, 1.293),
    ("wafer 8 GB", (1, 1), (4096, 4096), 100, 5, 8, None, (1280, 1024), 2, (8, 8), 9, 512, [], 0.078),
    ("wafer 24 GB", (1, 1), (4096, 4096), 100, 5, 24, None, (2048, 2048), 2, (9, 9), 10, 512, [], 0.25),
    ("isbi", (1, 1), (512, 512), 30, 2, 8, None, (512, 512), 2, (7, 7), 8, 512, [], 1.0),
]  # fmt: skip
RESENC = [
    ("hippocampus", (1, 1, 1), (36, 50, 35), 260, 3, None,
     ((40, 56, 40), 58, 4), ((40, 56, 40), 178, 4), ((40, 56, 40), 183, 4)),
    ("hippocampus slices", (1, 1), (50, 35), 260, 3, HIPPOCAMPUS_SLICES,
     ((56, 40), 1618, 4), ((56, 40), 4554, 4), ((56, 40), 6711, 4)),
    ("lung", (1.24, 0.785, 0.785), (252, 512, 512), 63, 2, None,
     ((80, 192, 160), 2, 6), ((112, 256, 256), 2, 7), ((128, 320, 320), 2, 7)),
    ("liver", (1, 0.767, 0.767), (482, 512, 512), 131, 3, None,
     ((128, 128, 128), 2, 6), ((192, 192, 192), 2, 6), ((224, 256, 224), 2, 6)),
    ("wafer", (1, 1), (4096, 4096), 100, 5, None,
     ((512, 512), 12, 8), ((896, 768), 13, 8), ((1024, 1024), 13, 9)),
    ("isbi", (1, 1), (512, 512), 30, 2, None, ((512, 512), 13, 8), ((512, 512), 30, 8), ((512, 512), 30, 8)),
]  # fmt: skip


@pytest.mark.parametrize("row", ROWS, ids=[row[0] for row in ROWS])
def test_the_thirteen_rows(row):
    _, spacing, median, cases, classes, gb, voxels, patch, batch, pools, stages, last, flat, cover = row
    found = configure(spacing, median, cases=cases, classes=classes, gb=gb, voxels=voxels)
    shape = found.topology
    assert (shape.patch, found.batch, shape.pools, shape.stages) == (patch, batch, pools, stages)
    assert found.network.widths[-1] == last
    assert [kernel for kernel in shape.kernels if set(kernel) != {3}] == flat
    assert round(found.coverage, 3) == pytest.approx(cover, abs=5e-4)


SLICES = [
    ("brats", (138, 169, 138), 484, 4, (192, 160), 105, 6),
    ("lung", (252, 512, 512), 63, 2, (512, 512), 12, 8),
    ("prostate", (20, 320, 319), 32, 3, (320, 320), 32, 7),
    ("heart", (115, 320, 232), 20, 2, (320, 256), 40, 7),
    ("acdc", (18, 237, 208), 200, 4, (256, 224), 56, 6),
]


@pytest.mark.parametrize("row", SLICES, ids=[row[0] for row in SLICES])
def test_the_slices_of_the_same_volumes(row):
    _, median, cases, classes, patch, batch, stages = row
    found = configure((1, 1), median[1:], cases=cases, classes=classes, voxels=math.prod(median) * cases)
    assert (found.topology.patch, found.batch, found.topology.stages) == (patch, batch, stages)


def test_a_hundred_images_of_512_get_batch_5():
    assert configure((1, 1), (512, 512), cases=100, classes=2).batch == 5


@pytest.mark.parametrize("row", RESENC, ids=[row[0] for row in RESENC])
def test_the_residual_presets(row):
    _, spacing, median, cases, classes, voxels, *expected = row
    for preset, wanted in zip(("resenc-m", "resenc-l", "resenc-xl"), expected, strict=True):
        found = configure(spacing, median, cases=cases, classes=classes, preset=preset, voxels=voxels)
        assert (found.topology.patch, found.batch, found.topology.stages) == wanted, preset


def test_residual_networks_have_the_published_depth():
    network = network_for(topology((1, 1), (512, 512)), preset="resenc-l")
    assert network.encoder == "residual"
    assert network.blocks == (1, 3, 4, 6, 6, 6, 6, 6)
    assert set(network.decoder_blocks) == {1}


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
def test_the_order_of_the_axes_does_not_matter(order):
    spacing, median = (3.6, 0.62, 0.7), (20, 320, 300)
    straight = configure(spacing, median, cases=32, classes=3)
    turned = configure([spacing[a] for a in order], [median[a] for a in order], cases=32, classes=3)
    assert turned.topology.patch == tuple(straight.topology.patch[axis] for axis in order)
    assert turned.topology.kernels[0] == tuple(straight.topology.kernels[0][axis] for axis in order)
    assert turned.batch == straight.batch


def test_elements_by_hand():
    shape = topology((1, 1), (8, 8), smallest_edge=4)
    network = network_for(shape)
    assert (shape.strides, network.widths) == (((1, 1), (2, 2)), (32, 64))
    encoder, decoder = 2 * 32 * 64 + 2 * 64 * 16, 3 * 32 * 64
    assert feature_elements(network, (8, 8), 5) == encoder + decoder + 5 * 64
    residual = network_for(shape, preset="resenc-m")
    encoder = (1 + 2) * 32 * 64 + (3 * 2 + 1) * 64 * 16
    assert feature_elements(residual, (8, 8), 5) == encoder + 2 * 32 * 64 + 5 * 64


def test_the_target_of_an_anisotropic_set_is_its_tenth_percentile():
    spacings = [(z, 1.0, 1.0) for z in np.linspace(4, 14, 11)]
    assert target_spacing(spacings, [(20, 200, 200)] * 11) == pytest.approx((5.0, 1.0, 1.0))
    assert target_spacing(spacings, [(100, 200, 200)] * 11)[0] == 9.0
    low = [(0.5, 1.0, 1.0)] * 2 + [(9.0, 1.0, 1.0)] * 9
    assert target_spacing(low, [(20, 200, 200)] * 11)[0] == pytest.approx(1.0 + 1e-5)


def test_the_axis_kept_apart():
    assert coarse_axis((1.0, 1.0, 3.1)) == 2
    assert coarse_axis((1.0, 1.0, 3.0)) is None
    assert coarse_axis((4.0, 1.0, 4.0)) is None


def test_a_single_long_axis_needs_three_edges():
    assert topology((1, 1), (11, 7)).stages == 1
    assert topology((1, 1), (12, 7)).pools == (1, 0)


def test_a_single_slice_is_not_convolved_across():
    made = topology((1.0, 1.0, 1.0), (1, 48, 40))
    assert made.kernels == ((1, 3, 3),) * 4
    assert [stride[1:] for stride in made.strides] == list(topology((1.0, 1.0), (48, 40)).strides)


def test_the_first_patch_keeps_distances_equal_and_stays_inside():
    assert first_patch((1, 1, 1), (300, 300, 300)) == (256, 256, 256)
    assert first_patch((2, 1), (4000, 4000), 256) == (181, 362)
    assert first_patch((1, 1), (100, 3000), 256) == (100, 256)


def test_shrinking_stops_where_nothing_is_left():
    start = topology((1, 1), (16, 16))
    assert min(shrink(start, spacing=(1, 1), median=(16, 16), fits=lambda shape: False).patch) >= 1


@settings(deadline=None, max_examples=60)
@given(
    rank=st.sampled_from([2, 3]),
    data=st.data(),
    edge=st.sampled_from([4, 8]),
    most=st.integers(1, 7),
)
def test_a_patch_is_always_a_multiple_of_its_strides(rank, data, edge, most):
    spacing = data.draw(st.tuples(*[st.floats(0.3, 6)] * rank))
    patch = data.draw(st.tuples(*[st.integers(1, 700)] * rank))
    shape = topology(spacing, patch, smallest_edge=edge, most_stages=most)
    assert len(shape.kernels) == len(shape.strides) == shape.stages <= most
    assert all(size % divisor == 0 for size, divisor in zip(shape.patch, shape.divisors, strict=True))
    assert all(size >= wanted for size, wanted in zip(shape.patch, patch, strict=True))
    halved = [axis for axis in range(rank) if shape.pools[axis]]
    assert all(shape.patch[axis] // shape.divisors[axis] >= edge for axis in halved)
