"""Every row of the network families meets its contract, in 2 and 3 axes."""

import itertools

import pytest
import torch

from unetkit.lookup import pick
from unetkit.networks.bottlenecks import BOTTLENECKS
from unetkit.networks.decoders import DECODERS
from unetkit.networks.encoders import ENCODERS
from unetkit.networks.fusions import FUSIONS
from unetkit.networks.store import load_model, save_model
from unetkit.networks.unet import build
from unetkit.records.plan import EXAMPLE, NetworkPlan, Plan
from unetkit.runtimes.onnx import OnnxRuntime
from unetkit.spatial.memory_format import arranged, channels_last, memory_format

ROWS = sorted(
    {(encoder, "identity", "concat", "unet") for encoder in ENCODERS}
    | {("plain", bottleneck, "concat", "unet") for bottleneck in BOTTLENECKS}
    | {("plain", "identity", fusion, "unet") for fusion in FUSIONS}
    | {("plain", "identity", "concat", decoder) for decoder in DECODERS}
)
CASES = list(itertools.product(ROWS, (2, 3)))


def backbone_plan(rank: int) -> dict:
    """The finest three stages of the smallest backbone timm has."""
    pytest.importorskip("timm", reason="timm is not installed")
    from unetkit.networks.encoders.timm import plan_of

    asked = plan_of("test_resnet", rank)
    return {"backbone": asked["backbone"], "widths": asked["widths"][:3], "strides": asked["strides"][:3]}


def keep_statistics(network: torch.nn.Module) -> None:
    """Batch norms as they are in use; a backbone brings its own."""
    for module in network.modules():
        if getattr(module, "running_mean", None) is not None:
            module.eval()


