from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from unetkit.data.exchange.lidc_nodules import consensus, describe_group, lesion_of, match, reader_bits
from unetkit.data.exchange.lidc_readings import Nodule, Outline, Place

SHAPE, SPACING = (6, 24, 28), (2.0, 0.5, 0.7)
REAL = Path(__file__).parents[4] / "shared" / "data" / "lidc_nodules3d"


def mark(reader, rings, *, included=True, **traits):
    """A nodule from (slice, ring) pairs."""
    outlines = tuple(Outline(Place("", float(at)), included, np.asarray(ring)) for at, ring in rings)
    return Nodule(reader, outlines, traits)


def fill(nodule):
    return lesion_of(nodule, slice_of=lambda place: int(place.height_mm), shape=SHAPE, spacing_mm=SPACING)


def volume(lesion):
    result = np.zeros(SHAPE, bool)
    result[lesion.box] = lesion.mask
    return result


def box(top, left, bottom, right):
    """Corners of an outline around the pixels from (top, left) to (bottom, right), these included."""
    return [(top - 1, left - 1), (top - 1, right + 1), (bottom + 1, right + 1), (bottom + 1, left - 1)]


def test_the_outline_is_the_first_pixel_outside(lidc):
    expected = np.zeros(SHAPE, bool)
    for at, radius in ((1, 3.2), (2, 5.0), (3, 4.1)):
        expected[at] = lidc.disc(SHAPE[1:], (11, 14), radius)
    rings = [(at, lidc.outline(expected[at])) for at in (3, 1, 2)]
    np.testing.assert_array_equal(volume(fill(mark(0, rings))), expected)
    np.testing.assert_array_equal(volume(fill(mark(0, [(1, box(4, 5, 9, 12))])))[1].sum(), 6 * 8)


def test_an_excluded_part_is_cut_out_in_any_order(lidc):
    whole, hole = lidc.disc(SHAPE[1:], (11, 14), 8), lidc.disc(SHAPE[1:], (10, 13), 3)
    ring, cut = lidc.outline(whole), lidc.outline(hole)
    outlines = [Outline(Place("", 2.0), True, ring), Outline(Place("", 2.0), False, cut)]
    for order in (outlines, outlines[::-1]):
        np.testing.assert_array_equal(volume(fill(Nodule(0, tuple(order), {})))[2], whole & ~hole)


def test_an_outline_that_doubles_back_encloses_nothing_there():
    spike = [(5, 5), (5, 6), (5, 7), (5, 8), (5, 7), (5, 6)]
    lesion = fill(mark(0, [(1, spike)]))
    assert not lesion.mask.any()
    row = describe_group([lesion], SPACING)
    assert (row["volume_mm3"], row["slice"], row["row"], row["column"]) == ("0.0", "1.0", "5.0", "6.5")


def test_half_of_the_readers_is_enough_of_two_three_and_four():
    bits = np.arange(16, dtype=np.uint8)
    counts = np.array([bin(value).count("1") for value in range(16)])
    np.testing.assert_array_equal(consensus(bits, 4), counts >= 2)
    np.testing.assert_array_equal(consensus(bits[:8], 3), counts[:8] >= 2)
    np.testing.assert_array_equal(consensus(bits[:4], 2), counts[:4] >= 1)


def test_bits_say_who_marked_a_voxel():
    lesions = [fill(mark(reader, [(1, box(4, 4, 6, 6 + reader))])) for reader in (0, 2)]
    bits = reader_bits(lesions, SHAPE, 4)
    assert bits.dtype == np.uint8
    assert bits[1, 5, 4:10].tolist() == [5, 5, 5, 4, 4, 0]
    assert reader_bits(lesions, SHAPE, 9).dtype == np.uint16


def test_marks_that_overlap_are_one_nodule():
    one = [fill(mark(reader, [(2, box(4 + reader, 4, 10, 10))])) for reader in range(3)]
    far = fill(mark(1, [(2, box(15, 15, 20, 20))]))
    near = fill(mark(2, [(3, box(15, 15, 20, 20))]))  # on the next slice: it does not overlap
    groups = match([far, near, *one[::-1]])
    assert [[lesion.reader for lesion in group] for group in groups] == [[0, 1, 2], [1], [2]]


def test_of_one_reader_at_most_one_mark_belongs_to_a_nodule():
    whole = fill(mark(0, [(2, box(4, 4, 9, 20))]))
    left, right = (fill(mark(1, [(2, box(4, a, 9, b))])) for a, b in ((4, 9), (11, 20)))
    third = fill(mark(2, [(2, box(4, 10, 9, 21))]))
    groups = match([left, whole, right, third])
    assert [[lesion.reader for lesion in group] for group in groups] == [[1], [0, 1, 2]]
    assert groups[1][1] is right
    assert match([]) == []


def test_sizes_places_and_ratings_by_hand():
    group = [
        fill(mark(0, [(2, box(4, 4, 5, 7)), (3, box(4, 4, 5, 7))], malignancy=3, calcification=6, texture=5)),
        fill(mark(3, [(2, box(4, 4, 5, 7))], malignancy=4, calcification=3)),
    ]
    row = describe_group(group, SPACING)
    # 2 rows × 4 columns on two slices and on one, a voxel has 0.7 mm³: 11.2 and 5.6
    assert row["volume_mm3"] == "8.4"
    # the outlines are 3 rows high and 5 columns wide: √(1.5² + 3.5²)
    assert row["diameter_mm"] == "3.81"
    assert (row["slice"], row["row"], row["column"]) == ("2.2", "4.5", "5.5")
    assert (row["readers"], row["marked_by"]) == ("2", "0 3")
    assert (row["malignancy"], row["calcification"], row["texture"], row["margin"]) == ("3.5", "3", "5", "")


@pytest.mark.real_data
@pytest.mark.skipif(not REAL.exists(), reason="no real data here")
def test_the_consensus_of_real_readers_is_the_published_one():
    nib = pytest.importorskip("nibabel")
    paths = sorted((REAL / "ratersTr").glob("*.nii.gz"))
    assert len(paths) == 32
    for path in paths:
        bits, label = (
            np.asarray(nib.load(REAL / name / path.name).dataobj) for name in ("ratersTr", "labelsTr")
        )
        np.testing.assert_array_equal(consensus(bits.astype(np.uint8), 4), label)
