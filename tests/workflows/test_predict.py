from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image

from unetkit.data.labels import COLOURS
from unetkit.errors import DataError, ResourceError, UsageError
from unetkit.records.plan import EXAMPLE, Plan
from unetkit.records.progress import Quiet
from unetkit.workflows.model import Model, load
from unetkit.workflows.predict import find_inputs, predict

GREY, TWO, THREE = ("image",), ("T1", "T2"), ("T1", "T2", "CT")


def touch(folder, *names):
    folder.mkdir(parents=True, exist_ok=True)
    for name in names:
        (folder / name).touch()
    return folder


@pytest.mark.parametrize(
    ("names", "channels", "targets"),
    [
        (["a.png", "b.JPG", "c.tif", "d.nii.gz", "notes.txt"], GREY, ["a.png", "b.png", "c.tif", "d.nii.gz"]),
        (["x_0000.nii.gz", "y_0000.nii.gz"], GREY, ["x.nii.gz", "y.nii.gz"]),
        (["x_0000.nii", "x_0001.nii", "y_0000.nii", "y_0001.nii"], TWO, ["x.nii.gz", "y.nii.gz"]),
        (["f_0001.png", "f_0002.png"], GREY, ["f_0001.png", "f_0002.png"]),
        (["a.png", "b.png"], COLOURS, ["a.png", "b.png"]),
    ],
)
def test_stems_stay_and_channels_belong_together(tmp_path, names, channels, targets):
    inputs = find_inputs(touch(tmp_path / "in", *names), tmp_path / "out", channels=channels)
    assert sorted(each.target.name for each in inputs) == targets
    assert all(len(each.paths) == (2 if names[0].endswith("0.nii") else 1) for each in inputs)


@pytest.mark.parametrize(
    ("names", "channels", "groups"),
    [
        (["f_0001.png", "f_0002.png"], COLOURS, [["f_0001"], ["f_0002"]]),
        (["f_0000.png", "f_0001.png", "f_0002.png"], COLOURS, [["f_0000"], ["f_0001"], ["f_0002"]]),
        (["f_0000.png", "f_0001.png", "f_0002.png"], THREE, [["f_0000", "f_0001", "f_0002"]]),
        (["f_0001.png", "f_0002.png", "f_0003.png"], THREE, [["f_0001"], ["f_0002"], ["f_0003"]]),
        (["f_0000.png", "f_0001.png", "f_0002.png"], TWO, [["f_0000"], ["f_0001"], ["f_0002"]]),
        (["a.tif", "f_0000.tif", "f_0001.tif"], TWO, [["a"], ["f_0000", "f_0001"]]),
        (["f_0000.tif"], TWO, [["f_0000"]]),
    ],
)
def test_numbers_are_channels_only_where_they_can_be_nothing_else(tmp_path, names, channels, groups):
    folder = touch(tmp_path / "in", *names)
    inputs = find_inputs(folder, tmp_path / "out", channels=channels)
    assert [[path.name.partition(".")[0] for path in each.paths] for each in inputs] == groups
    for name in names:  # alone, a file is what it is among the others
        (one,) = find_inputs(folder / name, tmp_path / "out", channels=channels)
        assert [path.name.partition(".")[0] for path in one.paths] in groups
        assert folder / name in one.paths


def test_a_colour_picture_named_as_a_first_channel_loses_the_number(tmp_path):
    inputs = find_inputs(touch(tmp_path / "in", "x_0000.png", "y_0000.png"), tmp_path, channels=COLOURS)
    assert [each.target.name for each in inputs] == ["x.png", "y.png"]


def test_one_channel_file_finds_the_others(tmp_path):
    folder = touch(tmp_path / "in", "x_0000.nii.gz", "x_0001.nii.gz")
    (one,) = find_inputs(folder / "x_0001.nii.gz", tmp_path, channels=TWO)
    assert [path.name for path in one.paths] == ["x_0000.nii.gz", "x_0001.nii.gz"]
    assert one.id == "x"


def test_a_folder_per_case_is_told_by_the_names_of_the_channels(tmp_path):
    for case in ("B1", "B2"):
        names = [f"{case}_{word}.nii.gz" for word in ("t2", "t1", "ct", "seg")]
        (tmp_path / "in" / case).mkdir(parents=True)
        touch(tmp_path / "in" / case, *names)
    inputs = find_inputs(tmp_path / "in", tmp_path / "out", channels=THREE)
    assert [each.target.name for each in inputs] == ["B1.nii.gz", "B2.nii.gz"]
    assert [path.name for path in inputs[0].paths] == ["B1_t1.nii.gz", "B1_t2.nii.gz", "B1_ct.nii.gz"]
    assert find_inputs(tmp_path / "in" / "B1", tmp_path / "out", channels=THREE) == inputs[:1]
    one = touch(tmp_path / "one", "image.png")
    assert find_inputs(one, tmp_path / "out", channels=GREY)[0].id == "image"


def test_what_is_no_image_is_said_and_what_is_hidden_is_none(tmp_path):
    folder = touch(tmp_path / "in", "a.png", "._a.png", "b.webp", "index.csv")
    (folder / "more").mkdir()
    (folder / "out").mkdir()
    said = []
    watch = SimpleNamespace(say=said.append)
    (one,) = find_inputs(folder, folder / "out", channels=GREY, progress=watch)
    assert one.id == "a"
    assert said == ["warning: 2 entries are no images and were left out: b.webp, more/"]


