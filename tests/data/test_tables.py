from __future__ import annotations

import json

import pytest

from unetkit.data.tables import read_dataset_json, read_rows, stated_ignore
from unetkit.errors import DataError


def table(tmp_path, text):
    path = tmp_path / "t.csv"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return path


def test_known_columns_are_kept_and_others_left_out(tmp_path):
    rows = read_rows(table(tmp_path, '\ufeffID, Group,shape\n\na , "b,c",2x2\nd\n'), needed=("id",))
    assert [(row.line, row.values) for row in rows] == [(3, {"id": "a", "group": "b,c"}), (4, {"id": "d"})]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        (b"\x89PNG\r\n\x1a\n\xff\xfe", "this file is no CSV: it is not UTF-8 text"),
        (b"id\0,image\n", "this file is no CSV: it holds binary data"),
        ("", "this CSV has no column 'image'; its header line is: nothing"),
        ("id|image\n1|2\n", r"this CSV has no column 'image'; its header line is: id\|image"),
        ("id,image\n", "this CSV has no rows"),
        ("image,image\na,b\n", "a column name occurs twice"),
        ("image,id\na,b,c\n", "line 2: expected 2 cells, got 3"),
        ('image\n"a\n', r"this file is no CSV \("),
    ],
)
def test_what_is_no_csv_is_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message) as wrong:
        read_rows(table(tmp_path, text), needed=("image",))
    assert wrong.value.where == str(tmp_path / "t.csv")
    assert wrong.value.cure


@pytest.mark.parametrize("sign", [",", ";", "\t"])
def test_cells_are_apart_as_the_header_is(tmp_path, sign):
    text = f'id{sign}image{sign}mask\n1{sign}"a{sign}b.png"{sign}m.png\n'
    (row,) = read_rows(table(tmp_path, text), needed=("image",))
    assert row.values == {"id": "1", "image": f"a{sign}b.png", "label": "m.png"}


def test_a_column_called_mask_is_the_label_only_where_there_is_none(tmp_path):
    (row,) = read_rows(table(tmp_path, "image,label,mask\na,b,c\n"), needed=())
    assert row.values == {"image": "a", "label": "b"}
    (row,) = read_rows(table(tmp_path, "image,mask\na,c\n"), needed=("mask",), kept=("mask",))
    assert row.values == {"mask": "c"}


def test_split_words(tmp_path):
    path = table(tmp_path, "id,split\na,Training\nb,valid\nc,test\nd,\ne,trian\n")
    rows = read_rows(path, needed=("id",))
    assert [row.split(path) for row in rows[:4]] == ["train", "val", "test", None]
    with pytest.raises(DataError, match=r"line 6: there is no split 'trian'. Do this: use 'train'"):
        rows[4].split(path)


@pytest.mark.parametrize(("cells", "value"), [(("255", "255"), 255), (("-1", ""), -1), (("", ""), None)])
def test_the_stated_ignore_value(tmp_path, cells, value):
    rows = read_rows(
        table(tmp_path, "id,ignore_value\na,{}\nb,{}\n".format(*cells)), needed=("ignore_value",)
    )
    assert stated_ignore(rows, where=tmp_path) == value


@pytest.mark.parametrize("cells", [("1", "2"), ("x", ""), ("1.5", ""), ("--1", "")])
def test_an_ignore_value_that_is_none_is_refused(tmp_path, cells):
    rows = read_rows(
        table(tmp_path, "id,ignore_value\na,{}\nb,{}\n".format(*cells)), needed=("ignore_value",)
    )
    with pytest.raises(DataError, match="must hold one whole number"):
        stated_ignore(rows, where=tmp_path)


def write(tmp_path, content):
    path = tmp_path / "dataset.json"
    path.write_text(content if isinstance(content, str) else json.dumps(content))
    return path


@pytest.mark.parametrize(
    "labels",
    [{"background": 0, "liver": 1, "ignore": 2}, {"0": "background", "1": "liver", "2": "ignore"}],
)
def test_both_ways_to_name_classes(tmp_path, labels):
    declared = read_dataset_json(
        write(tmp_path, {"labels": labels, "channel_names": {"1": "T2", "0": "T1"}, "numTraining": 3})
    )
    assert declared.names == {0: "background", 1: "liver"}
    assert declared.ignore_value == 2
    assert declared.channels == ("T1", "T2")


def test_decathlon_modality_and_silence(tmp_path):
    assert read_dataset_json(write(tmp_path, {"modality": {"0": "MRI"}})).channels == ("MRI",)
    declared = read_dataset_json(write(tmp_path, {}))
    assert (declared.names, declared.ignore_value, declared.channels) == (None, None, ())


def test_regions_of_several_values_are_said(tmp_path):
    labels = {"background": 0, "whole": [1, 2], "core": 2, "ignore": 3}
    declared = read_dataset_json(write(tmp_path, {"labels": labels}))
    assert declared.names is None
    assert declared.ignore_value == 3
    assert "regions made of several values" in declared.notes[0]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        ("{", "not valid JSON"),
        ("[]", "expected a JSON object"),
        ({"labels": [1]}, "'labels' must be an object"),
        ({"labels": {"a": 0.5}}, "expected a whole number, got 0.5"),
        ({"labels": {"a": True}}, "expected a whole number, got True"),
        ({"labels": {"a": 1, "b": 1}}, "gives one value two names"),
        ('{"labels": {"a": 1, "b": 2, "a": 3}}', "'labels' names 'a' twice"),
        ({"channel_names": "CT"}, "'channel_names' must map numbers to names"),
    ],
)
def test_a_wrong_dataset_json_is_refused(tmp_path, content, message):
    with pytest.raises(DataError, match=message):
        read_dataset_json(write(tmp_path, content))


def test_a_key_that_is_repeated_elsewhere_is_no_concern_of_ours(tmp_path):
    text = '{"name": "x", "name": "y", "labels": {"background": 0, "liver": 1}}'
    assert read_dataset_json(write(tmp_path, text)).names == {0: "background", 1: "liver"}
