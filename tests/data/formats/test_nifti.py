from __future__ import annotations

import gzip
import itertools
from dataclasses import replace

import nibabel as nib
import numpy as np
import pytest

from unetkit.data.formats import checks
from unetkit.data.formats.nifti import NiftiFormat
from unetkit.errors import DataError
from unetkit.records.case import Grid

NIFTI = NiftiFormat()
AFFINE = np.array([[0.0, 0, 3, 10], [-1, 0, 0, 20], [0, 2, 0, -30], [0, 0, 0, 1]])


def volume(*shape, dtype=np.int16):
    return np.random.default_rng(0).integers(0, 99, shape).astype(dtype)


def save(path, array, affine=AFFINE, **header):
    image = nib.Nifti1Image(array, affine)
    for key, value in header.items():
        image.header[key] = value
    nib.save(image, path)
    return path


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
@pytest.mark.parametrize("dtype", ["uint8", "int16", "uint16", "int32", "float32", "float64"])
def test_voxels_and_geometry_agree_with_nibabel(tmp_path, suffix, dtype):
    stored = volume(4, 5, 6, dtype=dtype)
    path = save(tmp_path / f"a{suffix}", stored)
    pixels, grid = NIFTI.read(path)
    np.testing.assert_array_equal(pixels[0], np.asarray(nib.load(path).dataobj).T)
    assert pixels.dtype == dtype
    assert grid.spacing_mm == (3.0, 2.0, 1.0)
    assert grid.origin_mm == (10.0, 20.0, -30.0)
    # the voxel (x, y, z) = (1, 2, 3) lies where the affine puts it
    index = np.array([3, 2, 1])
    place = np.array(grid.origin_mm) + (index * np.array(grid.spacing_mm)) @ np.array(grid.direction)
    np.testing.assert_allclose(place, (AFFINE @ [1, 2, 3, 1])[:3])
    header = NIFTI.describe(path)
    assert (header.channels, header.shape, header.dtype, header.grid) == (1, (6, 5, 4), dtype, grid)


def test_slope_and_intercept_agree_with_nibabel(tmp_path):
    stored = volume(4, 5, 6)
    image = nib.Nifti1Image(stored, AFFINE)
    image.header.set_slope_inter(0.5, -7)
    image.header.set_data_dtype(np.int16)
    nib.save(image, tmp_path / "a.nii")
    expected = np.asarray(nib.load(tmp_path / "a.nii").dataobj)
    pixels, _ = NIFTI.read(tmp_path / "a.nii")
    np.testing.assert_allclose(pixels[0], expected.T, rtol=1e-6)
    assert NIFTI.describe(tmp_path / "a.nii").dtype == pixels.dtype.name == "float32"


def test_big_endian_files_are_read(tmp_path):
    stored = volume(4, 5, 6)
    nib.save(nib.Nifti1Image(stored, AFFINE, nib.Nifti1Header(endianness=">")), tmp_path / "a.nii")
    np.testing.assert_array_equal(NIFTI.read(tmp_path / "a.nii")[0][0], stored.T)


