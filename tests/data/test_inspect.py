from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import nibabel as nib
import numpy as np
import pytest
import tifffile
from PIL import Image

from unetkit.data.catalog import find_cases
from unetkit.data.inspect import inspect, inspect_unlabelled, raise_if_refused
from unetkit.data.labels import read_pixels
from unetkit.errors import DataError

REAL = Path(__file__).parents[3] / "shared" / "data"


def picture(seed, *shape):
    return np.random.default_rng(seed).integers(0, 255, shape or (12, 16), dtype=np.uint8)


def mask(*values):
    array = np.zeros((12, 16), np.uint8)
    for number, value in enumerate(values or (1,)):
        array[2 * number : 2 * number + 2, 3:8] = value
    return array


def write(path, array):
    path.parent.mkdir(parents=True, exist_ok=True)
    if path.suffix in (".tif", ".tiff"):
        tifffile.imwrite(path, array, photometric="minisblack" if array.ndim < 3 else None)
    elif path.suffix in (".nii", ".gz"):
        nib.save(nib.Nifti1Image(array.T, np.eye(4)), path)
    else:
        Image.fromarray(array).save(path)


@pytest.fixture
def root(tmp_path):
    """Three good cases; every test spoils one."""
    for number, id in enumerate("abc"):
        write(tmp_path / f"images/{id}.png", picture(number))
        write(tmp_path / f"masks/{id}.png", mask(1))
    return tmp_path


def look(root):
    return inspect(find_cases(root))


def only_refusal(root):
    inspection = look(root)
    (problem,) = [problem for problem in inspection.problems if problem.severity == "refused"]
    assert inspection.refused
    assert inspection.data is None
    assert problem.where
    assert problem.cure
    with pytest.raises(DataError) as wrong:
        raise_if_refused(inspection)
    assert wrong.value.problem == problem.problem
    assert wrong.value.exit_code == 3
    return problem


def findings(root, code):
    return [problem for problem in look(root).problems if problem.code == code]


def test_a_good_set_is_accepted(root):
    inspection = look(root)
    assert not inspection.refused
    raise_if_refused(inspection)
    assert [fact.id for fact in inspection.facts] == ["a", "b", "c"]
    data = inspection.data
    assert data is not None
    assert (data.rank, data.channels, data.classes) == (2, ("image",), ("background", "foreground"))
    assert (data.label_values, data.ignore_value, data.pixels) == ((0, 1), None, "uint8")


class Watcher:
    def __init__(self):
        self.done, self.total, self.ended = 0.0, None, False

    def begin(self, task, total=None, *, done=0.0):
        self.total = total

    def advance(self, amount=1.0, /, **shown):
        self.done += amount

    def end(self):
        self.ended = True

    def say(self, text):
        raise AssertionError(text)


def test_progress_counts_cases(root):
    watcher = Watcher()
    inspect(find_cases(root), progress=watcher)
    assert (watcher.done, watcher.total, watcher.ended) == (3, 3, True)


