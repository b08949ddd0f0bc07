"""Eight bits: every part of every family counts so or stays as it is; engines compute in whole numbers."""

import tempfile
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch

from unetkit.compression.quantize import quantized
from unetkit.lookup import pick
from unetkit.networks.decoders import DECODERS
from unetkit.networks.ends import with_ends
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.unet import build
from unetkit.records.case import Intensity
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan
from unetkit.runtimes import RUNTIMES
from unetkit.runtimes.onnx_half import untyped
from unetkit.spatial.intensity import apply_intensity, stored_pixels

ENGINES = [name for name in sorted(RUNTIMES) if name not in ("pytorch", "tensorrt")]
PARTS = [
    *({"decoder": name} for name in sorted(DECODERS) if name not in ("convnext", "cup")),
    *({"fusion": name} for name in sorted(FUSIONS)),
    *({"encoder": name} for name in ("plain", "residual", "doubling")),
    {"bottleneck": "aspp"},
    {"upsampling": "linear"},
    {"upsampling": "transposed_wide"},
    {"pyramid": "input"},
    {"pyramid": "levels"},
    {"decoder": "convnext", "encoder": "convnext", "fusion": "add", "norm": "group"},
    {"norm": "instance"},
]


def network_of(rank=2, **changes):
    plan = {
        "widths": (8, 8, 16),
        "blocks": (1, 1, 1),
        "decoder_blocks": (1, 1),
        "kernels": ((3,) * rank,) * 3,
        "strides": ((1,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank),
        "norm": "batch",
        **changes,
    }
    torch.manual_seed(0)
    network = build(NetworkPlan(**plan), rank=rank, in_channels=1, classes=3)
    with torch.no_grad():
        for value in network.parameters():  # a new residual block is its skip alone, and new gates are open
            value.add_(0.05 * torch.randn_like(value))
        for _ in range(2):
            network.train()(torch.randn(2, 1, *(24,) * rank))
    return network.eval()


def shallow(rank=2, **changes):
    """One of two stages: an exporter's time grows with every operation, most of all on three axes."""
    stages = {"widths": (8, 16), "blocks": (1, 1), "decoder_blocks": (1,)}
    shape = {"kernels": ((3,) * rank,) * 2, "strides": ((1,) * rank, (1, 2, 2)[-rank:])}
    return network_of(rank, **stages, **shape, **changes)


@pytest.mark.parametrize("changes", PARTS, ids=lambda changes: "-".join(changes.values()))
@pytest.mark.parametrize("rank", [2, 3])
def test_every_part_survives(changes, rank):
    network = network_of(rank, **changes)
    image = torch.randn(1, 1, *(24,) * rank)
    made = quantized(network, [image])
    with torch.no_grad():
        wanted, got = network(image), made(image)
    assert (got - wanted).square().mean() < 0.02 * wanted.square().mean()
    made.train()
    answers = made(torch.randn(2, 1, *(24,) * rank))
    loss = sum(one.square().mean() for one in (answers if isinstance(answers, list) else [answers]))
    loss.backward()
    named = dict(made.named_parameters())
    kernels = [named[f"{name}.weight"] for name in made.quantization.placement.convolutions]
    learns = [bool(kernel.grad.abs().sum() > 0) for kernel in kernels]
    assert sum(learns) >= 0.9 * len(learns)  # an activation may be zero for the whole of so few pixels


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(
    ("name", "rank", "changes"),
    [
        *((name, 3, {}) for name in ENGINES),
        ("onnx", 2, {"encoder": "residual", "upsampling": "linear", "fusion": "add"}),
        ("openvino", 2, {"norm": "instance", "fusion": "attention"}),
    ],
)
def test_every_convolution_of_an_engine_is_integer(name, rank, changes, written_once):
    runtime = pick("runtime", RUNTIMES, name)
    for package in runtime.PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed")
    made = quantized(shallow(rank, **changes), [torch.randn(1, 1, *(24,) * rank)])
    data = {**EXAMPLE["data"], "rank": rank}
    plan = Plan.model_validate({**EXAMPLE, "network": made.plan.model_dump(), "data": data})
    with tempfile.TemporaryDirectory() as folder, written_once("integer", rank, *changes.values()):
        runtime.export(made, plan, Path(folder))
        files = {file: (Path(folder) / file).read_bytes() for file in runtime.FILES}
    found = runtime.convolutions(files)
    assert found["integer"] == len(made.quantization.in_use(made))
    assert found["float"] == 0
    engine = runtime.load(files)
    for size in ((24,) * rank, (17, 21, 19)[:rank]):
        tile = torch.randn(1, 1, *size)
        with torch.no_grad():
            wanted = made(tile).numpy()
        apart = np.abs(engine.run(tile.numpy()) - wanted)
        assert apart.mean() < 0.005 * np.abs(wanted).max()
        assert apart.max() < 0.05 * np.abs(wanted).max()


@pytest.mark.usefixtures("unchecked")
def test_a_file_for_tensorrt_has_signs_and_zeros_at_zero(tmp_path):
    """Its structure, read from the graph, and what it says, computed by onnxruntime: TensorRT is not here."""
    row = pick("runtime", RUNTIMES, "tensorrt")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    for package in ("onnxruntime", "onnxscript"):
        pytest.importorskip(package, reason=f"{package} is not installed")
    made = quantized(shallow(), [torch.randn(1, 1, 24, 24)], symmetric=True)
    plan = Plan.model_validate({**EXAMPLE, "network": made.plan.model_dump()})
    row.export(made, plan, tmp_path)
    files = {file: (tmp_path / file).read_bytes() for file in row.FILES}
    convolutions = len(made.quantization.in_use(made))
    assert row.convolutions(files) == {"integer": convolutions, "float": 0}
    graph = onnx.load_from_string(files["network.onnx"]).graph
    held = {one.name: onnx.numpy_helper.to_array(one) for one in graph.initializer}
    grids = [node for node in graph.node if node.op_type in ("QuantizeLinear", "DequantizeLinear")]
    assert {(held[node.input[2]].dtype.name, int(held[node.input[2]].max())) for node in grids} == {
        ("int8", 0)
    }
    maker = {name: node for node in graph.node for name in node.output}
    kernels = [maker[node.input[1]] for node in graph.node if node.op_type == "Conv"]
    assert all(held[one.input[0]].dtype == np.int8 for one in kernels)
    assert [held[one.input[1]].shape for one in kernels] == [held[one.input[0]].shape[:1] for one in kernels]
    assert "Concat" in {node.op_type for node in graph.node}
    assert untyped(onnx.load_from_string(files["network.onnx"])) == ()
    for size in ((24, 24), (17, 21)):
        tile = torch.randn(1, 1, *size)
        with torch.no_grad():
            wanted = made(tile).numpy()
        apart = np.abs(row.stand_in(files)[0].run(tile.numpy()) - wanted)
        assert apart.mean() < 0.005 * np.abs(wanted).max()
        assert apart.max() < 0.05 * np.abs(wanted).max()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("name", ENGINES)
def test_stored_pixels_go_into_eight_bits_too(name, tmp_path, written_once):
    runtime = pick("runtime", RUNTIMES, name)
    for package in runtime.PACKAGES:
        pytest.importorskip(package, reason=f"{package} is not installed")
    rule = (Intensity(-np.inf, np.inf, 127.0, 1 / 12),)
    pixels = stored_pixels(np.random.default_rng(0).standard_normal((1, 1, 24, 31)))
    ready = torch.from_numpy(apply_intensity(pixels[0], rule))[None]
    made = quantized(shallow(), [ready])
    ends = {"network_input": "uint8", "network_output": "classes"}
    inference = {**EXAMPLE["inference"], **ends}
    plan = Plan.model_validate({**EXAMPLE, "network": made.plan.model_dump(), "inference": inference})
    whole = with_ends(made, plan.inference, rule)
    assert not whole.network.folded
    with written_once("stored"):
        runtime.export(whole, plan, tmp_path)
    files = {file: (tmp_path / file).read_bytes() for file in runtime.FILES}
    assert runtime.convolutions(files) == {"integer": len(made.quantization.in_use(made)), "float": 0}
    with torch.no_grad():
        wanted = made(ready).argmax(1).numpy()
    assert (runtime.load(files).run(pixels) == wanted).mean() > 0.97


@pytest.mark.usefixtures("unchecked")
def test_onnxruntime_leaves_whole_numbers_only_at_the_end(tmp_path):
    engine = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    onnx = pytest.importorskip("onnx", reason="onnx is not installed")
    made = quantized(shallow(), [torch.randn(1, 1, 24, 24)], whole=True)
    plan = Plan.model_validate({**EXAMPLE, "network": made.plan.model_dump()})
    pick("runtime", RUNTIMES, "onnx").export(made, plan, tmp_path)
    options = engine.SessionOptions()
    options.log_severity_level = 3
    options.optimized_model_filepath = str(tmp_path / "optimised.onnx")
    engine.InferenceSession(str(tmp_path / "network.onnx"), options, providers=["CPUExecutionProvider"])
    kinds = Counter(node.op_type for node in onnx.load(tmp_path / "optimised.onnx").graph.node)
    assert (kinds["QuantizeLinear"], kinds["DequantizeLinear"]) == (1, 1)  # the image, and the logits
    assert not {"Conv", "FusedConv", "Sigmoid", "LeakyRelu", "QLinearLeakyRelu", "DepthToSpace"} & set(kinds)
