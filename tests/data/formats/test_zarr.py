"""OME-Zarr and plain arrays; what zarr itself writes is read, and zarr reads what is written."""

import json

import numpy as np
import pytest

from unetkit.data.formats import WindowedFormat, format_of
from unetkit.data.formats.zarr_metadata import DESCRIBING
from unetkit.errors import DataError, MissingPackageError, ResourceError
from unetkit.records.case import Grid

zarr = pytest.importorskip("zarr", reason="zarr is not installed")
numcodecs = pytest.importorskip("numcodecs", reason="zarr is not installed")

RNG = np.random.default_rng(0)
GREY = RNG.integers(0, 255, (67, 85), dtype=np.uint8)
COLOUR = RNG.integers(0, 255, (3, 67, 85), dtype=np.uint8)
VOLUME = RNG.integers(0, 60000, (9, 33, 41), dtype=np.uint16)

KINDS = {
    "grey": ("yx", GREY, {"chunks": (16, 32)}),
    "old": ("yx", GREY, {"chunks": (16, 32), "zarr_format": 2}),
    "big-endian": ("yx", GREY.astype(">u2"), {"chunks": (16, 32), "zarr_format": 2}),
    "one chunk": ("yx", GREY, {"chunks": (67, 85)}),
    "shards": ("yx", GREY, {"chunks": (8, 16), "shards": (32, 48)}),
    "plain chunks": ("yx", GREY.astype(np.float32), {"chunks": (16, 32), "compressors": None}),
    "bits": ("yx", GREY > 100, {"chunks": (16, 32)}),
    "colours": ("cyx", COLOUR, {"chunks": (1, 16, 32)}),
    "slices": ("zyx", VOLUME, {"chunks": (4, 16, 16)}),
    "five axes": ("tczyx", VOLUME[None, None], {"chunks": (1, 1, 2, 33, 41)}),
    "flat five axes": ("tczyx", COLOUR[None, :, None], {"chunks": (1, 3, 1, 20, 20)}),
}


def save(path, names, array, *, steps=None, unit="micrometer", shift=None, **words):
    """An image as OME-Zarr, written by zarr alone."""
    version = words.setdefault("zarr_format", 3)
    axes = [
        {"name": name, "type": "space", **({"unit": unit} if unit else {})}
        if name in "zyx"
        else {"name": name, "type": "channel" if name == "c" else "time"}
        for name in names
    ]
    moves = [{"type": "scale", "scale": list(steps or [1.0] * len(names))}]
    if shift:
        moves.append({"type": "translation", "translation": list(shift)})
    image = {"axes": axes, "datasets": [{"path": "s0", "coordinateTransformations": moves}]}
    facts = {"multiscales": [image | ({"version": "0.4"} if version == 2 else {})]}
    group = zarr.create_group(
        str(path),
        zarr_format=version,
        attributes={"ome": {"version": "0.5"} | facts} if version == 3 else facts,
    )
    words.pop("zarr_format")
    made = group.create_array("s0", shape=array.shape, dtype=array.dtype, **words)
    made[...] = array
    return path


@pytest.mark.parametrize("kind", KINDS)
def test_any_part_is_that_of_the_whole_and_of_what_was_written(tmp_path, kind):
    names, array, words = KINDS[kind]
    path = save(tmp_path / "a.zarr", names, array, **words)
    form, rng = format_of(path), np.random.default_rng(1)
    whole, grid = form.read(path)
    assert isinstance(form, WindowedFormat)
    expected = array * np.uint8(255) if kind == "bits" else array
    assert np.array_equal(whole, expected.reshape(whole.shape))
    assert whole.ndim == (4 if kind in ("slices", "five axes") else 3)
    header = form.describe(path)
    assert (header.channels, header.shape, header.dtype) == (len(whole), whole.shape[1:], str(whole.dtype))
    assert header.notes == ()
    with form.windows(path) as opened:
        assert opened is not None
        assert (opened.header, opened.channels) == (header, len(whole))
        assert header.grid == grid
        for _ in range(5):
            region = tuple(tuple(sorted(rng.choice(n + 1, 2, replace=False))) for n in whole.shape[1:])
            found = opened.read(region)
            assert found.dtype == whole.dtype
            assert np.array_equal(found, whole[(slice(None), *(slice(a, b) for a, b in region))])


def test_a_plain_array_has_the_axes_that_its_shape_suggests(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), shape=COLOUR.shape, chunks=(1, 20, 20), dtype="u1")[...] = COLOUR
    pixels, grid = format_of(path).read(path)
    assert np.array_equal(pixels, COLOUR)
    assert grid == Grid.plain(2)
    assert format_of(path).describe(path).notes == ("its first axis, of 3, was taken as channels",)


