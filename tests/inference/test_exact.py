"""Exact tiles: the logits of the whole image, in pieces; and a refusal where that cannot be."""

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as some

from unetkit.errors import UsageError
from unetkit.inference.exact import Reach, exact_rows, halos, pieces, probe, shown_boxes
from unetkit.inference.stream import tile_logits
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime


def runtime(rank=2, **changes):
    """A small network with running statistics and weights that are not those of a start."""
    plan = {"widths": [4, 6, 8], "blocks": [1, 1, 1], "decoder_blocks": [1, 1]}
    plan |= {"kernels": [[3] * rank] * 3, "strides": [[1] * rank, [2] * rank, [2] * rank]}
    plan |= {"norm": "batch", **changes}
    torch.manual_seed(0)
    network = build(NetworkPlan(**{**EXAMPLE["network"], **plan}), rank=rank, in_channels=1, classes=3)
    for module in network.modules():
        if isinstance(module, torch.nn.modules.batchnorm._BatchNorm):
            module.running_mean.uniform_(-0.5, 0.5)
            module.running_var.uniform_(0.5, 2)
    return PytorchRuntime(network.eval(), torch.device("cpu"), Layout())


def in_pieces(run, image, tile, *, batch_size=1):
    """Logits of an image ``(C, *S)`` from exact tiles, with what the probe found."""
    shape = image.shape[1:]
    reaches = probe(run, channels=len(image), shape=shape)
    axes = [pieces(*each) for each in zip(shape, tile, reaches, strict=True)]
    tiles = (image[(slice(None), *box)] for box in shown_boxes(axes))
    bands = exact_rows(axes, tile_logits(tiles, run, batch_size=batch_size))
    return np.concatenate([band for _, band in bands], axis=1), reaches


@pytest.mark.parametrize("shape", [(203, 170), (96, 301), (150, 20)])
def test_pieces_are_the_whole_for_a_network_with_running_statistics(shape):
    run = runtime().run
    image = np.random.default_rng(3).standard_normal((1, *shape)).astype(np.float32) * 2 + 1
    found, reaches = in_pieces(run, image, (88, 88), batch_size=3)
    whole = run(image[None])[0]
    assert found.shape == whole.shape
    assert np.abs(found - whole).max() <= 1e-4
    assert {reach.stride for reach in reaches} <= {1, 4}
    assert reaches[0].stride == 4


def test_a_halo_too_small_is_noticed():
    run = runtime().run
    image = np.random.default_rng(3).standard_normal((1, 160, 96)).astype(np.float32)
    axes = [pieces(n, 64, Reach(4, 4)) for n in (160, 96)]
    tiles = (image[(slice(None), *box)] for box in shown_boxes(axes))
    bands = exact_rows(axes, tile_logits(tiles, run, batch_size=1))
    found = np.concatenate([band for _, band in bands], axis=1)
    assert np.abs(found - run(image[None])[0]).max() > 1e-3


def test_three_axes_go_the_same_way():
    run = runtime(3, widths=[2, 3], blocks=[1, 1], decoder_blocks=[1], kernels=[[3] * 3] * 2,
                  strides=[[1, 1, 1], [1, 2, 2]]).run  # fmt: skip
    image = np.random.default_rng(3).standard_normal((1, 30, 45, 20)).astype(np.float32)
    found, reaches = in_pieces(run, image, (26, 32, 32))
    assert np.abs(found - run(image[None])[0]).max() <= 1e-4
    assert reaches[0].stride == 1


@pytest.mark.parametrize("norm", ["instance", "group"])
def test_a_norm_over_the_image_cannot_be_cut(norm, monkeypatch):
    monkeypatch.setattr("unetkit.inference.exact.LONGEST_PROBE", 512)
    run = runtime(norm=norm, widths=[8, 16, 16]).run
    with pytest.raises(UsageError, match=r"mode is exact, but .* over the whole image.* network.norm batch"):
        probe(run, channels=1, shape=(2000, 64))
    assert halos(run, channels=1, rank=2) is None


def test_halos_are_those_of_an_image_without_end():
    run = runtime().run
    far = probe(run, channels=1, shape=(4096, 4096))
    assert halos(run, channels=1, rank=2) == tuple(reach.halo for reach in far)
    # 3×3 kernels: 1 and 1 pixel of the whole, 2 and 4 of the coarser two levels, and as much on the way up
    assert all(8 <= reach.halo <= 24 for reach in far)


def test_the_probe_finds_what_a_filter_was_made_with():
    def blurred(batch):
        wide = np.pad(batch, ((0, 0), (0, 0), (7, 7)))
        return wide[..., :-14] + wide[..., 7:-7]

    def halved(batch):  # sees the pixels of its own block of 8 alone
        steps = batch[..., ::8]
        return np.repeat(steps, 8, axis=-1)[..., : batch.shape[-1]]

    assert probe(blurred, channels=1, shape=(900,)) == (Reach(1, 8),)
    assert probe(halved, channels=1, shape=(900,)) == (Reach(8, 8),)


def test_a_tile_that_is_all_halo_is_refused_with_the_size_that_would_do():
    text = r"sees 40 pixels far: nothing is left of a tile of 64 .* to 160 or more \(at least 84\)"
    with pytest.raises(UsageError, match=text):
        pieces(1000, 64, Reach(4, 40))


@settings(max_examples=60, deadline=None)
@given(some.integers(1, 90), some.integers(12, 30), some.sampled_from([(1, 3), (2, 4), (4, 4)]))
def test_pieces_cover_an_axis_once_with_their_halo(length, tile, reach):
    stride, halo = reach
    found = pieces(length, tile, Reach(stride, halo))
    assert [p for piece in found for p in range(length)[piece.core]] == list(range(length))
    for piece in found:
        assert piece.shown.start % stride == 0
        assert piece.shown.stop - piece.shown.start <= tile
        assert piece.shown.start == 0 or piece.core.start - piece.shown.start == halo
        assert piece.shown.stop == length or piece.shown.stop - piece.core.stop == halo
