from __future__ import annotations

import json

import numpy as np
import pytest

from unetkit.data.catalog import find_cases, holds_cases
from unetkit.errors import DataError


def lay(root, *names):
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_bytes(b"x")
    return root


def problems(catalog):
    return [(problem.severity, problem.code) for problem in catalog.problems]


def test_images_and_masks_of_the_same_stem(tmp_path):
    catalog = find_cases(lay(tmp_path, "images/b.png", "images/a.jpg", "masks/a.png", "masks/b.tif"))
    assert catalog.layout == "images/ + masks/"
    assert [(case.id, case.images[0].name, case.label.name, case.group) for case in catalog.cases] == [
        ("a", "a.jpg", "a.png", "a"),
        ("b", "b.png", "b.tif", "b"),
    ]
    assert "no groups are given" in catalog.notes[-1]
    assert catalog.problems == ()


def test_nnunet_channels(tmp_path):
    lay(tmp_path, *(f"imagesTr/p{n}_{c:04}.nii.gz" for n in (1, 2) for c in (1, 0)))
    lay(tmp_path, "labelsTr/p1.nii.gz", "labelsTr/p2.nii.gz")
    content = {"channel_names": {"0": "T1", "1": "T2"}, "labels": {"background": 0, "tumour": 1, "ignore": 2}}
    (tmp_path / "dataset.json").write_text(json.dumps(content))
    catalog = find_cases(tmp_path)
    assert [case.id for case in catalog.cases] == ["p1", "p2"]
    assert [path.name for path in catalog.cases[0].images] == ["p1_0000.nii.gz", "p1_0001.nii.gz"]
    assert catalog.channels == ("T1", "T2")
    assert catalog.names == {0: "background", 1: "tumour"}
    assert catalog.ignore_value == 2
    assert any("dataset.json was used" in text for text in catalog.notes)


def test_decathlon_names_without_channels_even_when_they_end_in_four_digits(tmp_path):
    lay(tmp_path, "imagesTr/BRATS_0001.nii.gz", "labelsTr/BRATS_0001.nii.gz")
    lay(tmp_path, "imagesTr/._BRATS_0001.nii.gz", "labelsTr/._BRATS_0001.nii.gz")  # the Decathlon's tar files
    (tmp_path / "dataset.json").write_text(
        json.dumps({"modality": {"0": "MRI"}, "labels": {"0": "background", "1": "edema"}})
    )
    catalog = find_cases(tmp_path)
    assert [case.id for case in catalog.cases] == ["BRATS_0001"]
    assert catalog.names == {0: "background", 1: "edema"}
    assert catalog.channels == ("MRI",)


def test_a_missing_channel_is_refused(tmp_path):
    lay(tmp_path, "imagesTr/a_0000.png", "imagesTr/a_0002.png", "labelsTr/a.png")
    with pytest.raises(
        DataError, match=r"the channels of 'a' must be numbered _0000, _0001 …, got a_0000\.png"
    ):
        find_cases(tmp_path)


def test_index_says_which_cases_count_and_their_groups(tmp_path):
    lay(
        tmp_path, *(f"{folder}/{id}.png" for folder in ("images", "masks") for id in "abc"), "masks_raw/a.png"
    )
    (tmp_path / "index.csv").write_text("id,group,official,split\na,g1,train,train\nb,g1,test,val\n")
    catalog = find_cases(tmp_path)
    assert [(case.id, case.group, case.split) for case in catalog.cases] == [
        ("a", "g1", "train"),
        ("b", "g1", "val"),
    ]
    assert any("1 images are not in index.csv and were left out: c" in text for text in catalog.notes)
    assert any("index.csv was used: 2 rows, columns id, group, split" in text for text in catalog.notes)


def test_the_column_official_is_no_split(tmp_path):
    lay(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "index.csv").write_text("id,group,official\na,g1,test\n")
    assert find_cases(tmp_path).cases[0].split is None


def test_a_missing_mask_is_a_refusal_that_names_both(tmp_path):
    catalog = find_cases(lay(tmp_path, "images/a.png", "images/b.png", "masks/a.png"))
    (problem,) = catalog.problems
    assert problem.severity == "refused"
    assert problem.where.endswith("images/b.png")
    assert problem.problem == "missing mask: expected a file named 'b' in masks/, found none"
    assert "add the mask" in problem.cure
    assert [case.id for case in catalog.unlabelled] == ["b"]


