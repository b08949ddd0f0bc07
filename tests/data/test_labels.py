from __future__ import annotations

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.labels import (
    COLOURS,
    class_ids,
    crop_alike,
    raw_values,
    read_label,
    read_pixels,
    read_values,
    resampled_alike,
)
from unetkit.errors import DataError
from unetkit.records.case import Case, Grid, Placement, Sample
from unetkit.records.plan import DataPlan, PreparationPlan

BINARY = DataPlan(rank=2, channels=("image",), classes=("background", "defect"), label_values=(0, 255))


def case(tmp_path, image=None, label=None, **more):
    images = []
    for number, array in enumerate(image if isinstance(image, list) else [image]):
        images.append(tmp_path / f"i{number}.tif")
        tifffile.imwrite(images[-1], array, photometric="minisblack")
    path = None
    if label is not None:
        path = tmp_path / "l.png"
        Image.fromarray(label).save(path)
    return Case("a", tuple(images), path, "a", **more)


def test_raw_values_become_class_ids():
    ids, known = class_ids(np.array([[255, 0], [0, 255]], np.uint8), BINARY, where="a.png")
    assert ids.tolist() == [[1, 0], [0, 1]]
    assert ids.dtype == np.uint8
    assert known is None


def test_ignored_pixels_are_background_and_unknown():
    data = BINARY.model_copy(update={"label_values": (1, 4), "ignore_value": 9})
    ids, known = class_ids(np.array([1, 4, 9, 1]), data, where="a.png")
    assert ids.tolist() == [0, 1, 0, 0]
    assert known is not None
    assert known.tolist() == [True, True, False, True]


@pytest.mark.parametrize("ignored", [-1, 70000])
def test_not_labelled_may_be_a_value_that_no_class_can_have(ignored):
    data = BINARY.model_copy(update={"ignore_value": ignored})
    ids, known = class_ids(np.array([[0, 255], [ignored, 0]]), data, where="a.png")
    assert ids.tolist() == [[0, 1], [0, 0]]
    assert ids.dtype == np.uint8
    assert known is not None
    assert known.tolist() == [[True, True], [False, True]]
    assert class_ids(np.array([0, 255]), data, where="a.png")[1] is None
    for value in (-2, 7, 70001):
        with pytest.raises(DataError, match=f"the label value {value} is beyond the 2 classes"):
            class_ids(np.array([0, ignored, value]), data, where="a.png")


def test_many_classes_take_sixteen_bits():
    count = 300
    data = DataPlan(
        rank=2, channels=("i",), classes=tuple(map(str, range(count))), label_values=tuple(range(count))
    )
    ids, _ = class_ids(np.array([299, 0]), data, where="a.png")
    assert ids.dtype == np.uint16
    assert ids.tolist() == [299, 0]


@pytest.mark.parametrize("value", [7, -1, 70000])
def test_a_value_beyond_the_classes_is_refused(value):
    with pytest.raises(
        DataError,
        match=rf"a\.png: the label value {value} is beyond the 2 classes \(0 background, 255 defect\)",
    ):
        class_ids(np.array([0, value]), BINARY, where="a.png")


def test_channel_files_are_stacked_in_order(tmp_path):
    parts = [np.full((4, 5), n, np.uint8) for n in (3, 1)]
    pixels, _ = read_pixels(case(tmp_path, parts))
    assert pixels.shape == (2, 4, 5)
    assert pixels[:, 0, 0].tolist() == [3, 1]


def test_channel_files_of_other_size_or_place_are_refused(tmp_path):
    with pytest.raises(DataError, match=r"i1\.tif: the channels of one case must lie on one grid: \(4, 5\)"):
        read_pixels(case(tmp_path, [np.zeros((4, 5), np.uint8), np.zeros((4, 6), np.uint8)]))
    paths = []
    for name, step in (("a.nii", 1), ("b.nii", 2)):
        nib.save(nib.Nifti1Image(np.zeros((3, 3, 3), np.uint8), np.diag([step, 1, 1, 1])), tmp_path / name)
        paths.append(tmp_path / name)
    with pytest.raises(DataError, match="resample the channels onto one grid"):
        read_pixels(Case("a", tuple(paths), None, "a"))


@pytest.mark.parametrize("odd", [np.nan, np.inf])
def test_nan_pixels_are_refused(tmp_path, odd):
    image = np.zeros((4, 5), np.float32)
    image[1, 2] = odd
    with pytest.raises(DataError, match=r"i0\.tif: NaN pixels: 1 of 20 values are not finite"):
        read_pixels(case(tmp_path, image))


def test_pixels_beyond_float32_are_refused_where_they_are_read(tmp_path):
    image = np.zeros((4, 5), np.float64)
    image[1, 2] = 3e38
    assert read_pixels(case(tmp_path, image))[0].max() == 3e38
    image[1, 2] = -1.7e308
    with pytest.raises(DataError, match=r"a pixel of size 1\.7e\+308: expected values up to 3\.4e\+38"):
        read_pixels(case(tmp_path, image))


def test_a_region_cuts_pixels_and_label_alike_and_moves_the_origin(tmp_path):
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    part = case(tmp_path, image, (image % 2 * 255).astype(np.uint8), region=((1, 3), (2, 5)))
    pixels, grid = read_pixels(part)
    np.testing.assert_array_equal(pixels[0], image[1:3, 2:5])
    ids, known, label_grid = read_label(part, BINARY)
    np.testing.assert_array_equal(ids, image[1:3, 2:5] % 2)
    assert known is None
    assert grid.origin_mm == label_grid.origin_mm == (1.0, 2.0)


