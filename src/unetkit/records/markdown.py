"""A table of Markdown; nothing that a stranger named can end a row or be markup."""

from __future__ import annotations

from collections.abc import Iterable, Sequence


def markdown_table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    r"""Rows under their head.

    Args:
        head: Column names.
        rows: Cells in plain text.

    Example:
        >>> print(markdown_table(("class", "Dice"), [("a|b", "0.900")]))
        | class | Dice |
        | --- | --- |
        | a\|b | 0.900 |
    """
    lines = (head, ("---",) * len(head), *rows)
    return "\n".join("| " + " | ".join(map(plain, line)) + " |" for line in lines)


def plain(text: str) -> str:
    r"""A stranger's text, such as a class name, in one line that is neither markup nor the end of a cell.

    Example:
        >>> plain("a <b>\n|")
        'a &lt;b> \\|'
    """
    return " ".join(text.split()).replace("|", "\\|").replace("<", "&lt;")
