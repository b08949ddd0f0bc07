"""What a registry's files must be, by its log: a file that was changed, taken away or put in is found."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from unetkit.errors import DataError, UsageError
from unetkit.records.chain import START, Link
from unetkit.records.files import sha256
from unetkit.records.registered import (
    ADDED,
    LIVE,
    NOTE,
    VERSIONS,
    NoteFile,
    numbers,
    read_live,
    switches,
    version_folder,
)

UNFINISHED = ".part-"
"""How the name of a folder begins that is no version yet."""


_STRAY = (".DS_Store", "Thumbs.db", "desktop.ini")
"""What desktops leave in any folder that somebody looks at; no reader of a model opens them."""


def check_version(registry: Path, number: int, links: Sequence[Link]) -> None:
    """Compare a version's files with what the log says of them.

    Args:
        registry: Its folder.
        number: The version.
        links: The log.

    Raises:
        UsageError: There is no such version.
        DataError: A file was changed, taken away or put in.
    """
    added = [link for link in links if link.event == ADDED and link.facts["version"] == number]
    if not added:
        known = ", ".join(map(str, numbers(links))) or "none"
        raise UsageError(f"there is no version {number}", cure=f"name one of: {known}", where=registry)
    folder = version_folder(registry, number)
    wanted: dict[str, str] = added[0].facts["files"]
    found = (
        {path.name: path for path in folder.iterdir() if path.name not in _STRAY} if folder.is_dir() else {}
    )
    for name in sorted(wanted.keys() | found.keys()):
        if name not in wanted:
            raise tampered("this file was put in after the version was added", folder / name)
        if name not in found:
            raise tampered("this file of the version is missing", folder / name)
        if sha256(found[name]) != wanted[name]:
            raise tampered("this file was changed after the version was added", folder / name)


def is_behind(registry: Path, links: Sequence[Link]) -> bool:
    """Whether ``live.json`` has not yet followed the log: a promotion that was killed before its last step.

    Args:
        registry: Its folder.
        links: The log.

    Raises:
        DataError: It follows a line that the log does not have, or says what that line does not.
    """
    made = switches(links)
    live = read_live(registry)
    if live is None:
        if len(made) > 1:  # the first one had been followed, or the second would not have been written
            raise tampered("the file that says what is live is gone", registry / LIVE)
        return bool(made)
    said = {link.hash: link.facts["version"] for link in made}
    if said.get(live.record) != live.number:
        raise tampered("it names a version that no line of the log made live", registry / LIVE)
    if live.record not in [link.hash for link in made[-2:]]:
        raise tampered("it was put back to what was live before", registry / LIVE)
    return live.record != made[-1].hash


def orphans(registry: Path, links: Sequence[Link]) -> tuple[Path, ...]:
    """Folders of versions that the log does not know: an add that was killed just before its last step.

    Args:
        registry: Its folder.
        links: The log.

    Raises:
        DataError: The log went on without them, so they are no such thing.
    """
    known = {version_folder(registry, number).name for number in numbers(links)}
    found = []
    versions = registry / VERSIONS
    for path in sorted(versions.iterdir()) if versions.is_dir() else ():
        if path.name in known or path.name in _STRAY or path.name.startswith(UNFINISHED):
            continue
        note = path / NOTE
        after = NoteFile.from_json(note.read_bytes(), where=note).after if note.is_file() else ""
        if after != (links[-1].hash if links else START):
            raise tampered("the log does not know this version", path)
        found.append(path)
    return tuple(found)


def tampered(problem: str, where: Path) -> DataError:
    """The error for what no command of ours could have left behind.

    Args:
        problem: What was found.
        where: The file or folder.
    """
    return DataError(
        f"this registry was tampered with: {problem}",
        cure="restore the folder from a backup, and find out who changed it",
        where=where,
    )