def test_masks_of_nearly_the_same_name_are_taken_or_offered(tmp_path):
    names = ("images/a1.png", "masks/a1_mask.PNG", "images/b.png", "masks/b_old.png", "images/a.png")
    catalog = find_cases(lay(tmp_path, *names))
    assert [(case.id, case.label.name) for case in catalog.cases] == [("a1", "a1_mask.PNG")]
    assert "'a1_mask' was taken as the mask of 'a1', and so on" in catalog.notes
    first, second, orphans = catalog.problems  # 'a' is not nearly 'a1_mask'
    assert first.cure.startswith("add the mask")
    assert second.problem.endswith("found none (there is 'b_old.png')")
    assert second.cure == "give every mask the name of its image: rename 'b_old.png' to 'b.png'"
    assert orphans.code == "missing-image"


def test_other_layouts_are_said_and_so_is_what_was_left_out(tmp_path):
    names = [
        f"{side}/{kind}/{n}.png" for side in ("train", "val") for kind in ("images", "gt") for n in (1, 2)
    ]
    catalog = find_cases(lay(tmp_path, *names, "test/images/1.png"))
    assert catalog.layout == "train/images/ + train/gt/ and 1 more like it"
    assert [(case.id, case.split) for case in catalog.cases] == [
        ("train-1", "train"),
        ("train-2", "train"),
        ("val-1", "val"),
        ("val-2", "val"),
    ]
    assert "no images with masks of their own were found in test/: left out" in catalog.notes


def test_folders_of_patients_are_said_to_be_groups(tmp_path):
    names = [f"{kind}/p{n // 2}/{n}.png" for kind in ("imgs", "masks") for n in range(6)]
    catalog = find_cases(lay(tmp_path, *names))
    assert [(case.id, case.group) for case in catalog.cases][:3] == [("0", "p0"), ("1", "p0"), ("2", "p1")]
    assert "folders were taken as groups: p0, p1, p2" in catalog.notes


def test_a_folder_per_case_names_its_channels(tmp_path):
    lay(tmp_path, *(f"B{n}/{word}.nii.gz" for n in (1, 2) for word in ("t1", "flair", "seg")))
    assert find_cases(tmp_path).channels == ("flair", "t1")


def test_whether_a_path_holds_cases(tmp_path):
    assert not holds_cases(lay(tmp_path, "a.png", "b.png"))
    assert holds_cases(lay(tmp_path / "d", "imgs/a.png", "masks/a.png"))
    (tmp_path / "index.csv").write_text("image,label\na.png,b.png\n")
    assert holds_cases(tmp_path)


@pytest.mark.parametrize(
    ("names", "words"),
    [
        (["images/a.webp", "images/b.webp"], "only a.webp, b.webp. Do this: convert the pictures to one of"),
        (["images/sub/a.png"], "only sub. Do this: put the pictures into images/ itself"),
    ],
)
def test_a_folder_without_readable_pictures_says_what_it_holds(tmp_path, names, words):
    with pytest.raises(DataError, match=f"this folder holds no picture that can be read, {words}"):
        find_cases(lay(tmp_path, *names, "masks/a.png"))


def test_an_indexed_case_without_image_is_a_refusal(tmp_path):
    lay(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "index.csv").write_text("id,group\na,1\nz,1\n")
    catalog = find_cases(tmp_path)
    assert "index.csv names 'z' (line 3), which has no image" in catalog.problems[0].problem


def test_orphan_masks_and_other_files_are_warnings(tmp_path):
    catalog = find_cases(lay(tmp_path, "images/a.png", "images/notes.txt", "masks/a.png", "masks/b.png"))
    assert problems(catalog) == [("warning", "other-files"), ("warning", "missing-image")]
    assert "1 entries are no pictures and were left out: notes.txt" in catalog.problems[0].problem
    assert "1 masks have no image: b" in catalog.problems[1].problem


@pytest.mark.parametrize("names", [("images/a.png", "images/a.tif"), ("masks/a.bmp", "images/b.png")])
def test_two_files_of_one_name_are_refused(tmp_path, names):
    lay(tmp_path, "images/a.png", "masks/a.png", *names)
    with pytest.raises(
        DataError, match=r"two files have the same name: a\.\w+ and a\.\w+\. Do this: remove one"
    ):
        find_cases(tmp_path)


def test_an_index_without_ids_is_said(tmp_path):
    lay(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "index.csv").write_text("name,group\na,1\n")
    assert problems(find_cases(tmp_path)) == [("warning", "index")]


def test_repeated_ids_are_refused(tmp_path):
    lay(tmp_path, "images/a.png", "masks/a.png")
    (tmp_path / "index.csv").write_text("id,group\na,1\na,2\n")
    with pytest.raises(DataError, match=r"index\.csv: line 3: the id 'a' occurs twice"):
        find_cases(tmp_path)


