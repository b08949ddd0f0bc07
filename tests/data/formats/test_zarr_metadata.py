"""The JSON of a Zarr, without the library: what it may name, and what it may not."""

import json
import pickle

import numpy as np
import pytest

from unetkit.data.formats.zarr_metadata import find_array, ome_metadata
from unetkit.errors import DataError
from unetkit.records.case import Grid

BYTES = [{"name": "bytes"}]
AXES = [{"name": name, "type": "space", "unit": "millimeter"} for name in "zyx"]


def put(path, facts):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(facts))


def array(folder, *, shape=(40, 30), codecs=BYTES, kind="uint8", **words):
    facts = {
        "zarr_format": 3,
        "node_type": "array",
        "shape": list(shape),
        "data_type": kind,
        "chunk_grid": {"name": "regular", "configuration": {"chunk_shape": [8] * len(shape)}},
        "codecs": codecs,
    }
    put(folder / "zarr.json", facts | words)


def group(folder, axes=AXES[1:], path="0", moves=(), **words):
    image = {"axes": axes, "datasets": [{"path": path, "coordinateTransformations": list(moves)}], **words}
    facts = {"zarr_format": 3, "node_type": "group", "attributes": {"ome": {"multiscales": [image]}}}
    put(folder / "zarr.json", facts)


def test_what_is_written_is_what_is_found(tmp_path):
    for rank in (2, 3):
        plain = Grid.plain(rank)
        for grid in (
            plain,
            Grid((4.0, 0.5, 0.25)[-rank:], (1.0, 2.0, 3.0)[-rank:], plain.direction, placed=False),
        ):
            folder = tmp_path / f"{rank}{grid.calibrated}.zarr"
            facts = ome_metadata("x", grid, levels=1)
            put(folder / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": facts})
            array(folder / "0", shape=(9, 40, 30)[-rank:])
            assert find_array(folder).grid == grid
            assert find_array(folder).axes == "ZYX"[-rank:]


def test_scales_of_an_image_and_of_its_level_are_multiplied(tmp_path):
    def scale(*steps):
        return {"type": "scale", "scale": list(steps)}

    shift = {"type": "translation", "translation": [3.0, 4.0]}
    array(tmp_path / "0")
    group(tmp_path, moves=[scale(0.5, 0.25), shift], coordinateTransformations=[scale(10.0, 2.0)])
    found = find_array(tmp_path)
    assert found.grid.spacing_mm == (5.0, 0.5)
    assert found.grid.origin_mm == (30.0, 8.0)


@pytest.mark.parametrize(
    ("names", "shape", "axes"),
    [
        (["y", "x"], (40, 30), "YX"),
        (["t", "c", "z", "y", "x"], (1, 2, 1, 40, 30), ".C.YX"),
        (["t", "c", "z", "y", "x"], (1, 2, 9, 40, 30), ".CZYX"),
        (None, (1, 1, 9, 40, 30), ".CZYX"),
    ],
)
def test_axes_of_older_versions_are_names_or_none(tmp_path, names, shape, axes):
    array(tmp_path / "0", shape=shape)
    group(tmp_path, axes=names)
    assert find_array(tmp_path).axes == axes


@pytest.mark.parametrize(
    ("names", "shape"),
    [
        (["t", "y", "x"], (2, 40, 30)),
        (["x", "y"], (40, 30)),
        (["c", "x"], (1, 30)),
        (["z", "x", "y"], (9, 4, 5)),
    ],
)
def test_other_axes_are_refused(tmp_path, names, shape):
    array(tmp_path / "0", shape=shape)
    group(tmp_path, axes=names)
    with pytest.raises(DataError, match="are neither a picture nor a volume with channels"):
        find_array(tmp_path)


class Evil:
    """Would leave a trace where it was unpickled."""

    def __reduce__(self):
        return (list, ((1,),))


def test_a_codec_that_runs_code_is_never_reached(tmp_path):
    folder = tmp_path / "old.zarr"
    facts = {"zarr_format": 2, "shape": [4], "chunks": [4], "dtype": "<i8", "order": "C", "fill_value": 0}
    facts |= {"compressor": None, "filters": [{"id": "pickle", "protocol": 5}]}
    put(folder / ".zarray", {**facts, "shape": [4, 4], "chunks": [4, 4]})
    (folder / "0.0").write_bytes(pickle.dumps(Evil()))
    with pytest.raises(DataError, match=r"its chunks are packed with 'pickle', which is not opened here"):
        find_array(folder)
    inner = {"name": "sharding_indexed", "configuration": {"codecs": [{"name": "numcodecs.pickle"}]}}
    array(tmp_path / "new.zarr", codecs=[inner])
    with pytest.raises(DataError, match="packed with 'numcodecs.pickle'".replace(".", r"\.")):
        find_array(tmp_path / "new.zarr")
    array(tmp_path / "third.zarr", storage_transformers=["odd"])
    with pytest.raises(DataError, match="packed with 'odd'"):
        find_array(tmp_path / "third.zarr")


@pytest.mark.parametrize("path", ["../other", "/etc", "a/../../b"])
def test_an_array_outside_the_folder_is_refused(tmp_path, path):
    group(tmp_path / "a.zarr", path=path)
    with pytest.raises(DataError, match="its array must lie inside the folder"):
        find_array(tmp_path / "a.zarr")


def test_what_is_no_image_says_so(tmp_path):
    with pytest.raises(DataError, match="expected a folder in the Zarr format"):
        find_array(tmp_path / "missing.zarr")
    with pytest.raises(DataError, match=r"this folder is no Zarr: it has no zarr\.json"):
        find_array(tmp_path)
    put(tmp_path / "zarr.json", {"zarr_format": 3, "node_type": "group", "attributes": {}})
    with pytest.raises(DataError, match="it has no 'multiscales'"):
        find_array(tmp_path)
    (tmp_path / "zarr.json").write_text('{"node_type":')
    with pytest.raises(DataError, match="this Zarr is truncated or damaged"):
        find_array(tmp_path)
    array(tmp_path, kind="string")
    with pytest.raises(DataError, match=r"damaged|cannot be used"):
        find_array(tmp_path)
    array(tmp_path, kind="complex64")
    with pytest.raises(DataError, match="an array of complex64"):
        find_array(tmp_path)
    array(tmp_path, shape=(0, 5))
    with pytest.raises(DataError, match="cannot be used"):
        find_array(tmp_path)


def test_a_flipped_bit_of_the_metadata_ends_in_an_array_or_in_a_refusal(tmp_path):
    array(tmp_path / "0")
    group(tmp_path)
    file, random, refused = tmp_path / "0" / "zarr.json", np.random.default_rng(5), 0
    whole = file.read_bytes()
    for _ in range(150):
        data = bytearray(whole)
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        file.write_bytes(data)
        try:
            assert find_array(tmp_path).claimed_bytes > 0
        except DataError as wrong:
            refused += wrong.where == str(tmp_path)
    assert refused > 20


def test_lists_within_lists_are_damage(tmp_path):
    (tmp_path / "zarr.json").write_text("[" * 100_000)
    with pytest.raises(DataError, match="this Zarr is truncated or damaged"):
        find_array(tmp_path)
