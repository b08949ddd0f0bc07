import itertools

import numpy as np
import pytest
from PIL import Image

from unetkit.records.case import Grid
from unetkit.records.run import Run
from unetkit.workflows.case_pictures import PictureIndex, Shown, plane_of, read_planes, save_pictures

PLENTY = 10**8


def shown(pixels, labels=None, grid=None, **more):
    rank = pixels.ndim - 1
    return Shown("a", pixels, grid or Grid.plain(rank), labels, labels, classes=("x",), **more)


def turned(order, flips):
    """A file's grid whose axes are those of the patient in some order, some running the other way."""
    unit = np.array([[0, 0, 1], [0, -1, 0], [-1, 0, 0]], float)  # up, to the back, to the left
    signs = np.where(flips, -1.0, 1.0)
    direction = tuple(tuple(map(float, sign * unit[role])) for role, sign in zip(order, signs, strict=True))
    return Grid((3.0, 1.0, 2.0), (5.0, 6.0, 7.0), direction)


def test_a_picture_is_one_plane_and_may_lack_a_label(tmp_path):
    pixels = np.random.default_rng(0).integers(0, 255, (3, 9, 7)).astype(np.uint8)
    made = save_pictures(Run(tmp_path), 0, shown(pixels), budget=PLENTY)
    assert (made.shape, made.kind, made.planes, made.windows) == ((1, 9, 7), "colour", (), ())
    assert (made.reference, made.prediction, made.objects, made.words) == (None, None, (), "")
    back = read_planes(Run(tmp_path), made, made.image)
    assert np.array_equal(back[0], np.moveaxis(pixels, 0, -1))
    assert read_planes(Run(tmp_path), made, None) is None


@pytest.mark.parametrize("count", [1, 2, 7, 12, 13])
def test_planes_come_back_from_the_sheet(tmp_path, count):
    labels = np.random.default_rng(count).integers(0, 4, (count, 5, 11)).astype(np.uint8)
    made = save_pictures(Run(tmp_path), 3, shown(np.ones((1, *labels.shape)), labels), budget=PLENTY)
    assert np.array_equal(read_planes(Run(tmp_path), made, made.prediction), labels)
    with Image.open(tmp_path / "pictures" / made.image) as sheet:
        assert sheet.width == made.across * 11
        assert max(sheet.size) < 3 * min(sheet.size) or count < 3
    record = PictureIndex(cases=(made,))
    assert PictureIndex.from_json(record.to_json(), where="x") == record


@pytest.mark.parametrize("order", list(itertools.permutations(range(3))))
@pytest.mark.parametrize("flips", list(itertools.product((False, True), repeat=3)))
def test_every_orientation_is_hung_the_same_way(tmp_path, order, flips):
    patient = np.zeros((4, 6, 8), np.uint8)  # feet to head, front to back, right to left
    patient[3, 0, 0] = 1  # the head, in front, on the patient's right
    stored = np.transpose(patient, order)
    stored = stored[tuple(slice(None, None, -1 if flip else 1) for flip in flips)]
    at = tuple(int(place[0]) for place in np.nonzero(stored))
    made = save_pictures(Run(tmp_path), 0, shown(stored[None], stored, turned(order, flips)), budget=PLENTY)
    assert np.array_equal(read_planes(Run(tmp_path), made, made.reference), patient)
    assert made.plane == order[0]  # the file's own planes
    assert made.planes == ("axial", "coronal", "sagittal")
    spacing = dict(zip(order, (3.0, 1.0, 2.0), strict=True))
    assert made.spacing == (spacing[0], spacing[1], spacing[2])
    (found,) = made.objects
    assert found.at == (3, 0, 0)
    for axis, role in enumerate(order):  # the number a person reads is the file's own
        first, step, total = made.numbers[role]
        assert total == stored.shape[axis]
        assert first + step * found.at[role] == at[axis] + 1
    reference = read_planes(Run(tmp_path), made, made.reference)
    assert plane_of(reference, 0, 3, oriented=True)[0, 0] == 1
    assert plane_of(reference, 1, 0, oriented=True)[0, 0] == 1  # the head is up
    assert plane_of(reference, 2, 0, oriented=True)[0, 0] == 1


