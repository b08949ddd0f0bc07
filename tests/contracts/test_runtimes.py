"""Every runtime answers as torch does, for any batch and any size, on two and on three axes."""

import importlib.util
import itertools

import numpy as np
import pytest
import torch

from unetkit.errors import UsageError
from unetkit.inference.predict import Predictor
from unetkit.lookup import pick
from unetkit.networks.ends import with_ends
from unetkit.networks.unet import build
from unetkit.records.case import Intensity
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.runtimes import RUNTIMES
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime
from unetkit.spatial.intensity import apply_intensity

pytestmark = pytest.mark.usefixtures("unchecked")

SIZES = {
    2: [(37, 41), (64, 48), (1, 7), (1, 1), (5, 90), (16, 16)],
    3: [(9, 11, 13), (16, 8, 24), (1, 7, 6), (1, 1, 1), (5, 2, 40), (16, 16, 16)],
}
"""The last one is the plan's tile, for which an engine may have compiled the network."""
PICTURES = [(1, 1), (1, 50), (50, 1), (16, 16), (17, 15)]
PICTURES += [tuple(size) for size in np.random.default_rng(5).integers(1, 50, (35, 2)).tolist()]
"""Forty sizes around a tile of 16²: odd, smaller than it, one row, one column."""
NORMS = {2: "batch", 3: "instance"}
"""Of the network of each rank; ``test_networks`` exports every part of every family."""


def plan_of(rank: int, *, stages: int = 3) -> Plan:
    network = {
        "widths": (4, 6, 8),
        "blocks": (1, 1, 1),
        "decoder_blocks": (1, 1),
        "kernels": ((3,) * rank, (1, *(3,) * (rank - 1)), (3,) * rank),
        "strides": ((1,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank),
        "encoder": "residual",
        "norm": NORMS[rank],
    }
    if stages == 2:  # an exporter's time grows with every operation, most of all on three axes
        network |= {key: network[key][:2] for key in ("widths", "blocks", "kernels")}
        network |= {"decoder_blocks": (1,), "strides": ((1,) * rank, (2, 1, 2)[:rank])}
    data = {**EXAMPLE["data"], "rank": rank, "channels": ["near", "far"]}
    inference = {"tile_size": (16,) * rank}
    preparation = {"normalization": [{"scheme": "zscore"}] * 2}
    changes = {"data": data, "network": network, "inference": inference, "preparation": preparation}
    return Plan.model_validate({**EXAMPLE, **changes})


def network_of(plan: Plan) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build(plan.network, rank=plan.data.rank, in_channels=2, classes=2)
    with torch.no_grad():  # a new residual block is its skip alone
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    network(torch.randn(2, 2, *(24,) * plan.data.rank))  # batch norms see something
    return network.eval()


def made(name: str, network: torch.nn.Module, plan: Plan, folder):
    row = pick("runtime", RUNTIMES, name)
    if not hasattr(row, "export"):
        return row(network, torch.device("cpu"), Layout("float32", "channels_last"))
    standing_in = hasattr(row, "stand_in") and importlib.util.find_spec("tensorrt") is None
    for package in row.PACKAGES:
        if package != "tensorrt":
            pytest.importorskip(package, reason=f"{package} is not installed")
    row.export(network, plan, folder)
    files = {file: (folder / file).read_bytes() for file in row.FILES}
    return row.stand_in(files)[0] if standing_in else row.load(files)


@pytest.mark.parametrize(("name", "rank"), list(itertools.product(sorted(RUNTIMES), (2, 3))))
def test_it_answers_as_torch_for_any_batch_and_size(name, rank, tmp_path, written_once):
    plan = plan_of(rank, stages=5 - rank)
    with written_once("network", rank):
        runtime = made(name, network_of(plan), plan, tmp_path)
    reference = PytorchRuntime(network_of(plan), torch.device("cpu"), Layout())
    half = name == "tensorrt"
    random = np.random.default_rng(1)
    for batch, size in enumerate(SIZES[rank], start=1):
        tile = random.standard_normal((batch, 2, *size)).astype(np.float32)
        got, wanted = runtime.run(tile), reference.run(tile)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        if half:  # a relative error of 1/2048 in every value on the way
            np.testing.assert_allclose(
                got, wanted, rtol=0, atol=0.02 * np.abs(wanted).max(), err_msg=str(size)
            )
        else:
            np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4, err_msg=str(size))
    for size in PICTURES if rank == 2 else []:
        pixels = random.integers(1, 250, (2, *size), dtype=np.uint8)
        mine, other = (
            Predictor(each, plan.data, plan.preparation, plan.inference).array(pixels, probabilities=True)
            for each in (runtime, reference)
        )
        assert mine.labels.shape == size
        shares, wanted = mine.probabilities, other.probabilities
        assert shares is not None
        assert wanted is not None
        np.testing.assert_allclose(shares, wanted, rtol=0, atol=0.02 if half else 1e-4, err_msg=str(size))
        sure = np.abs(wanted[1] - wanted[0]) > (0.04 if half else 1e-3)
        np.testing.assert_array_equal(mine.labels[sure], other.labels[sure])
    if name != "pytorch":
        files = pick("runtime", RUNTIMES, name).FILES
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(files)


RULES = (Intensity(20.0, 240.0, 97.0, 1 / 31), Intensity(-np.inf, np.inf, 0.0, 1 / 255))


@pytest.mark.parametrize("name", ["onnx", "openvino"])
def test_pixels_as_stored_go_in_and_classes_may_come_out(name, tmp_path, written_once):
    """That logits may come out as well: ``tests/workflows/test_ends.py``."""
    plan = plan_of(2, stages=2)
    ends = {"network_input": "uint8", "network_output": "classes"}
    plan = plan.model_copy(update={"inference": plan.inference.model_copy(update=ends)})
    network = network_of(plan)
    with written_once("ends"):
        runtime = made(name, with_ends(network, plan.inference, RULES), plan, tmp_path)
    reference = PytorchRuntime(network, torch.device("cpu"), Layout())
    random = np.random.default_rng(1)
    for batch, size in enumerate(SIZES[2], start=1):
        pixels = random.integers(0, 256, (batch, 2, *size), dtype=np.uint8)
        wanted = reference.run(np.stack([apply_intensity(each, RULES) for each in pixels]))
        got = runtime.run(pixels)
        assert (got.dtype, got.shape) == (np.uint8, (batch, *size))
        sure = np.abs(wanted[:, 1] - wanted[:, 0]) > 1e-3
        assert np.array_equal(got[sure], wanted.argmax(axis=1)[sure])
        assert sure.mean() > 0.9
    with pytest.raises(UsageError, match="takes uint8 pixels, the plan gives it float32"):
        runtime.run(np.zeros((1, 2, 8, 8), np.float32))
