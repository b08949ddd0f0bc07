"""A name finds its part late; wrong names and missing packages are answered, foreign rows are found."""

from __future__ import annotations

import importlib
import sys

import pytest

from unetkit.errors import MissingPackageError, UsageError
from unetkit.lookup import names, pick

TABLE = {"data": "unetkit.errors:DataError", "guest": "surely_not_installed.thing:Thing"}


def test_a_row_is_imported_by_name():
    assert pick("error", TABLE, "data").__name__ == "DataError"


def test_a_wrong_name_is_answered_with_the_nearest():
    with pytest.raises(UsageError, match=r"no error 'dta'\. Do this: use 'data' \(known: data, guest\)"):
        pick("error", TABLE, "dta")


def test_a_missing_package_is_answered_with_its_install_command():
    with pytest.raises(MissingPackageError, match="pip install surely_not_installed"):
        pick("error", TABLE, "guest")


def test_a_broken_row_of_our_own_is_not_called_a_missing_package():
    with pytest.raises(ModuleNotFoundError):
        pick("error", {"broken": "unetkit.nowhere:Thing"}, "broken")


@pytest.fixture
def stranger(tmp_path, monkeypatch):
    """An installed package with rows that hold, and rows that do not."""
    package = tmp_path / "stranger"
    package.mkdir()
    (package / "__init__.py").write_text("class Part: pass\n")
    (package / "needy.py").write_text("import surely_not_installed\n")
    info = tmp_path / "stranger-1.0.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: stranger\nVersion: 1.0\n")
    (info / "entry_points.txt").write_text(
        "[unetkit.error]\nours = stranger:Part\ndata = stranger:Part\n"
        "needy = stranger.needy:Part\ngone = stranger:Gone\n"
    )
    monkeypatch.syspath_prepend(str(tmp_path))
    importlib.invalidate_caches()
    yield
    for name in ("stranger", "stranger.needy"):
        sys.modules.pop(name, None)


@pytest.mark.usefixtures("stranger")
def test_another_package_adds_a_row_by_entry_point_but_replaces_none():
    assert pick("error", TABLE, "ours").__name__ == "Part"
    assert pick("error", TABLE, "data").__name__ == "DataError"
    assert names("error", TABLE) == ("data", "gone", "guest", "needy", "ours")


@pytest.mark.usefixtures("stranger")
def test_another_packages_row_that_does_not_hold_names_the_package():
    with pytest.raises(
        MissingPackageError,
        match=r"error 'needy' of 'stranger' needs 'surely_not_installed'.*pip install surely",
    ):
        pick("error", TABLE, "needy")
    with pytest.raises(
        UsageError,
        match=r"'stranger' offers the error 'gone' as stranger:Gone, which is not there.*another version",
    ):
        pick("error", TABLE, "gone")
