"""What every row of the table of kinds promises."""

from __future__ import annotations

import pytest

from unetkit.data.exchange import FAMILY, KINDS, kind_of_set
from unetkit.errors import DataError
from unetkit.lookup import pick


@pytest.fixture
def empty(tmp_path):
    (tmp_path / "empty").mkdir()
    return tmp_path / "empty"


@pytest.mark.parametrize("name", KINDS)
def test_a_folder_of_another_kind_is_not_taken(name, empty, wafers):
    kind = pick(FAMILY, KINDS, name)()
    for folder in (empty, wafers, wafers / "index.csv"):
        assert kind.holds(folder) is False
    if name != "nnunet":  # folders are told by catalog
        with pytest.raises(DataError) as wrong:
            kind.find(empty)
        assert str(empty) in str(wrong.value)


def test_a_set_is_recognised_or_the_kinds_are_named(tmp_path, empty, volumes, wafers, write_json):
    assert kind_of_set(volumes) == "nnunet"
    with pytest.raises(
        DataError, match=r"no known kind of data set.*name its kind: one of coco, colours, cvat, labelme"
    ):
        kind_of_set(empty)
    with pytest.raises(DataError, match="there is no such file or folder"):
        kind_of_set(tmp_path / "nothing")
    with pytest.raises(DataError, match=r"this needs no conversion: it is read as it lies.*'unet check "):
        kind_of_set(wafers)
    write_json(tmp_path / "a.json", {"shapes": [], "imagePath": "a.png"})
    (tmp_path / "annotations.xml").write_text("<annotations/>")
    with pytest.raises(DataError, match="this looks like cvat and labelme"):
        kind_of_set(tmp_path)