def test_a_csv_names_everything(tmp_path):
    lay(tmp_path, "x/1.png", "x/2.png", "y/1.png", "x/3.png")
    (tmp_path / "d.csv").write_text(
        "id,image,label,group,split\none,x/1.png;x/2.png,y/1.png,g,train\n,x/3.png,,h,\n"
    )
    catalog = find_cases(tmp_path / "d.csv")
    (case,) = catalog.cases
    assert (case.id, case.group, case.split, [path.name for path in case.images]) == (
        "one",
        "g",
        "train",
        ["1.png", "2.png"],
    )
    assert case.label == tmp_path / "y/1.png"
    assert [case.id for case in catalog.unlabelled] == ["3"]
    assert any("1 images have no label" in text for text in catalog.notes)


def test_a_csv_in_a_folder_of_no_layout_is_used(tmp_path):
    lay(tmp_path, "x/1.png", "y/1.png")
    (tmp_path / "index.csv").write_text("image,label\nx/1.png,y/1.png\n")
    assert [case.id for case in find_cases(tmp_path).cases] == ["1"]


def test_files_that_a_csv_names_must_exist(tmp_path):
    lay(tmp_path, "1.png", "2.png", "m.png")
    (tmp_path / "d.csv").write_text("image,label\n1.png,m.png\n2.png,gone.png\nlost.png,m.png\n")
    catalog = find_cases(tmp_path / "d.csv")
    assert problems(catalog) == [("refused", "missing-mask"), ("refused", "missing-image")]
    assert (
        catalog.problems[0].problem == "missing mask: line 3 of d.csv names this file, which does not exist"
    )
    assert catalog.problems[0].where.endswith("gone.png")


def test_a_csv_can_state_the_ignore_value(tmp_path):
    lay(tmp_path, "1.png", "m.png")
    (tmp_path / "d.csv").write_text("image,label,ignore_value\n1.png,m.png,255\n")
    assert find_cases(tmp_path / "d.csv").ignore_value == 255
    (tmp_path / "d.csv").write_text("image,label,ignore_value\n1.png,m.png,void\n")
    with pytest.raises(DataError, match="'ignore_value' must hold one whole number, got void"):
        find_cases(tmp_path / "d.csv")


def test_a_csv_row_without_image_is_refused(tmp_path):
    (tmp_path / "d.csv").write_text("image,label\n,m.png\n")
    with pytest.raises(DataError, match=r"d\.csv: line 2: no image is named"):
        find_cases(tmp_path / "d.csv")


def test_what_is_no_data_set_is_refused_clearly(tmp_path):
    with pytest.raises(
        DataError, match=r"nowhere: there is no such file or folder\. Do this: correct the path"
    ):
        find_cases(tmp_path / "nowhere")
    with pytest.raises(DataError, match=r"this is an empty folder. Do this: put the pictures in images/"):
        find_cases(tmp_path)
    lay(tmp_path, "a.png")
    with pytest.raises(DataError, match=r"a\.png: expected a folder or a \.csv file"):
        find_cases(tmp_path / "a.png")
    with pytest.raises(
        DataError, match=r"no known layout; this folder holds: a\.png\. Do this: put the pictures"
    ):
        find_cases(tmp_path)
    lay(tmp_path, "table.csv")
    with pytest.raises(DataError, match=r"Do this: name the CSV itself, such as .*table\.csv; or put the"):
        find_cases(tmp_path)
    (tmp_path / "table.csv").unlink()
    lay(tmp_path, "images/readme.txt", "masks/readme.txt")
    with pytest.raises(DataError, match="images: this folder holds no picture that can be read, only readme"):
        find_cases(tmp_path)
    (tmp_path / "d.csv").write_bytes(b"\x89PNG\xff")
    with pytest.raises(DataError, match=r"d\.csv: this file is no CSV: it is not UTF-8 text"):
        find_cases(tmp_path / "d.csv")


def test_a_csv_without_any_label_is_refused(tmp_path):
    lay(tmp_path, "a.png")
    (tmp_path / "d.csv").write_text("image\na.png\n")
    with pytest.raises(DataError, match="no image has a label"):
        find_cases(tmp_path / "d.csv")


