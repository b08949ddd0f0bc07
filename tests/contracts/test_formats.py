"""Every volume format × 48 orientations × {isotropic, anisotropic, oblique}: no flip, corners within 1e-3 mm.

The world point of a corner is worked out by hand from the affine; the voxel that lies there is known by its
value, so that an axis that comes back in another order is right only if its direction says so.
"""

from __future__ import annotations

import itertools
import re

import nibabel as nib
import numpy as np
import pytest

from unetkit.data.formats import format_of
from unetkit.errors import UnetkitError
from unetkit.records.case import Grid

SHAPE = (3, 4, 5)  # (z, y, x)
LABELS = np.arange(1, 61, dtype=np.uint8).reshape(SHAPE)
ORIGIN = np.array([12.5, -80.25, 3.0])
TURNS = [
    np.eye(3)[list(order)] * np.array(signs)[:, None]
    for order in itertools.permutations(range(3))
    for signs in itertools.product((1.0, -1.0), repeat=3)
]
OBLIQUE = np.linalg.qr(np.random.default_rng(3).normal(size=(3, 3)))[0]
GEOMETRIES = {
    "isotropic": ((1.0, 1.0, 1.0), np.eye(3)),
    "anisotropic": ((4.0, 0.7, 1.1), np.eye(3)),
    "oblique": ((4.0, 0.7, 1.1), OBLIQUE),
}


def world(index, spacing, turn):
    """RAS mm of a voxel (z, y, x); the rows of ``turn`` are the directions of the array's axes."""
    return ORIGIN + sum(i * s * np.asarray(axis) for i, s, axis in zip(index, spacing, turn, strict=True))


def check(values, grid, spacing, turn):
    for corner in itertools.product(*((0, size - 1) for size in SHAPE)):
        (found,) = np.argwhere(values == LABELS[corner])
        steps = np.asarray(grid.direction) * np.asarray(grid.spacing_mm)[:, None]
        place = np.asarray(grid.origin_mm) + found @ steps
        np.testing.assert_allclose(place, world(corner, spacing, turn), atol=1e-3)
        assert values.shape == SHAPE


def canonical(path):
    image = nib.as_closest_canonical(nib.load(path))
    return np.asarray(image.dataobj), image.affine


@pytest.mark.parametrize("name", list(GEOMETRIES))
@pytest.mark.parametrize("suffix", [".nii.gz", ".nrrd", ".mha"])
def test_labels_make_the_round_trip(tmp_path, suffix, name):
    spacing, oblique = GEOMETRIES[name]
    path = tmp_path / f"a{suffix}"
    for turn in TURNS:
        turn = turn @ oblique
        grid = Grid(spacing, tuple(ORIGIN.tolist()), tuple(map(tuple, turn.tolist())))
        format_of(path).write(path, LABELS, grid)
        values, back = format_of(path).read_label(path)
        np.testing.assert_array_equal(values, LABELS)
        assert back.matches(grid, tolerance=1e-5)
        check(values, back, spacing, turn)
        check(format_of(path).read(path)[0][0], format_of(path).describe(path).grid, spacing, turn)


@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_what_nrrd_and_metaimage_state_is_lps_of_the_affine(tmp_path, name):
    """The header's own words, read here without our reader."""
    spacing, oblique = GEOMETRIES[name]
    lps = np.array([-1.0, -1.0, 1.0])
    for turn in TURNS:
        turn = turn @ oblique
        grid = Grid(spacing, tuple(ORIGIN.tolist()), tuple(map(tuple, turn.tolist())))
        format_of(tmp_path / "a.nrrd").write(tmp_path / "a.nrrd", LABELS, grid)
        text = (tmp_path / "a.nrrd").read_bytes().partition(b"\n\n")[0].decode()
        rows = [np.fromstring(row, sep=",") for row in re.findall(r"\(([^)]*)\)", text)]
        assert "space: left-posterior-superior" in text
        expected = [turn[axis] * spacing[axis] * lps for axis in (2, 1, 0)]
        np.testing.assert_allclose(rows, [*expected, ORIGIN * lps], atol=1e-9)
        format_of(tmp_path / "a.mha").write(tmp_path / "a.mha", LABELS, grid)
        text = (tmp_path / "a.mha").read_bytes().partition(b"LOCAL")[0].decode()
        stated = dict(line.split(" = ") for line in text.splitlines())
        matrix = np.array(stated["TransformMatrix"].split(), float).reshape(3, 3)
        np.testing.assert_allclose(matrix, turn[::-1] * lps, atol=1e-9)
        np.testing.assert_allclose(np.array(stated["Offset"].split(), float), ORIGIN * lps)
        np.testing.assert_allclose(np.array(stated["ElementSpacing"].split(), float), spacing[::-1])


@pytest.mark.parametrize("name", list(GEOMETRIES))
def test_a_series_lies_where_its_tags_say_and_as_nibabel_has_it(tmp_path, write_series, name):
    spacing, oblique = GEOMETRIES[name]
    lps = np.array([-1.0, -1.0, 1.0])
    for number, turn in enumerate(TURNS):
        turn = turn @ oblique
        folder = tmp_path / f"s{number}"
        write_series(
            folder,
            LABELS.astype(np.uint16),
            origin=ORIGIN * lps,
            across=turn[2] * lps,
            down=turn[1] * lps,
            step=turn[0] * lps * spacing[0],
            PixelSpacing=list(spacing[1:]),
        )
        pixels, grid = format_of(folder).read(folder)
        check(pixels[0], grid, spacing, turn)
        # through our NIfTI writer and nibabel's reorientation, against nibabel alone
        format_of(tmp_path / "a.nii").write(tmp_path / "a.nii", pixels[0], grid)
        affine = np.eye(4)
        affine[:3, :3] = (turn * np.array(spacing)[:, None])[::-1].T
        affine[:3, 3] = ORIGIN
        nib.save(nib.Nifti1Image(LABELS.T, affine), tmp_path / "b.nii")
        ours, theirs = canonical(tmp_path / "a.nii"), canonical(tmp_path / "b.nii")
        np.testing.assert_array_equal(ours[0], theirs[0])
        np.testing.assert_allclose(ours[1], theirs[1], atol=1e-3)


@pytest.mark.parametrize("suffix", [".nrrd", ".mha", ".dcm"])
def test_a_flipped_bit_ends_in_pixels_or_in_a_refusal(tmp_path, write_series, suffix):
    """Nothing else comes out: no crash, no exception of a reader, no huge allocation."""
    path = tmp_path / f"a{suffix}"
    if suffix == ".dcm":
        write_series(tmp_path / "s", LABELS[:1].astype(np.uint16))[0].rename(path)
    else:
        format_of(path).write(
            path, LABELS, Grid(*GEOMETRIES["anisotropic"][:1], (0.0,) * 3, Grid.plain(3).direction)
        )
    whole, random = path.read_bytes(), np.random.default_rng(5)
    refused = 0
    for _ in range(150):
        data = bytearray(whole)
        data[int(random.integers(len(data)))] ^= 1 << int(random.integers(8))
        path.write_bytes(data)
        try:
            format_of(path).read(path)
        except UnetkitError as wrong:
            refused += wrong.where == str(path)
    assert refused > 20
