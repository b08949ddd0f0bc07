"""Bytes laid out otherwise: the same answers, to the bit."""

import numpy as np
import pytest

from unetkit.runtimes.onnx_layout import lay_out

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
engine = pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
helper, array = onnx.helper, onnx.numpy_helper
GRID = {"scale": np.array(0.05, "f"), "middle": np.array(128, np.uint8), "zero": np.array(0, np.uint8)}


def model_of(nodes, tensors, channels):
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", onnx.TensorProto.FLOAT, ["n", channels, "h", "w"])],
        [helper.make_tensor_value_info("logits", onnx.TensorProto.FLOAT, list("abcd"))],
        [array.from_array(value, name) for name, value in (GRID | tensors).items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def pair(name, given, zero="middle"):
    """Bytes ``NAME_q`` of values, and the values they stand for."""
    return [
        helper.make_node("QuantizeLinear", [given, "scale", zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", "scale", zero], [name]),
    ]


def kernel_of(out_channels, in_channels, size=1, *, groups=1):
    random = np.random.default_rng(0)
    shape = (out_channels, in_channels // groups, size, size)
    return {
        "w_q": random.integers(-127, 128, shape).astype(np.int8),
        "steps": random.uniform(0.001, 0.01, out_channels).astype("f"),
        "none": np.zeros(out_channels, np.int8),
        "bias": random.standard_normal(out_channels).astype("f"),
    }


KERNEL = helper.make_node("DequantizeLinear", ["w_q", "steps", "none"], ["w"], axis=0)


def answer(model, image):
    """As the graph is written: onnxruntime changes nothing about it."""
    options = engine.SessionOptions()
    options.graph_optimization_level = engine.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.intra_op_num_threads = 1
    session = engine.InferenceSession(model.SerializeToString(), options, providers=["CPUExecutionProvider"])
    return session.run(None, {"image": image})[0]


def laid_out(model, *sizes):
    """The kinds of its operations, once it was found to answer as before."""
    channels = model.graph.input[0].type.tensor_type.shape.dim[1].dim_value
    images = [np.random.default_rng(1).standard_normal((2, channels, *size)).astype("f") for size in sizes]
    before = [answer(model, image) for image in images]
    lay_out(model.graph)
    onnx.checker.check_model(model)
    for image, wanted in zip(images, before, strict=True):
        np.testing.assert_allclose(answer(model, image), wanted, atol=1e-5)
    return [node.op_type for node in model.graph.node]


def pooling(fill, *, stride=2, sides=None):
    """Bytes filled up to whole blocks, by a number that depends on the size of the image, then pooled."""
    tensors = {
        "fill": np.array(fill, np.uint8),
        "two": np.array(2),
        "nothing": np.zeros(6, np.int64),
        "cut": np.array([2]),
        "end": np.array([4]),
    }
    nodes = [
        *pair("x", "image"),
        helper.make_node("Shape", ["image"], ["size"]),
        helper.make_node("Slice", ["size", "cut", "end"], ["plane"]),
        helper.make_node("Mod", ["plane", "two"], ["missing"]),
        helper.make_node("Concat", ["nothing", "missing"], ["sides"], axis=0),
        helper.make_node("Pad", ["x_q", sides or "sides", "fill"], ["filled"]),
        helper.make_node("MaxPool", ["filled"], ["pooled"], kernel_shape=[2, 2], strides=[stride] * 2),
        helper.make_node("DequantizeLinear", ["pooled", "scale", "middle"], ["logits"]),
    ]
    return model_of(nodes, tensors | {"fixed": np.array([0] * 6 + [1] * 2)}, 3)


def test_a_part_of_a_block_is_pooled_without_filling_it_up():
    model = pooling(0)
    laid_out(model, (4, 6), (5, 7), (1, 1))
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    assert pool.input[0] == "x_q"
    assert {one.name: one.i for one in pool.attribute}["ceil_mode"] == 1


@pytest.mark.parametrize("changes", [{"fill": 200}, {"fill": 0, "stride": 1}, {"fill": 0, "sides": "fixed"}])
def test_what_is_filled_up_otherwise_stays_so(changes):
    model = pooling(**changes)
    laid_out(model, (4, 6), (5, 7))
    pool = next(node for node in model.graph.node if node.op_type == "MaxPool")
    assert pool.input[0] == "filled"


def test_bytes_are_cut_at_the_step_that_is_zero():
    nodes = [
        *pair("x", "image"),
        helper.make_node("LeakyRelu", ["x"], ["cut"], alpha=0.0),
        *pair("y", "cut"),
        helper.make_node("Neg", ["y"], ["logits"]),
    ]
    model = model_of(nodes, {}, 2)
    kinds = laid_out(model, (3, 4))
    assert "LeakyRelu" not in kinds
    clip = model.graph.node[kinds.index("Clip")]
    assert (clip.input[0], clip.output[0]) == ("x_q", "y_q")


@pytest.mark.parametrize(("alpha", "zero"), [(0.1, "middle"), (0.0, "zero")])
def test_what_leaks_or_changes_its_grid_stays_an_activation(alpha, zero):
    nodes = [
        *pair("x", "image"),
        helper.make_node("LeakyRelu", ["x"], ["cut"], alpha=alpha),
        *pair("y", "cut", zero),
        helper.make_node("Neg", ["y"], ["logits"]),
    ]
    assert "LeakyRelu" in laid_out(model_of(nodes, {}, 2), (3, 4))


def convolving(out_channels, in_channels, *, groups=1):
    nodes = [
        *pair("x", "image"),
        KERNEL,
        helper.make_node("Conv", ["x", "w", "bias"], ["logits"], pads=[1, 1, 1, 1], group=groups),
    ]
    return model_of(nodes, kernel_of(out_channels, in_channels, 3, groups=groups), in_channels)


@pytest.mark.parametrize("channels", [1, 3, 6])
def test_an_image_gets_channels_of_nothing_up_to_four(channels):
    model = convolving(16, channels)
    assert "Pad" in laid_out(model, (5, 6))
    made = {one.name: one for one in model.graph.initializer}
    reader = next(node for node in model.graph.node if node.op_type == "Conv").input[1]
    kernel = next(node for node in model.graph.node if node.output[0] == reader).input[0]
    assert array.to_array(made[kernel]).shape[1] == -(-channels // 4) * 4


@pytest.mark.parametrize(
    "changes",
    [{"in_channels": 4}, {"out_channels": 8}, {"in_channels": 18, "out_channels": 18, "groups": 18}],
)
def test_other_convolutions_stay_as_they_are(changes):
    assert "Pad" not in laid_out(convolving(**{"out_channels": 16, "in_channels": 3} | changes), (5, 6))


def spreading(mode="CRD"):
    nodes = [
        *pair("x", "image"),
        KERNEL,
        helper.make_node("Conv", ["x", "w", "bias"], ["made"]),
        *pair("y", "made")[:1],
        helper.make_node("DepthToSpace", ["y_q"], ["wide"], blocksize=2, mode=mode),
        helper.make_node("DequantizeLinear", ["wide", "scale", "middle"], ["logits"]),
    ]
    return model_of(nodes, kernel_of(12, 5), 5)


def test_blocks_are_laid_out_pixel_by_pixel():
    kinds = laid_out(spreading(), (3, 4), (1, 1))
    assert "DepthToSpace" not in kinds
    assert kinds.count("Transpose") == 3


def test_blocks_in_another_order_stay():
    assert "DepthToSpace" in laid_out(spreading("DCR"), (3, 4))


def test_blocks_that_somebody_else_reads_stay():
    model = spreading()
    model.graph.node.append(helper.make_node("DequantizeLinear", ["y_q", "scale", "middle"], ["seen"]))
    model.graph.output.append(helper.make_tensor_value_info("seen", onnx.TensorProto.FLOAT, list("abcd")))
    assert "DepthToSpace" in laid_out(model, (3, 4))
