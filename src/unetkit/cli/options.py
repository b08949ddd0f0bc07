"""Options that several verbs share, and how their words become values."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from unetkit.errors import UsageError

Json = Annotated[bool, typer.Option("--json", help="Print the result as JSON on stdout.")]
Quiet = Annotated[bool, typer.Option("--quiet", "-q", help="Say nothing on stderr but errors.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Write nothing; say what would be written.")]
Device = Annotated[
    str, typer.Option("--device", help="auto, cpu, cuda, cuda:1 … auto takes a GPU if there is one.")
]
Minutes = Annotated[float, typer.Option("--minutes", min=0.0, help="Time budget in minutes; 0 for none.")]
Memory = Annotated[float, typer.Option("--memory", min=0.0, help="Memory budget in GB; 0 for none.")]
Set = Annotated[
    list[str] | None,
    typer.Option(
        "--set", metavar="KEY=VALUE", help="Set a value of the plan, such as training.steps=500; repeatable."
    ),
]
Data = Annotated[
    Path,
    typer.Argument(
        metavar="DATA", help="Folder with images/ and masks/ (or imagesTr/, labelsTr/), or a CSV."
    ),
]
Tta = Annotated[
    bool, typer.Option("--tta", help="Average over mirrored images: slower, often a little better.")
]


def changes(words: list[str] | None) -> dict[str, str]:
    """``["training.steps=500"]`` as a table.

    Raises:
        UsageError: A word has no ``=``.

    Example:
        >>> changes(["training.steps=500"])
        {'training.steps': '500'}
    """
    table: dict[str, str] = {}
    for word in words or []:
        key, sign, value = word.partition("=")
        if not sign or not key.strip():
            raise UsageError(
                f"'--set {word}' has no '='", cure="write --set key=value, such as training.steps=500"
            )
        table[key.strip()] = value.strip()
    return table


def fold(word: str | None) -> tuple[int, int] | None:
    """``"0/5"`` as ``(0, 5)``.

    Raises:
        UsageError: It is not of that form.

    Example:
        >>> fold("0/5")
        (0, 5)
    """
    if word is None:
        return None
    number, sign, count = word.partition("/")
    if not (sign and number.strip().isdecimal() and count.strip().isdecimal()):
        raise UsageError(
            f"'--fold {word}' is no fold", cure="write --fold k/n with k counted from 0, such as 0/5"
        )
    return int(number), int(count)