def test_a_plain_label_of_three_slices_is_a_volume(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_array(str(path), shape=COLOUR.shape, chunks=(1, 20, 20), dtype="u1")[...] = COLOUR
    values, grid = format_of(path).read_label(path)
    assert np.array_equal(values, COLOUR)
    assert grid == Grid.plain(3)


def test_a_series_of_bioformats_is_its_first_image(tmp_path):
    path = tmp_path / "a.zarr"
    zarr.create_group(str(path), attributes={"ome": {"version": "0.5", "bioformats2raw.layout": 3}})
    save(path / "0", "yx", GREY)
    assert np.array_equal(format_of(path).read(path)[0][0], GREY)


def test_the_spacing_is_in_mm_and_one_without_a_unit_is_none(tmp_path):
    path = save(tmp_path / "a.zarr", "yx", GREY, steps=(2.0, 0.5), shift=(10.0, 20.0))
    grid = format_of(path).describe(path).grid
    np.testing.assert_allclose(grid.spacing_mm, (0.002, 0.0005))
    np.testing.assert_allclose(grid.origin_mm, (0.01, 0.02))
    assert (grid.calibrated, grid.placed) == (True, False)
    path = save(tmp_path / "b.zarr", "yx", GREY, steps=(2.0, 0.5), unit="")
    assert format_of(path).describe(path).grid == Grid.plain(2)


PLAIN = Grid.plain(2)
SPACED = Grid((0.25, 0.5), (1.0, 2.0), PLAIN.direction, placed=False)
DEEP = Grid((5.0, 2.0, 3.0), (0.0,) * 3, Grid.plain(3).direction, placed=False)


@pytest.mark.parametrize(
    ("shape", "grid", "kind"),
    [((1030, 70), PLAIN, np.uint8), ((30, 700), SPACED, np.uint16), ((50, 30, 40), DEEP, np.uint8)],
)
def test_rows_become_an_image_with_levels_that_zarr_reads(tmp_path, shape, grid, kind):
    labels, path = RNG.integers(0, 3, shape).astype(kind), tmp_path / "a.zarr"
    form = format_of(path)
    bands = (labels[a:b] for a, b in ((0, 1), (1, 28), (28, len(labels))))
    form.write_rows(path, bands, shape=shape, dtype=labels.dtype, grid=grid, levels=2)
    found, at = form.read_label(path)
    assert found.dtype == kind
    assert np.array_equal(found, labels)
    assert at == grid
    group = zarr.open_group(str(path), mode="r")
    (image,) = group.attrs["ome"]["multiscales"]
    assert group.attrs["ome"]["version"] == "0.5"
    assert [axis["name"] for axis in image["axes"]] == list("zyx"[-len(shape) :])
    for number, level in enumerate(image["datasets"]):
        step, array = slice(None, None, 2**number), group[level["path"]]
        expected = labels[step, step] if len(shape) == 2 else labels[:, step, step]
        assert np.array_equal(array[...], expected)
        assert array.metadata.dimension_names == tuple("zyx"[-len(shape) :])
        scale = level["coordinateTransformations"][0]["scale"]
        assert scale[-2:] == [2**number * each for each in grid.spacing_mm[-2:]]
        assert len(shape) == 2 or scale[0] == grid.spacing_mm[0]


def test_the_whole_is_written_as_its_rows_are(tmp_path):
    labels = RNG.integers(0, 3, (20, 30))
    format_of(tmp_path / "a.zarr").write(tmp_path / "a.zarr", labels, PLAIN)
    found, _ = format_of(tmp_path / "a.zarr").read_label(tmp_path / "a.zarr")
    assert found.dtype == np.uint8
    assert np.array_equal(found, labels)
    assert {each.name for each in (tmp_path / "a.zarr").iterdir()} == {"0", "zarr.json"}


@pytest.mark.parametrize("error", [KeyboardInterrupt, RuntimeError, "rows", "disk"])
def test_what_stops_half_way_leaves_the_old_image_or_none(tmp_path, monkeypatch, error):
    path, labels = tmp_path / "a.zarr", RNG.integers(0, 3, (1200, 40), dtype=np.uint8)
    form = format_of(path)

    def bands():
        yield labels[:600]
        if error in (KeyboardInterrupt, RuntimeError):
            raise error
        yield from () if error == "rows" else (labels[600:],)

    def write():
        form.write_rows(path, bands(), shape=labels.shape, dtype=labels.dtype, grid=PLAIN)

    if error == "disk":
        from zarr.storage import LocalStore

        put, room = LocalStore.set, [3]

        async def full(*words):
            room[0] -= 1
            if room[0] < 0:
                raise OSError(28, "No space left on device")
            await put(*words)

        monkeypatch.setattr(LocalStore, "set", full)
    raised = {"rows": DataError, "disk": ResourceError}.get(error, error)
    with pytest.raises(raised, match="no room left" if error == "disk" else None):
        write()
    assert list(tmp_path.iterdir()) == []
    monkeypatch.undo()
    form.write(path, labels[:5], PLAIN)
    with monkeypatch.context() as patch:
        if error == "disk":
            room[0] = 3
            patch.setattr(LocalStore, "set", full)
        with pytest.raises(raised):
            write()
    assert form.describe(path).shape == (5, 40)
    assert [each.name for each in tmp_path.iterdir()] == ["a.zarr"]


def test_a_damaged_chunk_is_named_when_it_is_read(tmp_path):
    path = save(tmp_path / "a.zarr", "yx", GREY, chunks=(16, 32))
    chunk = path / "s0" / "c" / "2" / "0"
    chunk.write_bytes(chunk.read_bytes()[:20])
    with format_of(path).windows(path) as opened:
        assert opened.read(((0, 32), (0, 85))).shape == (1, 32, 85)
        with pytest.raises(DataError, match=r"a\.zarr: this Zarr is truncated or damaged"):
            opened.read(((32, 48), (0, 85)))


def test_a_chunk_that_is_not_there_is_the_fill_value(tmp_path):
    path = save(tmp_path / "a.zarr", "yx", GREY, chunks=(16, 32), fill_value=7)
    (path / "s0" / "c" / "0" / "0").unlink()
    assert (format_of(path).read(path)[0][0, :16, :32] == 7).all()


def test_chunks_too_large_for_rows_are_read_as_a_whole_or_not_at_all(tmp_path, monkeypatch):
    path = save(tmp_path / "a.zarr", "yx", GREY, chunks=(16, 32))
    monkeypatch.setattr("unetkit.data.formats.zarr.CHUNK_LIMIT_BYTES", 16 * 85 - 1)
    with format_of(path).windows(path) as opened:
        assert opened is None
    file = path / "s0" / "zarr.json"
    stated = json.loads(file.read_text())
    stated["chunk_grid"]["configuration"]["chunk_shape"] = [10**6, 10**6]
    file.write_text(json.dumps(stated))
    with pytest.raises(DataError, match="would unpack to 1,000,000,000,000 bytes"):
        format_of(path).read(path)


def test_without_the_package_its_install_command_is_said(tmp_path, monkeypatch):
    import sys

    path = save(tmp_path / "a.zarr", "yx", GREY)
    monkeypatch.setitem(sys.modules, "zarr", None)
    assert format_of(path).describe(path).shape == (67, 85)  # the metadata are plain JSON
    with pytest.raises(MissingPackageError, match="Zarr images need the package 'zarr'") as caught:
        format_of(path).read(path)
    assert caught.value.cure == "pip install 'unetkit[zarr]'"


def test_a_label_of_several_channels_is_refused(tmp_path):
    path = save(tmp_path / "a.zarr", "cyx", COLOUR)
    with pytest.raises(DataError, match="expected one label per pixel, got 3 channels"):
        format_of(path).read_label(path)


def test_a_chunk_of_more_bytes_than_its_pixels_is_not_unpacked(tmp_path):
    path = save(tmp_path / "a.zarr", "yx", GREY, chunks=(16, 32))
    chunk = path / "s0" / "c" / "0" / "0"
    chunk.write_bytes(bytes(80_000))
    with pytest.raises(DataError, match=r"'c/0/0' has 80,000 bytes, its pixels fill 74,752 at most"):
        format_of(path).read(path)


@pytest.mark.parametrize("version", [2, 3])
def test_a_chunk_of_blosc_that_is_cut_is_not_decoded(tmp_path, version):
    """Its decoder would read on behind the end, and give other pixels or none."""
    packed = {"compressors": zarr.codecs.BloscCodec() if version == 3 else numcodecs.Blosc()}
    path, words = tmp_path / "a.zarr", {"shape": (40, 30), "chunks": (40, 30), "dtype": "uint16"}
    noise = np.random.default_rng(0).integers(0, 60000, (40, 30)).astype(np.uint16)
    zarr.create_array(store=str(path), zarr_format=version, **packed, **words)[...] = noise
    (chunk,) = [each for each in path.rglob("*") if each.is_file() and each.name not in DESCRIBING]
    whole = chunk.read_bytes()
    np.testing.assert_array_equal(format_of(path).read(path)[0][0], noise)
    for length in (0, 1, 15, 16, len(whole) // 2, len(whole) - 1):
        chunk.write_bytes(whole[:length])
        with pytest.raises(DataError, match=r"a\.zarr: this Zarr is truncated or damaged"):
            format_of(path).read(path)


def test_a_shard_of_no_bytes_is_not_one_that_was_left_out(tmp_path):
    path = tmp_path / "a.zarr"
    array = zarr.create_array(store=str(path), shape=(8, 8), shards=(8, 8), chunks=(4, 4), dtype="uint8")
    array[...] = 7
    shard = path / "c" / "0" / "0"
    shard.write_bytes(b"")
    with pytest.raises(DataError, match="'c/0/0' has 0 bytes"):
        format_of(path).read(path)
    shard.unlink()
    assert not format_of(path).read(path)[0].any()