def test_a_volume_of_unknown_place_stays_as_stored(tmp_path):
    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1, 2, 3] = 1
    made = save_pictures(Run(tmp_path), 0, shown(np.zeros((1, 4, 5, 6)), labels), budget=PLENTY)
    assert made.planes[0] == "first axis"
    assert np.array_equal(read_planes(Run(tmp_path), made, made.reference), labels)
    assert (made.plane, made.best, made.objects[0].at) == (0, 1, (1, 2, 3))


def test_hounsfield_units_are_kept_and_have_windows(tmp_path):
    values = np.array([-2000, -1024, -1, 0, 40, 3071, 5000, 7], np.int16).reshape(1, 2, 2, 2)
    made = save_pictures(Run(tmp_path), 0, shown(values, channel="CT"), budget=PLENTY)
    assert made.kind == "wide"
    levels = read_planes(Run(tmp_path), made, made.image).ravel() * made.scale + made.offset
    assert levels.tolist() == [-1024, -1024, -1, 0, 40, 3071, 3071, 7]
    soft, lung = made.windows[:2]
    assert (soft.name, soft.low * made.scale + made.offset, soft.high * made.scale + made.offset) == (
        "soft tissue", -160, 240,
    )  # fmt: skip
    assert lung.name == "lung"
    shifted = save_pictures(Run(tmp_path), 0, shown(values.clip(0), channel="CT"), budget=PLENTY)
    assert shifted.kind == "grey"


def test_other_volumes_have_windows_by_percentiles(tmp_path):
    values = np.linspace(0, 1000, 4000).reshape(1, 10, 20, 20)
    made = save_pictures(Run(tmp_path), 0, shown(values), budget=PLENTY)
    names = [window.name for window in made.windows]
    assert names == ["percentiles 0.5 to 99.5", "percentiles 2 to 98", "percentiles 10 to 90", "all"]
    tenth = made.windows[2].low * made.scale + made.offset
    assert tenth == pytest.approx(100, abs=2)
    constant = save_pictures(Run(tmp_path), 0, shown(values * 0), budget=PLENTY)
    assert read_planes(Run(tmp_path), constant, constant.image).max() == 0


def test_what_is_too_large_is_cut_to_its_objects_then_averaged(tmp_path):
    labels = np.zeros((20, 200, 200), np.uint8)
    labels[8:12, 100:140, 60:90] = 1
    grid = turned((0, 1, 2), (False, False, True))
    case = shown(np.ones((1, *labels.shape)), labels, grid)
    made = save_pictures(Run(tmp_path), 0, case, budget=20 * 80 * 80)
    assert made.words == "the 20 × 72 × 62 pixels around the objects, of 20 × 200 × 200"
    assert made.shape == (20, 72, 62)
    assert read_planes(Run(tmp_path), made, made.reference).sum() == labels.sum()
    first, step, total = made.numbers[2]
    assert (first + step * made.objects[0].at[2] - 1, total) in [(74, 200), (75, 200)]
    small = save_pictures(Run(tmp_path), 0, case, budget=3000)
    assert np.prod(small.shape) <= 3000
    assert "shown as one" in small.words
    z, y, x = small.objects[0].at
    assert read_planes(Run(tmp_path), small, small.reference)[z, y, x] == 1
    assert small.spacing[1] > made.spacing[1]
    empty = save_pictures(Run(tmp_path), 0, shown(case.pixels, labels * 0, grid), budget=20 * 80 * 80)
    assert "around" not in empty.words


def test_a_large_picture_is_averaged_and_a_thin_object_stays(tmp_path):
    labels = np.zeros((1200, 700), np.uint8)
    labels[600] = 2
    made = save_pictures(Run(tmp_path), 0, shown(np.zeros((1, 1200, 700), np.uint16), labels), budget=90_000)
    assert made.words == "4 × 4 pixels shown as one"
    assert (read_planes(Run(tmp_path), made, made.prediction) == 2).any(axis=1).all()


def test_pixels_of_which_nothing_is_known_are_no_objects(tmp_path):
    labels = np.ones((8, 8), np.uint8)
    case = Shown("a", labels[None], Grid.plain(2), labels, 0 * labels, labels < 0, ("x",))
    assert save_pictures(Run(tmp_path), 0, case, budget=PLENTY).objects == ()