def test_nifti_2_is_read(tmp_path):
    stored = volume(4, 5, 6)
    nib.save(nib.Nifti2Image(stored, AFFINE), tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(NIFTI.read(tmp_path / "a.nii.gz")[0][0], stored.T)


@pytest.mark.parametrize("shape", [(4, 5, 6, 2), (4, 5, 6, 1, 2)])
def test_the_last_axis_holds_channels(tmp_path, shape):
    stored = volume(*shape)
    pixels, _ = NIFTI.read(save(tmp_path / "a.nii.gz", stored))
    np.testing.assert_array_equal(pixels, stored.reshape(4, 5, 6, 2).transpose(3, 2, 1, 0))


def test_a_flat_file_is_a_picture(tmp_path):
    pixels, grid = NIFTI.read(save(tmp_path / "a.nii", volume(4, 5), np.diag([2.0, 3, 1, 1])))
    assert pixels.shape == (1, 5, 4)
    assert grid.spacing_mm == (3.0, 2.0)
    assert grid.rank == 2


ORIENTATIONS = [
    (order, signs)
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1, -1), repeat=3)
]


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_all_48_orientations_make_the_round_trip(tmp_path, suffix):
    labels = volume(4, 5, 6)
    for order, signs in ORIENTATIONS:
        affine = np.eye(4)
        affine[:3, :3] = (np.diag([0.7, 1.1, 4.0]) * signs)[list(order)]
        affine[:3, 3] = (12.5, -80.25, 3)
        _, grid = NIFTI.read(save(tmp_path / f"a{suffix}", labels, affine))
        NIFTI.write(tmp_path / f"b{suffix}", labels.T, grid)
        written = nib.load(tmp_path / f"b{suffix}")
        np.testing.assert_array_equal(np.asarray(written.dataobj), labels)
        np.testing.assert_allclose(written.affine, affine, atol=1e-5)
        np.testing.assert_allclose(written.header.get_qform(), written.header.get_sform(), atol=1e-3)
        values, back = NIFTI.read_label(tmp_path / f"b{suffix}")
        np.testing.assert_array_equal(values, labels.T)
        assert back.matches(grid)


def test_an_oblique_affine_makes_the_round_trip(tmp_path):
    turn = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
    affine = np.eye(4)
    affine[:3, :3] = turn * (0.5, 0.5, 5.0)
    _, grid = NIFTI.read(save(tmp_path / "a.nii", volume(4, 5, 6), affine))
    NIFTI.write(tmp_path / "b.nii", np.zeros((6, 5, 4), np.uint8), grid)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").affine, affine, atol=1e-5)


def test_labels_are_written_small_unscaled_and_byte_for_byte_the_same(tmp_path):
    labels = np.array([[[0, 1], [2, 4]]])
    for name, high, dtype in (("a", 4, np.uint8), ("b", 300, np.uint16)):
        labels[0, 0, 0] = high
        NIFTI.write(tmp_path / f"{name}.nii.gz", labels, Grid.plain(3))
        header = nib.load(tmp_path / f"{name}.nii.gz").header
        assert header.get_data_dtype() == dtype
        raw = gzip.decompress((tmp_path / f"{name}.nii.gz").read_bytes())
        assert nib.Nifti1Header(raw[:348]).get_slope_inter() == (1.0, 0.0)
        np.testing.assert_array_equal(NIFTI.read_label(tmp_path / f"{name}.nii.gz")[0], labels)
    NIFTI.write(tmp_path / "again.nii.gz", labels, Grid.plain(3))
    assert (tmp_path / "again.nii.gz").read_bytes() == (tmp_path / "b.nii.gz").read_bytes()


def test_float_labels_are_cast_when_whole_and_refused_otherwise(tmp_path):
    path = save(tmp_path / "m.nii.gz", volume(3, 3, 3, dtype=np.float32))
    assert NIFTI.read_label(path)[0].dtype.kind == "i"
    path = save(tmp_path / "m.nii.gz", np.full((3, 3, 3), 1.5, np.float32))
    with pytest.raises(DataError, match=r"m\.nii\.gz: float labels: expected whole numbers, got 1\.5"):
        NIFTI.read_label(path)