def test_a_region_outside_the_image_is_refused(tmp_path):
    with pytest.raises(DataError, match=r"the region .* does not lie in the shape \(4, 5\)"):
        read_pixels(case(tmp_path, np.zeros((4, 5), np.uint8), region=((0, 4), (0, 6))))


def test_a_case_without_files_is_refused():
    with pytest.raises(DataError, match="no image file"):
        read_pixels(Case("a", (), None, "a"))
    with pytest.raises(DataError, match="no label"):
        read_values(Case("a", (), None, "a"))


def test_a_grey_picture_that_was_saved_in_colour_is_grey_to_a_model_of_grey_ones(tmp_path):
    grey = np.arange(20, dtype=np.uint8).reshape(4, 5)
    Image.fromarray(np.dstack([grey] * 3)).save(tmp_path / "a.png")
    one = Case.unlabelled("a", (tmp_path / "a.png",))
    assert read_pixels(one)[0].shape == (3, 4, 5)
    np.testing.assert_array_equal(read_pixels(one, BINARY)[0], grey[None])
    Image.fromarray(np.dstack([grey, grey, grey + 1])).save(tmp_path / "a.png")
    assert read_pixels(one, BINARY)[0].shape == (3, 4, 5)


def test_grey_among_colour_gets_three_equal_channels(tmp_path):
    colour = BINARY.model_copy(update={"channels": COLOURS})
    image = np.arange(20, dtype=np.uint8).reshape(4, 5)
    pixels, _ = read_pixels(case(tmp_path, image), colour)
    np.testing.assert_array_equal(pixels, np.stack([image] * 3))
    assert read_pixels(case(tmp_path, image), BINARY)[0].shape == (1, 4, 5)


def test_a_channel_that_states_no_spacing_goes_with_one_that_does(tmp_path):
    paths = [tmp_path / "a.tif", tmp_path / "b.tif"]
    for path, facts in zip(
        paths, ({"resolution": (20, 20), "resolutionunit": "CENTIMETER"}, {}), strict=True
    ):
        tifffile.imwrite(path, np.zeros((4, 5), np.uint8), **facts)
    pixels, grid = read_pixels(Case("a", tuple(paths), None, "a"))
    assert pixels.shape == (2, 4, 5)
    assert grid.spacing_mm == (0.5, 0.5)


def test_a_dicom_label_is_laid_on_the_grid_of_its_image(tmp_path, write_series):
    """Slices without an object, which a segmentation may leave out, come from the image."""
    pydicom = pytest.importorskip("pydicom")
    pytest.importorskip("highdicom")
    from unetkit.data.formats.dicom import write_labels

    labels = np.zeros((4, 5, 6), np.uint8)
    labels[1:3, 2, 3] = 1
    write_series(tmp_path / "image", labels.astype(np.uint16), step=(0, 0, 3))
    path = tmp_path / "seg.dcm"
    write_labels(path, labels, source=tmp_path / "image", names=["ball"])
    ds = pydicom.dcmread(path)
    kept = [1, 2]  # as most programs write it
    groups = ds.PerFrameFunctionalGroupsSequence
    bits = np.stack([ds.pixel_array[n] for n in kept])
    ds.PerFrameFunctionalGroupsSequence = [groups[n] for n in kept]
    ds.NumberOfFrames = len(kept)
    packed = np.packbits(bits.ravel(), bitorder="little").tobytes()
    ds.PixelData = packed + b"\0" * (len(packed) % 2)
    ds.save_as(path, enforce_file_format=True)
    values, grid = read_values(Case("a", (tmp_path / "image",), path, "a"))
    np.testing.assert_array_equal(values, labels)
    assert grid == read_pixels(Case("a", (tmp_path / "image",), None, "a"))[1]


def test_raw_values_are_the_data_sets_own():
    def data(*values):
        names = tuple(f"k{i}" for i in range(len(values)))
        return DataPlan(rank=2, channels=("c",), classes=names, label_values=values)

    ids = np.array([[0, 1], [1, 0]], np.uint8)
    assert raw_values(ids, data(0, 255)).tolist() == [[0, 255], [255, 0]]
    assert raw_values(ids, data(0, 255)).dtype == np.uint8
    assert raw_values(ids, data(1, 2)).tolist() == [[1, 2], [2, 1]]
    assert raw_values(ids, data(0, 300)).dtype == np.uint16
    assert raw_values(ids, data(-1, 255)).dtype == np.int16


def test_what_lies_beside_an_image_is_cropped_as_it_was():
    grid = Grid.plain(2)
    placement = Placement((4, 5), grid, ((1, 3), (2, 5)))
    sample = Sample("a", np.zeros((1, 2, 3), np.uint8), grid, placement=placement)
    marks = np.arange(20, dtype=np.uint8).reshape(4, 5)
    kept = crop_alike(marks, sample, noun="its marks", cure="mark it again")
    assert kept.tolist() == [[7, 8, 9], [12, 13, 14]]
    alike = resampled_alike(kept, (2, 3), PreparationPlan(normalization=()))
    assert np.array_equal(alike, kept)
    assert not np.shares_memory(alike, marks)
    with pytest.raises(
        DataError, match=r"a: the image has shape \(4, 5\), its marks \(5, 4\)\. Do this: mark it again"
    ):
        crop_alike(marks.T, sample, noun="its marks", cure="mark it again")