def network_plan(row: tuple[str, ...], rank: int, **changes) -> NetworkPlan:
    encoder, bottleneck, fusion, decoder = row
    if encoder == "timm":
        changes = {**backbone_plan(rank), **changes}
    if encoder == "hybrid":  # a unit is a quarter as wide inside, where one channel may well be dead
        changes = {"widths": (16, 24, 32), **changes}
    return NetworkPlan(
        **{
            "encoder": encoder,
            "bottleneck": bottleneck,
            "fusion": fusion,
            "decoder": decoder,
            "widths": (4, 6, 8),
            "blocks": (1, 2, 1),
            "decoder_blocks": (1, 1),
            "kernels": ((3,) * rank, (1, *(3,) * (rank - 1)), (3,) * rank),
            "strides": ((1,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank),
            "bottleneck_blocks": 1,
            **changes,
        }
    )


@pytest.mark.parametrize(("row", "rank"), CASES)
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_any_size_and_any_number_of_channels(row, rank, channels):
    network = build(network_plan(row, rank), rank=rank, in_channels=channels, classes=3).eval()
    size = (37, 41) if rank == 2 else (5, 11, 9)
    assert network(torch.randn(1, channels, *size)).shape == (1, 3, *size)


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_an_image_smaller_than_a_stride_has_an_answer_too(row, rank):
    network = build(network_plan(row, rank), rank=rank, in_channels=1, classes=2).eval()
    for size in ((1, 1, 1), (3, 1, 2)):
        logits = network(torch.randn(1, 1, *size[:rank]))
        assert logits.shape == (1, 2, *size[:rank])
        assert logits.isfinite().all()


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("fusion", sorted(FUSIONS))
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_every_fusion_works_in_every_decoder(decoder, fusion, rank):
    plan = network_plan(("plain", "identity", fusion, decoder), rank, decoder_widths=(5, 7))
    network = build(plan, rank=rank, in_channels=1, classes=2).eval()
    size = (7, 9, 6)[:rank]
    assert network(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("upsampling", ["transposed", "transposed_wide", "linear"])
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_a_strided_first_stage_still_answers_at_the_images_size(decoder, upsampling, rank):
    strides = ((2,) * rank, (1, *(2,) * (rank - 1)), (2,) * rank)
    size = (9, 7, 6)[:rank]
    for widths in ((), (6, 7), (4, 5, 6)):
        plan = network_plan(
            ("plain", "identity", "concat", decoder),
            rank,
            strides=strides,
            decoder_widths=widths,
            upsampling=upsampling,
            deep_supervision=2,
        )
        network = build(plan, rank=rank, in_channels=1, classes=2)
        fine, coarse = network(torch.randn(2, 1, *size))
        assert fine.shape == (2, 2, *size)
        stride = 1 if decoder == "unetpp" else 2 if len(widths) == 3 else 4
        assert coarse.shape[-1] == -(-size[-1] // stride)
        assert network.eval()(torch.randn(1, 1, *size)).shape == (1, 2, *size)


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_heads_beyond_the_finest_are_for_training_only(row, rank):
    network = build(network_plan(row, rank, deep_supervision=2), rank=rank, in_channels=1, classes=2)
    x = torch.randn(2, 1, *(8, 16, 16)[-rank:])
    keep_statistics(network)
    trained = network(x)
    torch.testing.assert_close(network.eval()(x), trained[0], rtol=1e-4, atol=1e-5)
    with torch.no_grad():
        for value in network.heads[1].parameters():
            value.fill_(torch.nan)
    assert network(x).isfinite().all()


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_a_bfloat_network_answers_nearly_the_same(row, rank):
    network = build(network_plan(row, rank), rank=rank, in_channels=1, classes=2).eval()
    x = torch.randn(1, 1, *(8, 16, 16)[-rank:])
    with torch.autocast("cpu", torch.bfloat16):
        half = network(x)
    wanted = network(x)
    assert (half.float() - wanted).abs().mean() < 0.1 * wanted.abs().mean()


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_the_gradient_reaches_every_parameter(row, rank):
    torch.manual_seed(0)
    network = build(network_plan(row, rank, deep_supervision=2), rank=rank, in_channels=1, classes=2)
    with torch.no_grad():  # a residual block starts with a scale of zero, behind which nothing moves yet
        for value in network.parameters():
            value.add_(0.1 * torch.randn_like(value))
    outputs = network(torch.randn(2, 1, *(8, 16, 16)[-rank:]))
    assert len(outputs) == 2
    sum(output.square().mean() for output in outputs).backward()
    for name, value in network.named_parameters():
        assert value.grad is not None, name
        assert value.grad.isfinite().all(), name
        assert value.grad.abs().max() > 0, name


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_a_sample_does_not_know_its_neighbours(row, rank):
    network = build(network_plan(row, rank), rank=rank, in_channels=1, classes=2).eval()
    x = torch.randn(2, 1, *(8, 16, 16)[-rank:])
    torch.testing.assert_close(network(x)[:1], network(x[:1]), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_it_survives_the_model_folder(row, rank, tmp_path):
    plan = Plan.model_validate(
        {
            **EXAMPLE,
            "data": {**EXAMPLE["data"], "rank": rank},
            "network": network_plan(row, rank, deep_supervision=2).model_dump(),
        }
    )
    network = build(plan.network, rank=rank, in_channels=1, classes=2).eval()
    save_model(tmp_path, network, plan)
    x = torch.randn(1, 1, *(8, 16, 16)[-rank:])
    loaded, read = load_model(tmp_path)
    assert read == plan
    assert torch.equal(loaded(x), network(x))


@pytest.mark.parametrize(("row", "rank"), CASES)
def test_channels_last_gives_the_same_numbers_in_its_own_format(row, rank):
    network = build(network_plan(row, rank), rank=rank, in_channels=2, classes=3).eval()
    x = torch.randn(2, 2, *(8, 16, 16)[-rank:])
    wanted = network(x)
    got = network.to(memory_format=channels_last(rank))(arranged(x, "channels_last"))
    torch.testing.assert_close(got, wanted, rtol=1e-3, atol=1e-4)
    assert memory_format(got) == channels_last(rank)


def simple(row: tuple[str, ...]) -> torch.nn.Module:
    plan = network_plan(row, 2, dropout=0.1)
    return build(plan, rank=2, in_channels=1, classes=2).eval()


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("decoder", sorted(DECODERS))
def test_a_compiler_sees_one_graph(decoder):
    network, x = simple(("residual", "identity", "attention", decoder)), torch.randn(1, 1, 13, 18)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), network(x), rtol=1e-3, atol=1e-4)


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize(("pyramid", "widths"), [("input", ()), ("levels", (4, 4, 6))])
def test_a_compiler_sees_pyramids_and_last_stages(pyramid, widths):
    row = ("plain", "identity", "light", "unet")
    plan = network_plan(row, 2, pyramid=pyramid, strides=((2, 2),) * 3, decoder_widths=widths)
    network, x = build(plan, rank=2, in_channels=1, classes=2).eval(), torch.randn(1, 1, 13, 18)
    compiled = torch.compile(network, backend="eager", fullgraph=True)
    torch.testing.assert_close(compiled(x), network(x), rtol=1e-3, atol=1e-4)


TOGETHER = [
    ("convnext", "aspp", "add", "convnext"),
    ("doubling", "vit", "attention", "unet"),
    ("hybrid", "identity", "concat", "cup"),
    ("plain", "transformer", "scse", "fpn"),
    ("residual", "identity", "light", "unet3p"),
    ("timm", "identity", "concat", "unetpp"),
]
"""Every part of every family, in as few networks as hold them: an exporter takes seconds for each."""


def test_every_part_is_exported():
    families = (ENCODERS, BOTTLENECKS, FUSIONS, DECODERS)
    assert [set(parts) for parts in zip(*TOGETHER, strict=True)] == [set(family) for family in families]


@pytest.mark.usefixtures("unchecked")
@pytest.mark.parametrize("row", TOGETHER, ids="-".join)
def test_onnx_answers_as_torch_does_for_any_size(row, tmp_path):
    pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
    pytest.importorskip("onnxscript", reason="onnxscript is not installed")
    plan = network_plan(row, 2, blocks=(1, 1, 1), norm="group" if "fpn" in row else "instance")
    if row[-1] in ("convnext", "fpn", "unet", "cup"):  # its time grows with every operation
        two = {name: getattr(plan, name)[:2] for name in ("widths", "blocks", "kernels", "strides")}
        plan = plan.model_copy(update={**two, "decoder_blocks": (1,)})
    network = build(plan, rank=2, in_channels=1, classes=2).eval()
    OnnxRuntime.export(network, Plan.model_validate({**EXAMPLE, "network": network.plan}), tmp_path)
    runtime = OnnxRuntime((tmp_path / "network.onnx").read_bytes())
    for batch, size in ((1, (13, 18)), (3, (32, 7)), (2, (1, 7)), (1, (5, 90))):
        x = torch.randn(batch, 1, *size)
        torch.testing.assert_close(torch.from_numpy(runtime.run(x.numpy())), network(x), rtol=1e-3, atol=1e-4)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_an_encoder_that_shows_its_stages_is_their_chain(name, rank):
    encoder = pick("encoder", ENCODERS, name)(network_plan((name, "", "", ""), rank), rank, 2).eval()
    if not hasattr(encoder, "stages"):
        pytest.skip("it does not show its stages")
    x = torch.randn(1, 2, *(8, 16, 16)[-rank:])
    wanted = encoder(x)
    here = encoder.stem(x) if hasattr(encoder, "stem") else x
    for stage, feature in zip(encoder.stages, wanted, strict=True):
        here = stage(here)
        assert torch.equal(here, feature)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_an_encoder_says_what_it_gives(name, rank):
    plan = network_plan((name, "identity", "concat", "unet"), rank)
    encoder = pick("encoder", ENCODERS, name)(plan, rank, 2)
    size = (8, 16, 16)[-rank:]
    features = encoder(torch.randn(1, 2, *size))
    assert tuple(feature.shape[1] for feature in features) == encoder.channels
    for feature, stride in zip(features, encoder.strides, strict=True):
        size = tuple(length // step for length, step in zip(size, stride, strict=True))
        assert feature.shape[2:] == size


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(ENCODERS))
def test_each_weight_of_an_encoder_is_in_one_stage_and_moves_no_finer_feature(name, rank):
    encoder = pick("encoder", ENCODERS, name)(network_plan((name, "", "", ""), rank), rank, 2).eval()
    stages = encoder.blocks_by_stage()
    assert len(stages) == len(encoder.channels)
    weights = [[weight for block in stage for weight in block.parameters()] for stage in stages]
    assert sorted(id(weight) for stage in weights for weight in stage) == sorted(
        map(id, encoder.parameters())
    )
    x = torch.randn(1, 2, *(8, 16, 16)[-rank:])
    with torch.no_grad():
        before = encoder(x)
        for weight in weights[1]:
            weight.add_(torch.randn_like(weight))
        after = encoder(x)
    same = [torch.equal(one, other) for one, other in zip(before, after, strict=True)]
    assert same == [True] + [False] * (len(stages) - 1)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(DECODERS))
def test_a_decoder_says_what_it_gives(name, rank):
    plan = network_plan(("plain", "identity", "concat", name), rank)
    encoder = pick("encoder", ENCODERS, "plain")(plan, rank, 1)
    decoder = pick("decoder", DECODERS, name)(plan, rank, encoder)
    outputs = decoder(encoder(torch.randn(1, 1, *(8, 16, 16)[-rank:])))
    assert tuple(output.shape[1] for output in outputs) == tuple(decoder.channels)
    assert outputs[0].shape[2:] == (8, 16, 16)[-rank:]


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(FUSIONS))
def test_a_fusion_says_what_it_gives(name, rank):
    fusion = pick("fusion", FUSIONS, name)(3, 5, (2,) * rank)
    size = (4, 6, 5)[-rank:]
    fused = fusion(torch.randn(2, 3, *size), torch.randn(2, 5, *size))
    assert fused.shape == (2, fusion.channels, *size)


@pytest.mark.parametrize("rank", [2, 3])
@pytest.mark.parametrize("name", sorted(BOTTLENECKS))
def test_a_bottleneck_keeps_the_shape(name, rank):
    plan = network_plan(("plain", name, "concat", "unet"), rank)
    bottleneck = pick("bottleneck", BOTTLENECKS, name)(plan, rank, 8).train()
    for size in ((4, 6, 5), (1, 1, 1), (1, 3, 2)):
        x = torch.randn(1, 8, *size[-rank:])
        assert bottleneck(x).shape == x.shape
