from __future__ import annotations

import numpy as np
import pytest
from scipy import ndimage

from unetkit.data import facts as module
from unetkit.data.facts import count_values, digest_of, take_facts
from unetkit.records.case import Case, Grid


def facts_of(pixels, values, *, id="a", samples=10_000):
    return take_facts(Case(id, (), None, "g"), pixels, values, Grid.plain(values.ndim), samples=samples)


@pytest.mark.parametrize("shape", [(30, 40), (9, 10, 11)])
def test_counts_extremes_and_objects_agree_with_scipy(shape):
    rng = np.random.default_rng(0)
    pixels = rng.normal(size=(2, *shape)).astype(np.float32)
    values = rng.integers(0, 5, shape) * (rng.random(shape) < 0.3)
    values[values == 3] = 7
    facts = facts_of(pixels, values)
    unique, counts = np.unique(values, return_counts=True)
    assert facts.label_counts == dict(zip(unique.tolist(), counts.tolist(), strict=True))
    for value in unique[1:].tolist():
        numbered, count = ndimage.label(values == value, np.ones((3,) * values.ndim))
        expected = sorted(
            ndimage.sum_labels(np.ones(shape), numbered, range(1, count + 1)).astype(int).tolist()
        )
        assert list(facts.object_sizes[value]) == expected
    assert facts.minima == tuple(pixels.min(axis=tuple(range(1, pixels.ndim))).tolist())
    assert facts.maxima == tuple(pixels.max(axis=tuple(range(1, pixels.ndim))).tolist())
    assert (facts.shape, facts.channels, facts.dtype) == (shape, 2, "float32")


def test_the_sample_is_all_of_a_small_foreground():
    values = np.array([[0, 1, 0], [2, 0, 1]])
    pixels = np.arange(12).reshape(2, 2, 3)
    facts = facts_of(pixels, values)
    np.testing.assert_array_equal(facts.sampled, pixels[:, values > 0])
    np.testing.assert_array_equal(facts.sampled_values, values[values > 0])


def test_a_large_foreground_is_sampled_by_the_id_alone(monkeypatch):
    values = (np.random.default_rng(0).random((60, 70)) < 0.7).astype(np.uint8)
    pixels = np.arange(4200, dtype=np.int32).reshape(1, 60, 70)
    first = facts_of(pixels, values, samples=100)
    assert first.sampled.shape == (1, 100)
    assert values.reshape(-1)[first.sampled[0].astype(int)].all()
    assert len(np.unique(first.sampled)) == 100
    monkeypatch.setattr(module, "_CHUNK", 37)  # how the image is walked changes nothing
    np.testing.assert_array_equal(facts_of(pixels, values, samples=100).sampled, first.sampled)
    assert not np.array_equal(facts_of(pixels, values, id="b", samples=100).sampled, first.sampled)


def test_counting_in_pieces_is_counting_at_once(monkeypatch):
    values = np.random.default_rng(0).integers(-3, 70000, 500)
    monkeypatch.setattr(module, "_CHUNK", 7)
    unique, counts = np.unique(values, return_counts=True)
    assert count_values(values) == dict(zip(unique.tolist(), counts.tolist(), strict=True))


def test_whole_numbers_stored_as_floats_are_recognised():
    pixels = np.array([[[0.0, 2.0]], [[0.5, 1.0]]])
    assert facts_of(pixels, np.array([[0, 1]])).integer == (True, False)
    assert facts_of(pixels.astype(np.int16), np.array([[0, 1]])).integer == (True, True)


def test_the_box_around_what_is_not_zero():
    pixels = np.zeros((2, 5, 6))
    pixels[0, 1, 2] = pixels[1, 3, 4] = 1
    assert facts_of(pixels, np.zeros((5, 6), int)).cropped_shape == (3, 3)


def test_many_objects_are_thinned_evenly(monkeypatch):
    monkeypatch.setattr(module, "MOST_OBJECTS", 3)
    values = np.zeros((1, 40), int)
    for size, start in ((1, 0), (2, 5), (3, 10), (4, 15), (5, 20)):
        values[0, start : start + size] = 1
    assert facts_of(values[None], values).object_sizes == {1: (1, 3, 5)}


def test_a_huge_box_is_searched_in_part(monkeypatch):
    monkeypatch.setattr(module, "_LARGEST_SEARCH", 60)
    values = np.zeros((10, 10), int)
    values[::9, ::9] = values[4:6, 4:6] = 1
    assert facts_of(values[None], values).object_sizes == {1: (4,)}


def test_objects_are_found_beside_negative_and_large_values():
    values = np.array([[-1, 2, 2, 0, 70000], [-1, 0, 0, 0, 2]])
    facts = facts_of(values[None], values)
    assert facts.object_sizes == {2: (1, 2)}
    assert facts.label_counts == {-1: 2, 0: 4, 2: 3, 70000: 1}


def test_digests_tell_pictures_apart_by_shape_type_and_values():
    one = np.arange(6, dtype=np.uint8).reshape(1, 2, 3)
    digests = {
        digest_of(a) for a in (one, one.reshape(1, 3, 2), one.astype(np.int8), one + 1, one[:, :, ::-1])
    }
    assert len(digests) == 5
    assert digest_of(one) == digest_of(np.asfortranarray(one))


def test_an_edited_mask_or_a_moved_one_changes_the_label_digest_and_not_the_pixels():
    pixels, values = np.zeros((1, 2, 3), np.uint8), np.array([[0, 1, 2], [0, 0, 300]])
    one = facts_of(pixels, values)
    assert facts_of(pixels, values.astype(np.uint16)).label_digest == one.label_digest
    assert facts_of(pixels, values[::-1]).label_digest != one.label_digest
    assert facts_of(pixels, values[::-1]).digest == one.digest
    assert facts_of(pixels, values[::-1]).content_digest != one.content_digest
    assert facts_of(pixels + 1, values).content_digest != one.content_digest
    grids = [Grid((spacing, 1.0), (0.0, 0.0), ((1.0, 0.0), (0.0, 1.0))) for spacing in (1.0, 2.0)]
    case = Case("a", (), None, "g")
    placed = [take_facts(case, pixels, values, grid, samples=9) for grid in grids]
    assert len({fact.label_digest for fact in (one, *placed)}) == 3


def test_label_digests_do_not_depend_on_how_the_label_is_walked(monkeypatch):
    values = np.random.default_rng(0).integers(0, 5, (6, 7))
    whole = facts_of(values[None], values).label_digest
    monkeypatch.setattr(module, "_CHUNK", 5)
    assert facts_of(values[None], values).label_digest == whole


def test_the_width_of_tubes_by_hand():
    values = np.zeros((20, 30), int)
    values[4:7] = 1  # 3 wide, from edge to edge: 2 · 90 / 60
    values[10:15, 5:10] = 2  # a square of 5: 2 · 25 / 20
    facts = facts_of(values[None], values)
    assert facts.thickness == {1: 3.0, 2: 2.5}
    tube = np.zeros((12, 9, 9), int)
    tube[:, 2:5, 3:6] = 1
    assert facts_of(tube[None], tube).thickness == {1: 3.0}  # 4 · 108 / 144
    everywhere = np.ones((4, 4), int)
    assert facts_of(everywhere[None], everywhere).thickness == {1: 0.0}