def test_images_without_a_label_are_opened_and_stop_nothing(tmp_path):
    for name in ("a", "b"):
        write(tmp_path / f"{name}.png", np.eye(8, dtype=np.uint8) * 9)
        write(tmp_path / f"{name}_mask.png", np.eye(8, dtype=np.uint8))
    whole = (tmp_path / "a.png").read_bytes()
    (tmp_path / "cut.png").write_bytes(whole[: len(whole) // 2])
    write(tmp_path / "fine.png", np.ones((4, 6), np.uint8))
    write(tmp_path / "colour.png", np.ones((4, 6, 3), np.uint8))
    write(tmp_path / "nan.tif", np.full((4, 4), np.nan, np.float32))
    rows = ["image,label", "a.png,a_mask.png", "b.png,b_mask.png"]
    rows += [f"{name}," for name in ("cut.png", "fine.png", "colour.png", "nan.tif", "gone.png")]
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    catalog = find_cases(tmp_path / "cases.csv")
    seen = inspect(replace(catalog, problems=()))
    watcher = Watcher()
    found = inspect_unlabelled(seen, progress=watcher)
    assert [(Path(each.where).name, each.severity, each.code) for each in found] == [
        ("colour.png", "warning", "unlabelled-kind"),
        ("cut.png", "warning", "image"),
        ("nan.tif", "warning", "nan-pixels"),
    ]
    assert "3 channel(s) and 2 axes, they have 1 and 2" in found[0].problem
    assert "truncated" in found[1].problem
    assert found[2].problem == "NaN pixels: 16 of 16 values are not finite"
    assert (watcher.done, watcher.total, watcher.ended) == (4, 4, True)  # the missing file is named already
    assert not seen.refused


def test_an_alpha_that_counts_as_a_channel_is_said(root):
    for number, id in enumerate("abc"):
        write(root / f"images/{id}.png", picture(number, 12, 16, 2))
    seen = look(root)
    assert seen.data is not None
    assert len(seen.data.channels) == 2
    said = [each.problem for each in seen.problems if "alpha" in each.problem]
    assert said == [
        "its alpha is not opaque everywhere: it counts as one more channel (and so in 3 files in all)"
    ]


def test_an_alpha_that_others_lack_is_left_out(root):
    write(root / "images/a.png", picture(0, 12, 16, 4))
    for number, id in enumerate("bc", start=1):
        write(root / f"images/{id}.png", picture(number, 12, 16, 3))
    seen = look(root)
    assert seen.data is not None
    assert seen.data.channels == ("red", "green", "blue")
    assert [(fact.channels, len(fact.minima), len(fact.sampled)) for fact in seen.facts] == [(3, 3, 3)] * 3
    said = [each.problem for each in seen.problems if "alpha" in each.problem]
    assert said == ["its alpha was left out: other pictures have none, or an opaque one"]
    pixels, _ = read_pixels(seen.catalog.cases[0], seen.data)
    np.testing.assert_array_equal(pixels, read_pixels(seen.catalog.cases[0])[0][:3])


def test_missing_mask(root):
    (root / "masks/b.png").unlink()
    problem = only_refusal(root)
    assert problem.where.endswith("images/b.png")
    assert problem.problem.startswith("missing mask: expected a file named 'b' in masks/")


def test_mask_of_another_size(root):
    write(root / "masks/b.png", np.ones((12, 15), np.uint8))
    problem = only_refusal(root)
    assert problem.where.endswith("masks/b.png")
    assert problem.problem == "a mask of another size: the image b.png has 12 × 16 pixels, its mask 12 × 15"
    assert problem.cure == "export the mask at the size of the image"


def test_channels_that_were_written_as_slices_are_told(root):
    (root / "images/b.png").unlink()
    write(root / "images/b.tif", picture(1, 12, 16, 8))
    problem = next(each for each in look(root).problems if each.code == "label-size")
    assert problem.problem.endswith("has 12 × 16 × 8 pixels, its mask 12 × 16")
    assert "planarconfig='contig'" in problem.cure
    tifffile.imwrite(
        root / "images/b.tif", picture(1, 12, 16, 8), photometric="minisblack", planarconfig="contig"
    )
    assert read_pixels(find_cases(root).cases[1])[0].shape == (8, 12, 16)


def test_turned_mask(root):
    write(root / "masks/b.png", mask(1).T.copy())
    assert "turned: the image may carry an EXIF rotation that the mask lacks" in only_refusal(root).problem


def test_rgb_mask(root):
    write(root / "masks/b.png", np.stack([mask(1), mask(1), mask(1) * 0], axis=-1))
    problem = only_refusal(root)
    assert problem.where.endswith("masks/b.png")
    assert problem.problem.startswith("an RGB mask: expected one channel of class numbers")


def test_float_labels(root):
    (root / "masks/b.png").unlink()
    write(root / "masks/b.tif", mask(1) * np.float32(0.5))
    problem = only_refusal(root)
    assert problem.where.endswith("masks/b.tif")
    assert problem.problem.startswith("float labels: expected whole numbers, got 0.5")


def test_jpeg_mask(root):
    (root / "masks/b.png").unlink()
    write(root / "masks/b.jpg", mask(1) * 255)
    assert "a JPEG mask is refused" in only_refusal(root).problem


def test_label_value_beyond_the_classes(root):
    (root / "dataset.json").write_text(json.dumps({"labels": {"background": 0, "scratch": 1}}))
    write(root / "masks/b.png", mask(1, 6))
    problem = only_refusal(root)
    assert problem.where.endswith("masks/b.png")
    assert problem.problem == (
        "the label value 6 is beyond the 2 classes of dataset.json (0 background, 1 scratch)"
    )


@pytest.mark.parametrize("suffix", [".png", ".tif", ".nii.gz", ".nii", ".bmp", ".jpg"])
def test_truncated_image(root, suffix):
    (root / "images/b.png").unlink()
    path = root / f"images/b{suffix}"
    write(path, picture(1))
    path.write_bytes(path.read_bytes()[: path.stat().st_size * 2 // 3])
    problem = only_refusal(root)
    assert problem.where == str(path)
    assert "truncated" in problem.problem
    assert problem.cure == "copy the file again from its source; nothing of it was used"


def test_nan_pixels(root):
    (root / "images/b.png").unlink()
    image = picture(1).astype(np.float32)
    image[3, 3] = np.nan
    write(root / "images/b.tif", image)
    problem = only_refusal(root)
    assert (problem.code, problem.where) == ("nan-pixels", str(root / "images/b.tif"))
    assert problem.problem == "NaN pixels: 1 of 192 values are not finite"


def test_all_background(root):
    for id in "abc":
        write(root / f"masks/{id}.png", mask(0))
    assert "all-background labels: no mask of this data set" in only_refusal(root).problem


def test_mixed_channel_counts(root):
    (root / "images/b.png").unlink()
    write(root / "images/b.tif", picture(1, 12, 16, 4))
    problem = only_refusal(root)
    assert problem.problem == "mixed channel counts: 1 channels in 'a', 4 channels in 'b'"
    assert problem.cure == "give every image the same channels"


def test_grey_among_colour_is_said_and_accepted(root):
    write(root / "images/b.png", picture(1, 12, 16, 3))
    inspection = look(root)
    assert inspection.data is not None
    assert inspection.data.channels == ("red", "green", "blue")
    assert {(fact.channels, len(fact.minima), len(fact.sampled)) for fact in inspection.facts} == {(3, 3, 3)}
    (problem,) = findings(root, "grey-and-colour")
    assert problem.severity == "warning"
    assert "a grey picture counts as one with three equal channels" in problem.problem


@pytest.mark.parametrize(
    ("shape", "spacing", "said"), [((4, 12, 12), 1, 1), ((4, 12, 12), 2, 0), ((5, 12, 12), 1, 0)]
)
def test_thin_volumes_of_cubes_may_have_lost_their_spacing(tmp_path, shape, spacing, said):
    for folder, array in (("imagesTr", picture(1, *shape)), ("labelsTr", picture(2, *shape) // 128)):
        (tmp_path / folder).mkdir()
        affine = np.diag([1, 1, spacing, 1])
        nib.save(nib.Nifti1Image(array.T, affine), tmp_path / folder / "a.nii.gz")
    problems = findings(tmp_path, "spacing")
    assert [problem.severity for problem in problems] == ["warning"] * said
    if said:
        assert "yet 'a' has 4 × 12 × 12 voxels" in problems[0].problem


def test_mixed_rank(root):
    (root / "images/b.png").unlink()
    (root / "masks/b.png").unlink()
    write(root / "images/b.nii.gz", picture(1, 4, 5, 6))
    write(root / "masks/b.nii.gz", picture(1, 4, 5, 6) // 128)
    assert "mixed axes: 2 axes in 'a', 3 axes in 'b'" in only_refusal(root).problem


def test_label_geometry(tmp_path):
    write(tmp_path / "imagesTr/a.nii.gz", picture(1, 4, 5, 6))
    (tmp_path / "labelsTr").mkdir()
    affine = np.eye(4)
    affine[0, 3] = 0.5
    nib.save(nib.Nifti1Image((picture(1, 4, 5, 6) // 128).T, affine), tmp_path / "labelsTr/a.nii.gz")
    problem = only_refusal(tmp_path)
    assert problem.where.endswith("labelsTr/a.nii.gz")
    assert (
        "the geometry of the label is not that of its image a.nii.gz: origin (mm) (0, 0, 0) and (0.5, 0, 0)"
        in (problem.problem)
    )


def test_a_rounding_error_is_no_other_geometry(tmp_path):
    write(tmp_path / "imagesTr/a.nii.gz", picture(1, 4, 5, 6))
    (tmp_path / "labelsTr").mkdir()
    affine = np.eye(4)
    affine[0, 3] = 5e-4
    nib.save(nib.Nifti1Image((picture(1, 4, 5, 6) // 128).T, affine), tmp_path / "labelsTr/a.nii.gz")
    assert not look(tmp_path).refused


def test_every_problem_is_found_in_one_pass(root):
    (root / "images/a.png").write_bytes(b"no picture at all")
    write(root / "masks/b.png", np.ones((3, 3), np.uint8))
    (root / "masks/c.png").unlink()
    inspection = look(root)
    assert {problem.code for problem in inspection.problems if problem.severity == "refused"} >= {
        "missing-mask",
        "image",
        "label-size",
    }
    with pytest.raises(DataError, match="and 2 more"):
        raise_if_refused(inspection)


def test_the_same_picture_in_two_groups_is_a_warning_with_both_names(root):
    write(root / "images/c.png", picture(0))
    (problem,) = findings(root, "duplicate")
    assert problem.severity == "warning"
    assert problem.problem.startswith("the same picture in different groups: 'a', 'c'")
    (root / "index.csv").write_text("id,group\na,1\nb,2\nc,1\n")
    (problem,) = findings(root, "duplicate")
    assert (problem.severity, problem.problem) == ("note", "the same picture more than once: 'a', 'c'")


def test_binary_palette_and_one_based_masks_are_said(root):
    for id in "abc":
        write(root / f"masks/{id}.png", mask(1) * 255)
    (problem,) = findings(root, "binary")
    assert problem.problem == "masks are 0/255: two classes, 255 is the foreground"
    for id in "abc":
        image = Image.frombytes("P", (16, 12), mask(1, 2).tobytes())
        image.putpalette([0, 0, 0, 255, 0, 0, 0, 255, 0])
        image.save(root / f"masks/{id}.png")
    (problem,) = findings(root, "file")
    assert (
        "it has a palette: an image takes its colours, a mask its numbers (and so in 3 files"
        in problem.problem
    )
    assert look(root).data.label_values == (0, 1, 2)
    for id in "abc":
        write(root / f"masks/{id}.png", mask(1) + 1)
    assert findings(root, "one-based")
    assert look(root).data.label_values == (1, 2)


def test_samples_and_objects_are_of_the_foreground_alone(root):
    for id in "abc":
        write(root / f"masks/{id}.png", mask(1, 2, 254) + 1)
    inspection = look(root)
    assert inspection.data.ignore_value == 255
    fact = inspection.facts[0]
    assert set(fact.object_sizes) == {2, 3}
    assert sorted(set(fact.sampled_values.tolist())) == [2, 3]
    assert fact.sampled.shape == (1, 20)


def test_a_negative_value_that_is_not_labelled_gives_no_sample(root):
    labels = {"background": 0, "scratch": 1, "ignore": -1}
    (root / "dataset.json").write_text(json.dumps({"labels": labels}))
    for id in "abc":
        (root / f"masks/{id}.png").unlink()
        values = mask(1, 2).astype(np.int16)
        tifffile.imwrite(root / f"masks/{id}.tif", np.where(values == 2, -1, values).astype(np.int16))
    inspection = look(root)
    assert inspection.data.ignore_value == -1
    fact = inspection.facts[0]
    assert fact.label_counts[-1] == fact.label_counts[1] == 10
    assert fact.object_sizes == {1: (10,)}
    assert fact.sampled_values.tolist() == [1] * 10


def test_dataset_json_names_classes_and_channels(root):
    content = {"labels": {"background": 0, "scratch": 1}, "channel_names": {"0": "SEM"}}
    (root / "dataset.json").write_text(json.dumps(content))
    data = look(root).data
    assert (data.channels, data.classes) == (("SEM",), ("background", "scratch"))
    content["channel_names"] = {"0": "a", "1": "b"}
    (root / "dataset.json").write_text(json.dumps(content))
    (problem,) = findings(root, "channel-names")
    assert "names 2 channels, the images hold 1: not used" in problem.problem


def test_constant_pictures_empty_masks_and_rare_classes_are_said(root):
    write(root / "images/a.png", np.full((12, 16), 7, np.uint8))
    write(root / "masks/a.png", mask(0))
    write(root / "masks/b.png", mask(1, 2))
    assert "every pixel has the same value (7)" in findings(root, "constant")[0].problem
    assert "background only in 1 of " in findings(root, "empty-masks")[0].problem
    assert "1 classes occur in one group only: 'class 2' (in 'b')" in findings(root, "rare-class")[0].problem


def test_pages_are_said(tmp_path):
    stack = picture(0, 6, 12, 16)
    write(tmp_path / "images/a.tif", stack)
    write(tmp_path / "masks/a.tif", stack // 128)
    assert "its 6 pages were taken as the slices of a volume" in findings(tmp_path, "file")[0].problem
    assert look(tmp_path).data.rank == 3


@pytest.mark.real_data
@pytest.mark.parametrize(
    ("name", "rank", "channels", "classes"),
    [
        ("isbi2012_em", 2, 1, 2),
        ("drive", 2, 3, 2),
        ("camvid", 2, 3, 12),
        ("dsb2018_nuclei", 2, 3, 2),
        ("msd_lung_patches", 2, 1, 2),
        ("acdc_cardiac", 3, 1, 4),
        ("lidc_nodules3d", 3, 1, 2),
        ("totalseg_example", 3, 1, 51),
    ],
)
def test_real_sets_are_accepted(name, rank, channels, classes):
    if not (REAL / name).is_dir():
        pytest.skip(f"{REAL / name} is not there")
    data = look(REAL / name).data
    assert data is not None
    assert (data.rank, len(data.channels), len(data.classes)) == (rank, channels, classes)