@pytest.mark.parametrize("suffix", [".nii", ".nii.gz"])
def test_a_file_cut_anywhere_is_refused(tmp_path, suffix):
    path = save(tmp_path / f"a{suffix}", volume(5, 6, 7))
    data = path.read_bytes()
    for length in range(1, len(data), max(1, len(data) // 60)):
        path.write_bytes(data[:length])
        with pytest.raises(DataError, match=r"truncated|no NIfTI") as wrong:
            NIFTI.read(path)
        assert wrong.value.where == str(path)


def test_a_damaged_stream_is_noticed_by_its_checksum(tmp_path):
    path = save(tmp_path / "a.nii.gz", volume(5, 6, 7))
    data = bytearray(path.read_bytes())
    data[-6] ^= 1
    path.write_bytes(bytes(data))
    with pytest.raises(DataError, match="CRC"):
        NIFTI.read(path)


def test_a_small_file_that_claims_gigabytes_is_refused_at_once(tmp_path):
    header = nib.Nifti1Header()
    header.set_data_shape((1500, 1500, 1000))
    header.set_data_dtype(np.int16)
    block = header.binaryblock + b"\0" * 104
    (tmp_path / "a.nii.gz").write_bytes(gzip.compress(block))
    with pytest.raises(DataError, match="its header claims 4,500,000,352 bytes, it can hold at most"):
        NIFTI.describe(tmp_path / "a.nii.gz")
    (tmp_path / "a.nii").write_bytes(block)
    with pytest.raises(DataError, match="it can hold at most 452"):
        NIFTI.read(tmp_path / "a.nii")


def test_a_bomb_meets_our_limit(tmp_path, monkeypatch):
    path = save(tmp_path / "a.nii.gz", np.zeros((20, 20, 20), np.uint8))
    monkeypatch.setattr(checks, "LIMIT_BYTES", 1000)
    with pytest.raises(DataError, match="would unpack to 8,352 bytes, the limit is 1,000"):
        NIFTI.read(path)


def edited(path, **values):
    data = bytearray(path.read_bytes())
    header = nib.Nifti1Header(bytes(data[:348]), check=False)
    for key, value in values.items():
        header[key] = value
    data[:348] = header.binaryblock
    path.write_bytes(bytes(data))
    return path


def test_zero_voxel_size_is_refused(tmp_path):
    path = edited(save(tmp_path / "a.nii", volume(3, 4, 5)), pixdim=[1, 1, 0, 1, 1, 1, 1, 1])
    with pytest.raises(
        DataError, match=r"the voxel size is \(1\.0, 0\.0, 1\.0\) mm.*Do this: write the true"
    ):
        NIFTI.describe(path)


def test_a_disagreeing_qform_is_said_and_the_sform_followed(tmp_path):
    image = nib.Nifti1Image(volume(3, 4, 5), AFFINE)
    image.set_sform(AFFINE, code=1)
    image.set_qform(np.diag([2.0, 2, 2, 1]), code=1)
    nib.save(image, tmp_path / "a.nii")
    header = NIFTI.describe(tmp_path / "a.nii")
    assert header.notes == ("qform and sform disagree: the sform was followed",)
    assert header.grid.spacing_mm == (3.0, 2.0, 1.0)


def test_a_file_without_geometry_is_taken_as_stored(tmp_path):
    path = edited(save(tmp_path / "a.nii", volume(3, 4, 5), np.eye(4)), qform_code=0, sform_code=0)
    header = NIFTI.describe(path)
    assert not header.grid.calibrated
    assert header.grid.spacing_mm == (1.0, 1.0, 1.0)
    assert "neither qform nor sform" in header.notes[0]


@pytest.mark.parametrize("voxel", [(1, 1, 1), (2, 3, 4.5)])
def test_a_place_that_was_not_stated_is_not_invented(tmp_path, voxel):
    path = save(tmp_path / "a.nii", volume(3, 4, 5), np.eye(4))
    edited(path, qform_code=0, sform_code=0, pixdim=[1, *voxel, 0, 0, 0, 0])
    _, grid = NIFTI.read(path)
    assert (grid.placed, grid.calibrated) == (False, voxel != (1, 1, 1))
    NIFTI.write(tmp_path / "b.nii.gz", np.zeros((5, 4, 3), np.uint8), grid)
    written = nib.load(tmp_path / "b.nii.gz")
    assert (int(written.header["sform_code"]), int(written.header["qform_code"])) == (0, 0)
    assert written.header.get_zooms() == voxel
    np.testing.assert_array_equal(written.affine, nib.load(path).affine)  # where other readers put both
    assert NIFTI.read_label(tmp_path / "b.nii.gz")[1] == grid


@pytest.mark.parametrize(("unit", "mm"), [("micron", 1e-3), ("meter", 1e3), ("mm", 1), ("unknown", 1)])
def test_units_of_length_become_mm(tmp_path, unit, mm):
    image = nib.Nifti1Image(volume(4, 5, 6), AFFINE)
    image.header.set_xyzt_units(unit)
    nib.save(image, tmp_path / "a.nii")
    grid = NIFTI.describe(tmp_path / "a.nii").grid
    np.testing.assert_allclose(grid.spacing_mm, np.array([3, 2, 1]) * mm)
    np.testing.assert_allclose(grid.origin_mm, np.array([10, 20, -30]) * mm)
    edited(tmp_path / "a.nii", qform_code=0, sform_code=0)
    grid = NIFTI.describe(tmp_path / "a.nii").grid
    np.testing.assert_allclose(grid.spacing_mm, np.array([3, 2, 1]) * mm)
    NIFTI.write(tmp_path / "b.nii", np.zeros((6, 5, 4), np.uint8), grid)
    np.testing.assert_allclose(nib.load(tmp_path / "b.nii").header.get_zooms(), np.array([1, 2, 3]) * mm)


def test_voxels_of_less_than_a_micrometre_are_no_singular_affine(tmp_path):
    image = nib.Nifti1Image(volume(4, 5, 6), np.diag([4e-8, 4e-8, 1e-7, 1]))
    image.header.set_xyzt_units("meter")
    nib.save(image, tmp_path / "a.nii")
    np.testing.assert_allclose(
        NIFTI.describe(tmp_path / "a.nii").grid.spacing_mm, (1e-4, 4e-5, 4e-5), rtol=1e-5
    )


def test_a_picture_that_stands_upright_in_the_body_keeps_its_spacing(tmp_path):
    coronal = np.array([[0.5, 0, 0, 10], [0, 0, 1, 20], [0, 0.8, 0, -30], [0, 0, 0, 1]])
    path = save(tmp_path / "a.nii", volume(4, 5), coronal)
    header = NIFTI.describe(path)
    assert header.shape == (5, 4)
    np.testing.assert_allclose(header.grid.spacing_mm, (0.8, 0.5))
    assert (header.grid.calibrated, header.grid.placed) == (True, False)
    assert "its place in the body was not used" in header.notes[0]


def test_a_stated_place_is_written_with_its_codes(tmp_path):
    _, grid = NIFTI.read(save(tmp_path / "a.nii", volume(3, 4, 5)))
    NIFTI.write(tmp_path / "b.nii", np.zeros((5, 4, 3), np.uint8), grid)
    header = nib.load(tmp_path / "b.nii").header
    assert (int(header["sform_code"]), int(header["qform_code"])) == (1, 1)
    assert header.get_xyzt_units()[0] == "mm"


def test_a_singular_affine_and_a_shear(tmp_path):
    path = edited(save(tmp_path / "a.nii", volume(3, 4, 5)), srow_x=[0, 0, 0, 0])
    with pytest.raises(DataError, match="its affine is singular"):
        NIFTI.describe(path)
    sheared = np.eye(4)
    sheared[0, 1] = 0.5
    image = nib.Nifti1Image(volume(3, 4, 5), sheared)
    image.set_sform(sheared, code=1)
    image.set_qform(None, code=0)
    nib.save(image, tmp_path / "b.nii")
    header = NIFTI.describe(tmp_path / "b.nii")
    assert "sheared" in header.notes[0]
    NIFTI.write(tmp_path / "c.nii", np.zeros((5, 4, 3), np.uint8), header.grid)
    np.testing.assert_allclose(nib.load(tmp_path / "c.nii").affine, sheared, atol=1e-6)


def test_colours_and_half_a_pair_are_refused(tmp_path):
    rgb = np.zeros((3, 4, 5), [("R", "u1"), ("G", "u1"), ("B", "u1")])
    nib.save(nib.Nifti1Image(rgb, np.eye(4)), tmp_path / "a.nii")
    with pytest.raises(DataError, match=r"cannot be used.*colours as a fourth axis"):
        NIFTI.read(tmp_path / "a.nii")
    with pytest.raises(DataError, match="half of a header/image pair"):
        NIFTI.read(edited(save(tmp_path / "b.nii", volume(3, 4, 5)), magic=b"ni1"))
    with pytest.raises(DataError, match="expected one label per voxel, got 2 channels"):
        NIFTI.read_label(save(tmp_path / "c.nii", volume(3, 4, 5, 2)))
    with pytest.raises(DataError, match="expected 2 or 3 axes and one for channels"):
        NIFTI.read(save(tmp_path / "d.nii", volume(3, 4, 5, 2, 2)))


@pytest.mark.parametrize("name", ["a.nii", "a.nii.gz"])
@pytest.mark.parametrize("placed", [True, False])
def test_slices_become_the_bytes_of_the_whole(tmp_path, name, placed):
    labels = np.random.default_rng(0).integers(0, 300, (7, 6, 5)).astype(np.uint16)
    turns = ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0))
    grid = replace(Grid((2.0, 1.0, 1.5), (5.0, -3.0, 7.0), turns), placed=placed)
    rows, whole = tmp_path / "rows" / name, tmp_path / name
    form = NiftiFormat()
    form.write(whole, labels, grid)
    bands = (labels[:3], labels[3:4], labels[4:])
    form.write_rows(rows, bands, shape=labels.shape, dtype=labels.dtype, grid=grid)
    unpack = gzip.decompress if name.endswith(".gz") else bytes
    assert unpack(rows.read_bytes()) == unpack(whole.read_bytes())


