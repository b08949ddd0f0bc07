import pytest

from unetkit.errors import UsageError
from unetkit.records.split import SplitFile


def test_it_survives_the_file_and_refuses_strangers():
    made = SplitFile(source="d", train=("a",), held_out=("b",), how="so", digests={"a": "1", "b": "2"})
    assert SplitFile.from_json(made.to_json(), where="split.json") == made
    with pytest.raises(UsageError, match="unknown key 'hows'"):
        SplitFile.from_json(made.to_json().replace("{", '{"hows": 1,', 1), where="split.json")


def test_files_without_hashes_of_labels_are_still_read():
    made = SplitFile(source="d", train=("a",), held_out=("b",), how="so", digests={"a": "1"})
    old = made.model_dump(exclude={"label_digests"})
    assert SplitFile.model_validate(old) == made
