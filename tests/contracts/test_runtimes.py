"""Every runtime answers as torch does, for any batch and any size, on two and on three axes."""

import itertools

import numpy as np
import pytest
import torch

from unetkit.lookup import pick
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.runtimes import RUNTIMES
from unetkit.runtimes.devices import Layout
from unetkit.runtimes.pytorch import PytorchRuntime

pytestmark = pytest.mark.usefixtures("unchecked")

SIZES = {
    2: [(37, 41), (64, 48), (1, 7), (1, 1), (5, 90)],
    3: [(9, 11, 13), (16, 8, 24), (1, 7, 6), (1, 1, 1), (5, 2, 40)],
}
ROWS = {
    "residual": {"encoder": "residual"},
    "gates": {"fusion": "attention", "norm": "batch"},
    "separable": {"decoder": "fpn", "fusion": "scse", "norm": "group"},
}
"""What hangs on the size: pooling, padding, cropping, resizing; ``test_networks`` exports every row."""


def plan_of(row: str, rank: int) -> Plan:
    network = {
        "widths": (4, 6, 8),
        "blocks": (1, 1, 1),
        "decoder_blocks": (1, 1),
        "kernels": ((3,) * rank, (1, *(3,) * (rank - 1)), (3,) * rank),
        "strides": ((1,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank),
        **ROWS[row],
    }
    data = {**EXAMPLE["data"], "rank": rank, "channels": ["near", "far"]}
    inference = {"tile_size": (16,) * rank}
    preparation = {"normalization": [{"scheme": "zscore"}] * 2}
    changes = {"data": data, "network": network, "inference": inference, "preparation": preparation}
    return Plan.model_validate({**EXAMPLE, **changes})


def network_of(plan: Plan) -> torch.nn.Module:
    torch.manual_seed(0)
    network = build(plan.network, rank=plan.data.rank, in_channels=2, classes=2)
    with torch.no_grad():  # a new residual block is its skip alone, and new gates are open
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    network(torch.randn(2, 2, *(24,) * plan.data.rank))  # batch norms see something
    return network.eval()


def made(name: str, network: torch.nn.Module, plan: Plan, folder):
    row = pick("runtime", RUNTIMES, name)
    if not hasattr(row, "export"):
        return row(network, torch.device("cpu"), Layout("float32", "channels_last"))
    for package in row.PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed")
    row.export(network, plan, folder)
    return row.load({file: (folder / file).read_bytes() for file in row.FILES})


CASES = [
    *itertools.product(sorted(RUNTIMES), ["residual"], (2, 3)),
    ("onnx", "separable", 3),
    ("openvino", "gates", 2),
]


@pytest.mark.parametrize(("name", "row", "rank"), CASES)
def test_it_answers_as_torch_for_any_batch_and_size(name, row, rank, tmp_path):
    plan = plan_of(row, rank)
    network = network_of(plan)
    runtime = made(name, network, plan, tmp_path)
    reference = PytorchRuntime(network_of(plan), torch.device("cpu"), Layout())
    random = np.random.default_rng(1)
    for batch, size in enumerate(SIZES[rank], start=1):
        tile = random.standard_normal((batch, 2, *size)).astype(np.float32)
        got, wanted = runtime.run(tile), reference.run(tile)
        assert got.dtype == np.float32
        assert got.flags.c_contiguous
        np.testing.assert_allclose(got, wanted, rtol=1e-3, atol=1e-4, err_msg=str(size))
    if hasattr(runtime, "FILES"):
        assert sorted(path.name for path in tmp_path.iterdir()) == sorted(runtime.FILES)
