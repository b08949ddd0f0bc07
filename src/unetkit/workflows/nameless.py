"""Words about files without the files' names: hospitals write patients into them, and logs travel."""

from __future__ import annotations

import re
from collections.abc import Iterable
from pathlib import Path

from unetkit.data.catalog import find_cases
from unetkit.errors import DataError
from unetkit.records.case import Case

_SHORTEST = 3


def nameless(text: str, cases: Iterable[Case]) -> str:
    """A text in which every file of a data set is called by the id of its case.

    Args:
        text: Anything, such as a traceback.
        cases: Of the data set.

    Example:
        >>> case = Case("p7", (Path("scans/Yellow^Canary.nii.gz"),), None, "p7")
        >>> nameless("scans/Yellow^Canary.nii.gz: truncated", [case])
        '<image of p7>: truncated'
    """
    for case in cases:
        label = () if case.label is None else (case.label,)
        for what, paths in (("image", case.images), ("label", label)):
            for path in paths:
                inside = sorted(path.rglob("*")) if path.is_dir() else []
                for part in (*inside, path):
                    text = _without(text, part, f"<{what} of {case.id}>", keep=case.id)
    return text


def data_without_names(text: str, sources: Iterable[Path]) -> str:
    """``nameless`` for data sets; one that cannot be listed names no case, and no file of one.

    Args:
        text: Anything.
        sources: Data sets.
    """
    for source in sources:
        try:
            catalog = find_cases(source)
        except DataError:
            continue
        text = nameless(text, (*catalog.cases, *catalog.unlabelled))
    return text


def _without(text: str, path: Path, said: str, *, keep: str) -> str:
    """Replace a path, however it was written, and its name alone where that is no word of its own."""
    for name in (str(path.resolve()), str(path), path.name):
        if len(name) >= _SHORTEST and name != keep and name in text:
            text = re.sub(rf"(?<![\w.^-]){re.escape(name)}(?![\w^-]|\.\w)", lambda _: said, text)
    return text
