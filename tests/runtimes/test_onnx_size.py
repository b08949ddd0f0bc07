"""A smaller file that computes the same."""

import numpy as np
import pytest

from unetkit.runtimes.onnx_size import shrink

onnx = pytest.importorskip("onnx", reason="onnx is not installed")
helper, array, reference = onnx.helper, onnx.numpy_helper, pytest.importorskip("onnx.reference")
FLOATS = onnx.TensorProto.FLOAT


def noted(nodes, tensors):
    """A model as an exporter writes it: every operation with notes."""
    for number, node in enumerate(nodes):
        node.name, node.doc_string = f"an_operation_{number}", "from a line of a file"
        node.metadata_props.add(key="stack", value="a file, a line")
    graph = helper.make_graph(
        nodes,
        "main_graph",
        [helper.make_tensor_value_info("image", FLOATS, (1, 2, 5, 5))],
        [helper.make_tensor_value_info("logits", FLOATS, list("abcd"))],
        [array.from_array(value, name) for name, value in tensors.items()],
        value_info=[helper.make_tensor_value_info(nodes[0].output[0], FLOATS, list("abcd"))],
    )
    graph.metadata_props.add(key="inputs", value="much")
    opsets = [helper.make_opsetid(domain, version) for domain, version in (("", 20), ("pkg.torch", 1))]
    return helper.make_model(graph, opset_imports=opsets, ir_version=10)


@pytest.fixture
def model():
    random = np.random.default_rng(0)
    window = {"kernel_shape": [3, 3], "dilations": [1, 1], "group": 1, "strides": [1, 1]}
    nodes = [
        helper.make_node("Conv", ["image", "a_kernel", "its_bias"], ["made"], pads=[1, 1, 1, 1], **window),
        helper.make_node(
            "Conv", ["made", "other_kernel", "other_bias"], ["more"], pads=[0, 0, 0, 0], **window
        ),
        helper.make_node("LeakyRelu", ["more"], ["cut"], alpha=0.25),
        helper.make_node("Transpose", ["cut"], ["turned"], perm=[0, 1, 3, 2]),
        helper.make_node("Softmax", ["turned"], ["logits"], axis=1),
    ]
    kernels = {
        name: random.standard_normal((2, 2, 3, 3)).astype("f") for name in ("a_kernel", "other_kernel")
    }
    return noted(nodes, {**kernels, "its_bias": np.ones(2, "f"), "other_bias": np.ones(2, "f")})


def test_what_is_computed_stays(model):
    image = np.random.default_rng(1).standard_normal((1, 2, 5, 5)).astype("f")
    before, size = reference.ReferenceEvaluator(model).run(None, {"image": image})[0], model.ByteSize()
    shrink(model)
    onnx.checker.check_model(model)
    np.testing.assert_array_equal(reference.ReferenceEvaluator(model).run(None, {"image": image})[0], before)
    assert model.ByteSize() < 0.6 * size


def test_nothing_is_said_that_holds_without_it(model):
    shrink(model)
    told = [{one.name for one in node.attribute} for node in model.graph.node]
    assert told == [{"kernel_shape", "pads"}, {"kernel_shape"}, {"alpha"}, {"perm"}, {"axis"}]
    assert not model.graph.value_info
    assert not any(one.metadata_props for one in (model, model.graph, *model.graph.node))
    assert not any(node.name or node.doc_string for node in model.graph.node)
    assert [one.domain for one in model.opset_import] == [""]


def test_names_are_short_and_the_ends_keep_theirs(model):
    shrink(model)
    graph = model.graph
    assert (graph.input[0].name, graph.output[0].name) == ("image", "logits")
    names = {name for node in graph.node for name in (*node.input, *node.output)} - {"image", "logits"}
    assert all(len(name) == 1 for name in names)
    assert len(names) == 7


def test_values_that_are_alike_are_held_once(model):
    shrink(model)
    assert len(model.graph.initializer) == 3
    biases = [node.input[2] for node in model.graph.node[:2]]
    assert biases[0] == biases[1]


def test_names_inside_of_a_branch_stay():
    body = helper.make_graph(
        [helper.make_node("Neg", ["image"], ["inside"])],
        "branch",
        [],
        [helper.make_tensor_value_info("inside", FLOATS, list("abcd"))],
    )
    nodes = [helper.make_node("If", ["whether"], ["logits"], then_branch=body, else_branch=body)]
    model = noted(nodes, {"whether": np.array(True)})
    shrink(model)
    onnx.checker.check_model(model)
    assert model.graph.node[0].input[0] == "whether"