def test_a_folder_of_slices_is_one_image(tmp_path):
    lay(tmp_path, "masks/1.2.3.nii.gz", "masks/b.nii.gz", "images/c/notes.txt")
    for name in ("images/1.2.3/IM1", "images/1.2.3/IM2", "images/b/x.dcm"):
        lay(tmp_path, name)
        (tmp_path / name).write_bytes(bytes(128) + b"DICM")
    catalog = find_cases(tmp_path)
    assert [(case.id, case.images[0].name) for case in catalog.cases] == [("1.2.3", "1.2.3"), ("b", "b")]
    (left,) = catalog.problems
    assert left.problem == "1 entries are no pictures and were left out: c"
    (tmp_path / "list.csv").write_text("image,label\nimages/1.2.3,masks/1.2.3.nii.gz\n")
    (case,) = find_cases(tmp_path / "list.csv").cases
    assert (case.id, case.images) == ("1.2.3", (tmp_path / "images/1.2.3",))


def test_the_data_beside_a_header_are_no_images_of_their_own(tmp_path):
    lay(tmp_path, "images/a.raw", "images/b.raw", "masks/a.mha")
    header = (
        "ObjectType = Image\nNDims = 2\nDimSize = 1 1\nElementType = MET_UCHAR\nElementDataFile = a.raw\n"
    )
    (tmp_path / "images/a.mhd").write_text(header)
    catalog = find_cases(tmp_path)
    assert [(case.id, case.images[0].name) for case in catalog.cases] == [("a", "a.mhd")]
    assert [problem.problem for problem in catalog.problems] == [
        "1 entries are no pictures and were left out: b.raw"
    ]
    (tmp_path / "images/a.mhd").write_text("nothing")  # met when the case is read, with all other findings
    assert find_cases(tmp_path).problems[0].problem.startswith("2 entries")


def test_channels_of_dicom_are_named_by_what_made_them(tmp_path, write_series):
    pydicom = pytest.importorskip("pydicom", reason="pydicom is not installed")
    for name in ("a", "b"):
        write_series(tmp_path / "images" / name, np.zeros((2, 3, 4), np.uint16))
        lay(tmp_path, f"masks/{name}.nii.gz")
    catalog = find_cases(tmp_path)
    assert catalog.channels == ("CT",)
    assert "channels were named by DICOM's modality: CT" in catalog.notes
    (tmp_path / "dataset.json").write_text('{"channel_names": {"0": "thorax"}}')
    assert find_cases(tmp_path).channels == ("thorax",)
    (tmp_path / "dataset.json").unlink()
    for path in (tmp_path / "images" / "b").iterdir():
        ds = pydicom.dcmread(path)
        ds.Modality = "MR"
        ds.save_as(path)
    assert find_cases(tmp_path).channels == ()  # of two kinds: one name would be wrong
    next((tmp_path / "images" / "a").iterdir()).write_bytes(bytes(128) + b"DICM")
    assert find_cases(tmp_path).channels == ()


def test_segments_name_the_classes_and_must_agree_on_their_numbers(tmp_path, write_series):
    pytest.importorskip("highdicom", reason="highdicom is not installed")
    from unetkit.data.formats.dicom import write_labels

    labels = np.zeros((2, 4, 4), np.uint8)
    labels[0, 0, 0], labels[1, 2, 2] = 1, 2
    (tmp_path / "masks").mkdir()

    def found(*names):
        for case, each in zip("ab", names, strict=True):
            if not (tmp_path / "images" / case).is_dir():
                write_series(tmp_path / "images" / case, np.zeros(labels.shape, np.uint16))
            write_labels(
                tmp_path / "masks" / f"{case}.dcm", labels, source=tmp_path / "images" / case, names=each
            )
        return find_cases(tmp_path)

    catalog = found(["liver", "tumour"], ["Liver", "tumour"])
    assert catalog.names == {0: "background", 1: "liver", 2: "tumour"}
    assert "classes were named by the segments: liver, tumour" in catalog.notes
    swapped = found(["liver", "tumour"], ["tumour", "liver"])
    assert problems(swapped) == [("refused", "segment-numbers")]
    assert "'tumour' has the number 1 here and 2 in a.dcm" in swapped.problems[0].problem
    for other in (["Leber", "Tumor"], ["lesion", "lesion"]):  # free words, several of a kind: no names
        catalog = found(["liver", "tumour"], other)
        assert (catalog.names, problems(catalog)) == ({}, [])
    (tmp_path / "dataset.json").write_text('{"labels": {"background": 0, "a": 1, "b": 2}}')
    assert find_cases(tmp_path).names == {0: "background", 1: "a", 2: "b"}
    assert problems(found(["liver", "tumour"], ["tumour", "liver"])) == [("refused", "segment-numbers")]
