"""A process that dies at its n-th change of the disk: from then on nothing it does has any effect."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager

CHANGES = ("open", "fsync", "replace", "rename", "mkdir", "unlink", "rmdir", "chmod")


class Killed(BaseException):
    """As no ``except`` of the program under test would catch it."""


@contextmanager
def dies_at(number: int) -> Iterator[list[str]]:
    """Let ``number`` operations happen, then none any more; the list says which were asked for."""
    originals = {name: getattr(os, name) for name in CHANGES}
    asked: list[str] = []

    def counted(name):
        def operation(*words, **more):
            asked.append(name)
            if len(asked) > number:
                raise Killed(name)
            return originals[name](*words, **more)

        return operation

    try:
        for name in CHANGES:
            setattr(os, name, counted(name))
        yield asked
    finally:
        for name, original in originals.items():
            setattr(os, name, original)
