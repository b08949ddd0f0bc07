"""The graph of a network in eight bits: smaller, and the same."""

import numpy as np
import pytest

from unetkit.errors import UsageError
from unetkit.runtimes.qdq import counted, finish, write_signed

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper, array, reference = onnx.helper, onnx.numpy_helper, pytest.importorskip("onnx.reference")


def model_of(nodes, tensors, *, size=(1, 2, 4, 4)):
    floats = onnx.TensorProto.FLOAT
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", floats, size)],
        [helper.make_tensor_value_info("logits", floats, list("abcd"))],
        [array.from_array(value, name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


def answers(path, image):
    return reference.ReferenceEvaluator(str(path)).run(None, {"image": image})[0]


def pair(name, given, scale="scale", zero="zero"):
    return [
        helper.make_node("QuantizeLinear", [given, scale, zero], [f"{name}_q"]),
        helper.make_node("DequantizeLinear", [f"{name}_q", scale, zero], [name]),
    ]


GRID = {"scale": np.array(0.1, np.float32), "zero": np.array(100, np.uint8)}


def test_kernels_become_bytes(tmp_path):
    random = np.random.default_rng(0)
    kernel = random.standard_normal((3, 2)).astype(np.float32)
    tensors = {
        **GRID,
        "kernel": kernel,
        "axes": np.array([2, 3]),
        "steps": (abs(kernel).max(1) / 127).astype(np.float32),
        "none": np.zeros(3, np.int8),
    }
    nodes = [
        *pair("x", "image"),
        helper.make_node("Unsqueeze", ["kernel", "axes"], ["wide"]),
        helper.make_node("QuantizeLinear", ["wide", "steps", "none"], ["w_q"], axis=0),
        helper.make_node("DequantizeLinear", ["w_q", "steps", "none"], ["w"], axis=0),
        helper.make_node("Conv", ["x", "w"], ["logits"], doc_string="from somewhere"),
    ]
    path, image = tmp_path / "network.onnx", random.standard_normal((1, 2, 4, 4)).astype(np.float32)
    onnx.save(model_of(nodes, tensors), path)
    before = answers(path, image)
    finish(path, moves=True)
    np.testing.assert_array_equal(answers(path, image), before)
    graph = onnx.load(path).graph
    assert [node.op_type for node in graph.node] == [
        "QuantizeLinear",
        "DequantizeLinear",
        "DequantizeLinear",
        "Conv",
    ]
    assert not any(node.doc_string for node in graph.node)
    held = {one.name: array.to_array(one) for one in graph.initializer}
    assert len(held) == 5
    wanted = np.rint(kernel / tensors["steps"][:, None]).astype(np.int8)
    np.testing.assert_array_equal(held[graph.node[2].input[0]][:, :, 0, 0], wanted)


@pytest.mark.parametrize("moves", [True, False])
def test_bytes_are_moved_in_place_of_values(tmp_path, moves):
    tensors = {
        **GRID,
        "same": np.array(0.1, np.float32),
        "sides": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
        "first": np.array([0, 0]),
        "last": np.array([3, 3]),
        "low": np.array(-1e6, np.float32),
        "axes": np.array([2, 3]),
    }
    nodes = [
        *pair("x", "image"),
        helper.make_node("Pad", ["x", "sides"], ["edge"], mode="edge"),
        *pair("x1", "edge", scale="same"),
        helper.make_node("Slice", ["x1", "first", "last", "axes"], ["part"]),
        *pair("x2", "part"),
        helper.make_node("Pad", ["x2", "sides", "low"], ["around"]),
        *pair("x3", "around"),
        helper.make_node("MaxPool", ["x3"], ["pooled"], kernel_shape=[2, 2], strides=[2, 2]),
        *pair("x4", "pooled"),
        helper.make_node("Relu", ["x4"], ["logits"]),
    ]
    path = tmp_path / "network.onnx"
    image = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    onnx.save(model_of(nodes, tensors), path)
    before = answers(path, image)
    finish(path, moves=moves)
    np.testing.assert_array_equal(answers(path, image), before)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("QuantizeLinear") == (1 if moves else 3)  # behind each Pad once more


def test_values_go_from_one_grid_to_another_as_values(tmp_path):
    tensors = {
        **GRID,
        "other": np.array(0.2, np.float32),
        "sides": np.array([0, 0, 0, 0, 0, 0, 1, 1]),
    }
    nodes = [
        *pair("x", "image"),
        helper.make_node("Pad", ["x", "sides"], ["edge"], mode="edge"),
        *pair("x1", "edge", scale="other"),
        helper.make_node("Relu", ["x1"], ["logits"]),
    ]
    path = tmp_path / "network.onnx"
    onnx.save(model_of(nodes, tensors), path)
    finish(path, moves=True)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds.count("QuantizeLinear") == 2


def test_convolutions_are_counted(tmp_path):
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["x"]),
        helper.make_node("FusedConv", ["x", "kernel"], ["logits"], domain="com.microsoft"),
    ]
    onnx.save(model_of(nodes, {"kernel": np.zeros((2, 2, 1, 1), np.float32)}), tmp_path / "a.onnx")
    assert counted(tmp_path / "a.onnx") == {"integer": 0, "float": 2}


def test_a_symmetric_grid_is_written_with_a_sign(tmp_path):
    tensors = {**GRID, "middle": np.array(128, np.uint8)}
    nodes = [*pair("x", "image", zero="middle"), helper.make_node("Neg", ["x"], ["logits"])]
    path = tmp_path / "network.onnx"
    image = 20 * np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    onnx.save(model_of(nodes, tensors), path)
    before = answers(path, image)
    write_signed(path)
    np.testing.assert_array_equal(answers(path, image), before)
    (zero,) = [array.to_array(one) for one in onnx.load(path).graph.initializer if one.name == "middle"]
    assert zero.dtype == np.int8
    assert not zero.any()
    onnx.save(model_of(pair("logits", "image"), GRID), path)
    with pytest.raises(
        UsageError, match="expected every grid to have its zero in the middle, got 100"
    ) as refused:
        write_signed(path)
    assert refused.value.cure.startswith("export the model that it was made from with --int8 DATA")


def test_a_value_is_not_rounded_before_it_is_cut_at_zero_where_the_engine_fuses_both(tmp_path):
    tensors = {**GRID, "kernel": np.ones((2, 2, 1, 1), np.float32)}
    nodes = [
        helper.make_node("Conv", ["image", "kernel"], ["made"]),
        *pair("x", "made"),
        helper.make_node("LeakyRelu", ["x"], ["cut"], alpha=0.0),
        *pair("x1", "cut"),
        helper.make_node("Concat", ["x1", "x1"], ["both"], axis=1),
        *pair("x2", "both"),
        helper.make_node("Neg", ["x2"], ["logits"]),
    ]
    path = tmp_path / "network.onnx"
    image = np.random.default_rng(0).standard_normal((1, 2, 4, 4)).astype(np.float32)
    onnx.save(model_of(nodes, tensors), path)
    before = answers(path, image)
    finish(path, moves=False)
    np.testing.assert_array_equal(answers(path, image), before)
    kinds = [node.op_type for node in onnx.load(path).graph.node]
    assert kinds == ["Conv", "Relu", "QuantizeLinear", "DequantizeLinear", "Concat", "Neg"]
