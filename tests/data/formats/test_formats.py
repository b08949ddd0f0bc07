from __future__ import annotations

from pathlib import Path

import pytest

from unetkit.data.formats import FORMATS, SUFFIXES, format_of, stem_of, suffix_of
from unetkit.errors import DataError


@pytest.mark.parametrize("suffix", sorted(SUFFIXES))
def test_every_suffix_leads_to_a_format_with_the_whole_contract(suffix):
    found = format_of(Path(f"scan.v2{suffix.upper()}"))
    assert type(found).__name__.lower().startswith(SUFFIXES[suffix])
    assert all(callable(getattr(found, name)) for name in ("describe", "read", "read_label", "write"))


def test_every_format_has_a_suffix():
    assert set(SUFFIXES.values()) == set(FORMATS)


def test_the_longest_suffix_wins():
    assert suffix_of(Path("a.nii.gz")) == ".nii.gz"
    assert stem_of(Path("a.b.nii.gz")) == "a.b"
    assert stem_of(Path("a.xyz")) == "a"


def test_an_unknown_suffix_names_the_known_ones():
    with pytest.raises(DataError, match=r"no format reads this file \(\.npy\).*\.nii\.gz.*\.png"):
        format_of(Path("a.npy"))
