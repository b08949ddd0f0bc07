"""A record of one model is read beside that model alone, and not written where nothing changes."""

import pytest

from unetkit.errors import DataError, UsageError
from unetkit.records.registered import NOTE
from unetkit.records.sealed import SEAL, Sealed
from unetkit.workflows.sealed import Wording, read_sealed, refuse_registered, seal_of


class Count(Sealed):
    """How often."""

    times: int


WORDS = Wording("count", "nobody counted", "count", "count again", "count this one", "count elsewhere")


@pytest.fixture
def folder(tmp_path):
    (tmp_path / SEAL).write_text("{}")
    return tmp_path


def read(folder):
    return read_sealed(Count, folder / "count.json", WORDS, whole=lambda count: count.times > 0)


def keep(folder, times=1, seal=None):
    count = Count(model_sha256=seal or seal_of(folder), source="here", times=times)
    (folder / "count.json").write_text(count.to_json())
    return count


def test_what_was_kept_comes_back(folder):
    kept = keep(folder)
    assert read(folder) == kept
    assert seal_of(folder) == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"  # sha256sum


def test_none_is_a_matter_of_use(folder):
    with pytest.raises(UsageError, match="nobody counted") as refused:
        read(folder)
    assert (refused.value.cure, refused.value.where) == ("count", str(folder))


@pytest.mark.parametrize(
    ("spoil", "told", "cure"),
    [
        (lambda folder: (folder / "count.json").write_text("{"), "not a valid record", "count again"),
        (lambda folder: keep(folder, times=0), "this count is not whole", "count again"),
        (
            lambda folder: keep(folder, seal="0" * 64),
            r"this count is that of another model \(SHA-256 differs\)",
            "count this one",
        ),
        (lambda folder: (folder / SEAL).write_text("[]"), "is that of another model", "count this one"),
    ],
    ids=["damaged", "not whole", "of another", "model changed"],
)
def test_what_cannot_be_believed_is_named(folder, spoil, told, cure):
    keep(folder)
    spoil(folder)
    with pytest.raises(DataError, match=told) as refused:
        read(folder)
    assert (refused.value.cure, refused.value.where) == (cure, str(folder / "count.json"))


def test_a_version_of_a_registry_never_changes(folder):
    refuse_registered(folder, WORDS)
    (folder / NOTE).touch()
    with pytest.raises(UsageError, match="and its count is a part of it") as refused:
        refuse_registered(folder, WORDS)
    assert (refused.value.cure, refused.value.where) == ("count elsewhere", str(folder))
