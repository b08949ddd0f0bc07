from pathlib import Path

from unetkit.records.case import Case
from unetkit.workflows.nameless import data_without_names, nameless


def test_paths_and_names_become_cases(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    folder = Path("Canary^Yellow")
    folder.mkdir()
    (folder / "IM_Canary.dcm").touch()
    case = Case("p7", (folder,), Path("Canary_label.nii.gz"), "p7")
    text = (
        f"{tmp_path}/Canary^Yellow/IM_Canary.dcm: cut\nCanary^Yellow: odd\n"
        "the image IM_Canary.dcm has 3, its mask Canary_label.nii.gz 4 (at 'Canary_label.nii.gz')"
    )
    assert nameless(text, [case]) == (
        "<image of p7>: cut\n<image of p7>: odd\n"
        "the image <image of p7> has 3, its mask <label of p7> 4 (at '<label of p7>')"
    )


def test_words_that_only_look_alike_stay():
    case = Case("a7", (Path("train"),), None, "a7")
    text = 'File "unetkit/workflows/train.py", in training: train_network'
    assert nameless(text, [case]) == text
    same = Case("1.2.3", (Path("scans/1.2.3"),), None, "1.2.3")
    assert nameless("scans/1.2.3: cut; case 1.2.3", [same]) == "<image of 1.2.3>: cut; case 1.2.3"


def test_a_data_set_that_cannot_be_listed_changes_nothing(tmp_path):
    assert data_without_names("a.png is broken", [tmp_path / "none"]) == "a.png is broken"
    (tmp_path / "index.csv").write_text("id,image\np1,Canary.png\n")
    assert data_without_names("Canary.png is broken", [tmp_path / "index.csv"]) == "<image of p1> is broken"