def test_any_part_of_a_plain_volume_is_that_of_the_whole_and_a_gzipped_one_has_none(tmp_path):
    values = np.random.default_rng(0).integers(0, 255, (7, 6, 5)).astype(np.uint8)
    form, plain, packed = NiftiFormat(), tmp_path / "a.nii", tmp_path / "a.nii.gz"
    for path in (plain, packed):
        form.write(path, values, Grid.plain(3))
    with form.windows(plain) as opened:
        assert (opened.channels, opened.header.shape) == (1, values.shape)
        assert np.array_equal(opened.read(((2, 5), (0, 4), (1, 5)))[0], values[2:5, :4, 1:])
    with form.windows(packed) as opened:
        assert opened is None


@pytest.mark.parametrize("channels", [1, 2])
def test_an_image_keeps_its_type_and_place(tmp_path, channels):
    pixels = np.arange(-30, 60 * channels - 30, dtype=np.int16).reshape(channels, 3, 4, 5)
    grid = Grid((2.0, 1.0, 1.5), (5.0, -3.0, 7.0), ((0.0, 0.0, 1.0), (0.0, 1.0, 0.0), (1.0, 0.0, 0.0)))
    NiftiFormat().write_image(tmp_path / "a.nii.gz", pixels, grid)
    found, place = NiftiFormat().read(tmp_path / "a.nii.gz")
    np.testing.assert_array_equal(found, pixels)
    assert found.dtype == np.int16
    assert place.matches(grid)
    stored = np.asarray(nib.load(tmp_path / "a.nii.gz").dataobj)  # (x, y, z) and channels
    assert stored[4, 0, 1].tolist() == (pixels[:, 1, 0, 4] if channels > 1 else pixels[0, 1, 0, 4]).tolist()
    NiftiFormat().write_image(tmp_path / "b.nii.gz", pixels, Grid.plain(3))
    assert not NiftiFormat().read(tmp_path / "b.nii.gz")[1].placed