def test_inputs_that_cannot_be_are_refused(tmp_path):
    folder = touch(tmp_path / "in", "a.png", "a.jpg")
    with pytest.raises(UsageError, match=r"'a.jpg' and 'a.png' would both be written as 'a.png'"):
        find_inputs(folder, tmp_path / "out", channels=GREY)
    with pytest.raises(UsageError, match="would overwrite an image"):
        find_inputs(folder / "a.png", folder, channels=GREY)
    with pytest.raises(DataError, match="does not exist"):
        find_inputs(tmp_path / "no", tmp_path, channels=GREY)
    with pytest.raises(DataError, match="holds no image"):
        find_inputs(touch(tmp_path / "empty", "a.txt"), tmp_path, channels=GREY)
    touch(tmp_path / "set" / "images", "a.png")
    with pytest.raises(DataError, match=r"name the folder of the images itself, such as .*set/images"):
        find_inputs(tmp_path / "set", tmp_path, channels=GREY)
    touch(tmp_path / "export" / "PA0" / "ST0" / "SE0", "a.png")
    with pytest.raises(DataError, match=r"such as .*export/PA0/ST0/SE0"):
        find_inputs(tmp_path / "export", tmp_path, channels=GREY)
    with pytest.raises(DataError, match="no format reads"):
        find_inputs(tmp_path / "empty" / "a.txt", tmp_path, channels=GREY)


def test_probabilities_agree_with_the_labels_and_tta_runs(finished, wafers, tmp_path):
    model = load(finished)
    image = wafers / "images" / "wafer00-0.png"
    result = predict(model, image, tmp_path, probabilities=True, tta=True)
    (one,) = result.written
    packed = np.load(one.probabilities, allow_pickle=False)
    labels = np.asarray(Image.open(one.path))
    assert packed["classes"].tolist() == list(model.classes)
    assert packed["probabilities"].dtype == np.float16
    assert packed["probabilities"].shape == (4, 64, 64)
    agree = packed["probabilities"].argmax(axis=0) == labels
    assert agree.mean() > 0.99  # float16 may tie
    assert one.pixels["scratch"] == (labels == 1).sum()


def test_mirrors_that_a_model_does_not_have_are_said(wafers, tmp_path):
    said = []

    class Watch(Quiet):
        def say(self, text):
            said.append(text)

    model = Model(tmp_path, Plan.model_validate(EXAMPLE), SimpleNamespace(), "cpu")  # pyright: ignore[reportArgumentType]
    image = wafers / "images" / "wafer00-0.png"
    predict(model, image, tmp_path / "out", tta=True, dry_run=True, progress=Watch())
    predict(model, image, tmp_path / "out", dry_run=True, progress=Watch())
    assert said == ["warning: this model was not trained on mirrored images: --tta changes nothing"]


def test_a_single_image_tells_its_tiles_and_several_tell_both(finished, wafers, tmp_path):
    class Watcher(Quiet):
        def __init__(self):
            self.tasks = []

        def begin(self, task, total=None, *, done=0.0):
            self.tasks.append((task, total))

    model, images = load(finished), sorted((wafers / "images").iterdir())[:2]
    model.predictor.inference = model.predictor.inference.model_copy(update={"whole_image_pixels": 0})
    one, both = Watcher(), Watcher()
    predict(model, images[0], tmp_path / "one", progress=one)
    assert one.tasks == [("tiles of wafer00-0", 9)]
    (tmp_path / "two").mkdir()
    for image in images:
        (tmp_path / "two" / image.name).write_bytes(image.read_bytes())
    predict(model, tmp_path / "two", tmp_path / "out", progress=both)
    assert both.tasks == [("predicting", 2), ("tiles of wafer00-0", 9), ("tiles of wafer00-1", 9)]


def test_a_full_or_closed_folder_is_refused_before_any_work(finished, wafers, tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(ResourceError, match="cannot write this file"):
        predict(finished, wafers / "images", tmp_path / "file" / "out")


def test_a_folder_of_slices_is_one_volume_or_as_many_pictures(tmp_path):
    series = touch(tmp_path / "1.2.3")
    for name in ("IM1", "IM2"):
        (series / name).write_bytes(bytes(128) + b"DICM")
    (one,) = find_inputs(series, tmp_path / "out", channels=GREY, rank=3)
    assert (one.id, one.paths, one.target) == ("1.2.3", (series,), tmp_path / "out" / "1.2.3.dcm")
    pictures = find_inputs(series, tmp_path / "out", channels=GREY, rank=2)
    assert [each.target.name for each in pictures] == ["IM1.dcm", "IM2.dcm"]
    touch(tmp_path / "more")
    series.rename(tmp_path / "more" / "x_0000")
    (inside,) = find_inputs(tmp_path / "more", tmp_path / "out", channels=GREY, rank=3)
    assert inside.target.name == "x.dcm"
    (alone,) = find_inputs(tmp_path / "more" / "x_0000", tmp_path / "out", channels=GREY, rank=3)
    assert alone.paths == (tmp_path / "more" / "x_0000",)


def test_nrrd_and_metaimage_come_back_as_they_came(tmp_path):
    inputs = find_inputs(touch(tmp_path / "in", "a.nrrd", "b.mha", "c.mhd"), tmp_path / "out", channels=GREY)
    assert [each.target.name for each in inputs] == ["a.nrrd", "b.mha", "c.mha"]
