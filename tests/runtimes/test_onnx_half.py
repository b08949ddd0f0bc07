"""A graph in half: every type stated, and numbers as half has them."""

import copy

import numpy as np
import pytest

from unetkit.errors import UsageError
from unetkit.runtimes.onnx import OnnxRuntime
from unetkit.runtimes.onnx_half import element_types, halve, rounded_copy, untyped

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
reference = pytest.importorskip("onnx.reference")
pytest.importorskip("onnxruntime", reason="onnxruntime is not installed")
helper, array, T = onnx.helper, onnx.numpy_helper, onnx.TensorProto
node = helper.make_node


def model_of(nodes, tensors, *, kind=T.FLOAT, answer=T.FLOAT):
    graph = helper.make_graph(
        nodes,
        "network",
        [helper.make_tensor_value_info("image", kind, ["b", 2, "h", "w"])],
        [helper.make_tensor_value_info("logits", answer, ["b", "k", "oh", "ow"])],
        [array.from_array(np.asarray(value), name) for name, value in tensors.items()],
    )
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 20)], ir_version=10)


RANDOM = np.random.default_rng(0)
TENSORS = {
    "shift": np.float32(0.25),
    "wide": RANDOM.standard_normal((4, 2, 3, 3), np.float32),
    "gain": np.full(4, 1.5, np.float32),
    "offset": np.full(4, 0.1, np.float32),
    "factors": np.array([1, 1, 2, 2], np.float32),
    "narrow": RANDOM.standard_normal((2, 8, 1, 1), np.float32),
    "axes": np.array([2, 3]),
}
NODES = [
    node("Sub", ["image", "shift"], ["centred"]),
    node("Conv", ["centred", "wide"], ["x"], pads=[1, 1, 1, 1]),
    node("InstanceNormalization", ["x", "gain", "offset"], ["normed"]),
    node("LeakyRelu", ["normed"], ["active"], alpha=0.01),
    node("Resize", ["active", "", "factors"], ["large"], mode="linear"),
    node("MaxPool", ["large"], ["small"], kernel_shape=[2, 2], strides=[2, 2]),
    node("Mul", ["active", "active"], ["square"]),
    node("ReduceMean", ["square", "axes"], ["power"]),
    node("Mul", ["small", "power"], ["weighed"]),
    node("Concat", ["weighed", "x"], ["both"], axis=1),
    node("Conv", ["both", "narrow"], ["logits"]),
]


def halved(nodes=NODES, tensors=TENSORS, **kinds):
    model = model_of(nodes, tensors, **kinds)
    halve(model)
    onnx.checker.check_model(model, full_check=True)
    return model


def images(*shape):
    return np.random.default_rng(1).standard_normal(shape).astype(np.float32)


def test_every_value_has_the_type_it_should_have():
    model = halved()
    kinds = element_types(model)
    of_nodes = {
        one.op_type: [kinds[name] for name in (*one.input, *one.output) if name in kinds]
        for one in model.graph.node
    }
    assert of_nodes["Sub"] == [T.FLOAT] * 3  # pixels, in front of the first kernel
    assert of_nodes["Conv"] == [T.FLOAT16] * 3
    assert of_nodes["InstanceNormalization"] == [T.FLOAT] * 4
    assert of_nodes["LeakyRelu"] == [T.FLOAT16] * 2
    assert of_nodes["Resize"] == [T.FLOAT16, T.FLOAT, T.FLOAT16]  # its factors are float32 by the standard
    assert of_nodes["ReduceMean"] == [T.FLOAT, T.INT64, T.FLOAT]
    assert of_nodes["Concat"] == [T.FLOAT16] * 3
    muls = [one for one in model.graph.node if one.op_type == "Mul"]
    assert [kinds[one.output[0]] for one in muls] == [T.FLOAT, T.FLOAT16]  # squares for a mean, and a weight
    assert (kinds["image"], kinds["logits"]) == (T.FLOAT, T.FLOAT)
    assert model.graph.node[-1].op_type == "Cast"
    assert untyped(model) == ()
    cast = [one.input[0] for one in model.graph.node if one.op_type == "Cast"]
    assert len(set(cast)) == len(cast) == 6  # each value once: two for the norm, its mean and the ends
    assert {one.name for one in model.graph.initializer} == {
        *("shift", "gain", "offset", "factors", "axes"),
        *("wide_half", "narrow_half"),
    }


def test_it_answers_as_before_and_as_half_does_in_the_standard_s_own_words():
    """The same file in onnxruntime, in ONNX's reference in numpy's half, and the copy that is compared."""
    before, model, image = model_of(NODES, TENSORS), halved(), images(2, 2, 9, 6)
    wanted = OnnxRuntime(before.SerializeToString()).run(image)
    limit = 2e-3 * np.abs(wanted).max()  # eight roundings of 1/2048, at random
    same_file = OnnxRuntime(model.SerializeToString()).run(image)
    rounded = OnnxRuntime(rounded_copy(model), as_written=True).run(image)
    (spelled,) = reference.ReferenceEvaluator(model).run(None, {"image": image})
    for got in (same_file, rounded):
        assert 0 < np.abs(got - wanted).max() < limit
    assert np.abs(spelled - wanted).max() < 5 * limit  # it sums in half, too
    assert {one.dtype for one in (same_file, rounded, spelled)} == {np.dtype(np.float32)}


