"""Files of weights of whatever origin; none of them can run code."""

import pickle
from collections import OrderedDict

import numpy as np
import pytest
import torch
from safetensors.torch import save_file

from unetkit.errors import DataError
from unetkit.networks.weights import read_weights

STATE = OrderedDict(a=torch.randn(2, 3), b=torch.arange(3))


def same(got):
    return list(got) == list(STATE) and all(torch.equal(got[name], value) for name, value in STATE.items())


def test_safetensors(tmp_path):
    save_file(STATE, tmp_path / "w.safetensors")
    assert same(read_weights(tmp_path / "w.safetensors"))


def test_safetensors_keeps_no_order_so_numbers_do(tmp_path):
    names = [f"features.{i}.{kind}" for i in range(12) for kind in ("bias", "weight")]
    save_file({name: torch.zeros(1) for name in reversed(names)}, tmp_path / "w.safetensors")
    assert list(read_weights(tmp_path / "w.safetensors")) == names


@pytest.mark.parametrize(
    "content",
    [
        STATE,
        {"state_dict": STATE, "epoch": 3},
        {"model_state_dict": STATE, "optimizer": {"state": {0: {"step": torch.ones(1)}}}},
        {"ema": {"shadow": STATE}},
    ],
)
@pytest.mark.parametrize("is_zip", [True, False])
def test_a_torch_checkpoint_of_any_layout(tmp_path, content, is_zip):
    torch.save(content, tmp_path / "w.pth", _use_new_zipfile_serialization=is_zip)
    assert same(read_weights(tmp_path / "w.pth"))


def test_a_pickle_cannot_run_anything(tmp_path):
    class Bomb:
        def __reduce__(self):
            return (open, (str(tmp_path / "ran"), "w"))

    (tmp_path / "w.pt").write_bytes(pickle.dumps({"a": Bomb()}))
    torch.save({"a": Bomb()}, tmp_path / "zip.pt")
    for name in ("w.pt", "zip.pt"):
        with pytest.raises(
            DataError, match=r"file of tensors alone, from which nothing can run.*state_dict alone"
        ):
            read_weights(tmp_path / name)
    assert not (tmp_path / "ran").exists()


def test_a_whole_network_is_not_a_state_dict(tmp_path):
    torch.save(torch.nn.Linear(2, 2), tmp_path / "w.pt")
    with pytest.raises(DataError, match=r"w\.pt: expected a file of tensors alone"):
        read_weights(tmp_path / "w.pt")


@pytest.mark.parametrize("name", ["w.safetensors", "w.pth", "w.npz"])
def test_what_is_none_of_these_is_refused_by_name(tmp_path, name):
    (tmp_path / name).write_bytes(b"no weights at all")
    with pytest.raises(DataError, match=rf"{name}: .*Do this: save the network's state_dict alone"):
        read_weights(tmp_path / name)
    with pytest.raises(DataError, match="there is no such file of weights"):
        read_weights(tmp_path / f"other_{name}")


def test_objects_in_an_archive_are_refused(tmp_path):
    np.savez(tmp_path / "w.npz", a=np.array([{}], dtype=object))
    with pytest.raises(DataError, match="not a NumPy archive of plain numbers"):
        read_weights(tmp_path / "w.npz")


def test_nothing_and_not_a_number_are_refused(tmp_path):
    torch.save({"epoch": 3}, tmp_path / "none.pt")
    with pytest.raises(DataError, match="it holds no named tensors"):
        read_weights(tmp_path / "none.pt")
    torch.save({"a": torch.tensor([1.0, torch.nan])}, tmp_path / "nan.pt")
    with pytest.raises(DataError, match="'a' holds values that are not finite"):
        read_weights(tmp_path / "nan.pt")


def test_whole_numbers_become_a_kernel_and_the_norm_that_was_folded_in(tmp_path):
    whole = np.array([[[[2]], [[-3]]], [[[5]], [[7]]]], np.int8)
    parts = {
        "c.weight_int8": whole,
        "c.scale": np.array([0.5, 2.0], np.float32),
        "c.bias": np.array([1.0, -1.0], np.float32),
        "plain": np.ones(3, np.float32),
    }
    np.savez(tmp_path / "w.npz", **parts)
    got = read_weights(tmp_path / "w.npz")
    assert torch.equal(got["c.weight"].flatten(), torch.tensor([1.0, -1.5, 10.0, 14.0]))
    norm = torch.nn.BatchNorm2d(2).eval()
    norm.load_state_dict({k.removeprefix("c.norm."): v for k, v in got.items() if "norm" in k}, strict=False)
    x = torch.randn(3, 2, 4, 4)
    torch.testing.assert_close(norm(x), x + torch.tensor([1.0, -1.0])[:, None, None])
    assert "plain" in got


def test_a_layer_without_its_scale_is_refused(tmp_path):
    np.savez(tmp_path / "w.npz", **{"c.weight_int8": np.zeros((1, 1), np.int8)})
    with pytest.raises(DataError, match=r"'c\.weight_int8' has no 'c\.scale' beside it"):
        read_weights(tmp_path / "w.npz")


@pytest.mark.parametrize(
    "parts",
    [
        {"c.weight": np.array(["not", "numbers"])},
        {"c.weight_int8": np.zeros((2, 3, 1, 1), np.int8), "c.scale": np.ones(5, np.float32)},
    ],
)
def test_an_archive_of_something_else_is_refused_by_the_layers_name(tmp_path, parts):
    np.savez(tmp_path / "w.npz", **parts)
    with pytest.raises(DataError, match=r"w\.npz: 'c\.weight\w*' is no layer of numbers.*archive anew"):
        read_weights(tmp_path / "w.npz")