def test_the_copy_rounds_to_half_what_an_engine_without_half_does_not():
    """Exactly, where a kernel has one weight: numpy's own rounding, operation by operation."""
    tensors = {"one": np.full((1, 2, 1, 1), 0.1, np.float32), "other": np.full((1, 1, 1, 1), 3.3, np.float32)}
    nodes = [
        node("Conv", ["image", "one"], ["x"]),
        node("Relu", ["x"], ["y"]),
        node("Conv", ["y", "other"], ["logits"]),
    ]
    model, image = halved(nodes, tensors), images(1, 2, 3, 4)
    got = OnnxRuntime(rounded_copy(model), as_written=True).run(image)
    single, half = np.float32, np.float16
    inner = (image.astype(half).astype(single) * single(half(0.1))).sum(axis=1, keepdims=True).astype(half)
    wanted = (np.maximum(inner, 0).astype(single) * single(half(3.3))).astype(half).astype(single)
    assert np.array_equal(got, wanted)


def test_what_is_beyond_half_is_seen_in_the_copy():
    tensors = {
        "one": np.full((1, 2, 1, 1), 3e4, np.float32),
        "other": np.full((1, 1, 1, 1), 1e-4, np.float32),
    }
    model = halved([node("Conv", ["image", "one"], ["x"]), node("Conv", ["x", "other"], ["logits"])], tensors)
    image = np.full((1, 2, 3, 3), 2, np.float32)
    assert np.isinf(OnnxRuntime(rounded_copy(model), as_written=True).run(image)).all()
    assert np.isfinite(OnnxRuntime(model.SerializeToString()).run(image)).all()  # why there is a copy


def test_a_weight_beyond_half_is_infinite_and_no_warning():
    tensors = {"one": np.full((1, 2, 1, 1), 7e4, np.float32)}
    model = halved([node("Conv", ["image", "one"], ["logits"])], tensors)
    assert np.isinf(array.to_array(model.graph.initializer[0])).all()


def test_bytes_go_in_and_are_float32_until_the_first_kernel():
    nodes = [
        node("Cast", ["image"], ["number"], to=T.FLOAT),
        node("Sub", ["number", "shift"], ["x"]),
        node("Conv", ["x", "wide"], ["logits"]),
    ]
    model = halved(nodes, TENSORS, kind=T.UINT8)
    kinds = element_types(model)
    assert (kinds["image"], kinds["x"], kinds["logits"]) == (T.UINT8, T.FLOAT, T.FLOAT)
    image = np.random.default_rng(2).integers(0, 256, (1, 2, 5, 5), np.uint8)
    wanted = OnnxRuntime(model_of(nodes, TENSORS, kind=T.UINT8).SerializeToString()).run(image)
    got = OnnxRuntime(rounded_copy(model), as_written=True).run(image)
    np.testing.assert_allclose(got, wanted, atol=2e-3 * np.abs(wanted).max())


def test_norms_that_follow_one_another_have_no_casts_between_them():
    nodes = [
        node("Conv", ["image", "wide"], ["x"]),
        node("Sqrt", ["x"], ["y"]),
        node("Exp", ["y"], ["logits"]),
    ]
    kinds = [one.op_type for one in halved(nodes, TENSORS).graph.node]
    assert kinds == ["Cast", "Conv", "Cast", "Sqrt", "Exp"]


def test_what_is_not_typed_is_named():
    assert untyped(model_of(NODES, TENSORS)) == (
        "Conv 'x' multiplies in float32",
        "Conv 'logits' multiplies in float32",
    )
    grids = {
        "step": np.float32(0.1),
        "other": np.float32(0.2),
        "zero": np.int8(0),
        "middle": np.int8(3),
        "bytes": np.uint8(0),
    }

    def read(name, step, zero):
        return [
            node("QuantizeLinear", ["image", step, zero], [f"{name}_q"]),
            node("DequantizeLinear", [f"{name}_q", step, zero], [name]),
        ]

    def both(*rows):
        pairs = [one for name, row in zip("ab", rows, strict=True) for one in read(name, *row)]
        return untyped(model_of([*pairs, node("Concat", ["a", "b"], ["logits"], axis=1)], grids))

    assert both(("step", "zero"), ("step", "zero")) == ()
    assert both(("step", "zero"), ("other", "zero")) == ("'logits' joins values of different steps",)
    assert both(("step", "zero"), ("step", "middle")) == (
        "the grid of 'b_q' has no zero point 0 with a sign",
        "the grid of 'b' has no zero point 0 with a sign",
    )
    assert len(both(("step", "bytes"), ("step", "bytes"))) == 4
    moved = [*read("a", "step", "zero"), *read("b", "other", "zero"), node("Relu", ["b"], ["c"])]
    model = model_of([*moved, node("Concat", ["a", "c"], ["logits"], axis=1)], grids)
    assert untyped(model) == ("'logits' joins values of different steps",)


def test_a_graph_within_a_graph_is_refused():
    model = model_of(NODES, TENSORS)
    inner = copy.deepcopy(model.graph)
    model.graph.node.insert(0, node("If", ["yes"], ["z"], then_branch=inner, else_branch=inner))
    with pytest.raises(UsageError, match="chooses between computations") as refused:
        halve(model)
    assert refused.value.cure == "export it to onnx or openvino"
