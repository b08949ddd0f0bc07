"""DICOM series below a folder, in the folders of whatever tool exported them, and names without a person."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from unetkit.data.formats import DICOM, kind_of
from unetkit.data.formats.dicom_files import read_tags, read_value
from unetkit.data.problems import Problem, from_error
from unetkit.errors import DataError

_TAGS = ("SOPClassUID", "SeriesInstanceUID", "PatientID")
_PUBLIC = re.compile(r"LIDC-IDRI-\d{4}")
"""Numbers of patients that are public names and may be written."""


@dataclass(frozen=True)
class DicomObject:
    """What one DICOM file is and belongs to.

    Args:
        path: The file.
        sop_class: What kind of object it is.
        series: The series it belongs to.
        patient: The patient's number, or the folder where an anonymiser took it out: it tells patients apart
            and must never be written.
    """

    path: Path
    sop_class: str
    series: str
    patient: str


def folders_below(source: Path) -> Iterator[Path]:
    """A folder, and all folders below it that are not hidden, in order."""
    yield source
    for path in sorted(source.rglob("*")):
        if path.is_dir() and not any(part.startswith(".") for part in path.relative_to(source).parts):
            yield path


def objects_in(folder: Path, problems: list[Problem]) -> Iterator[DicomObject]:
    """The DICOM files of a folder, in the order of their names.

    Args:
        folder: The folder itself, not those inside.
        problems: What is damaged is added here and left out.
    """
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and kind_of(path) == DICOM:
            try:
                header = read_tags(path, _TAGS)
                kind, series, patient = (
                    read_value(path, name, lambda name=name, header=header: str(header.get(name, "")))
                    for name in _TAGS
                )
            except DataError as wrong:
                problems.append(from_error("image", wrong, path))
            else:
                yield DicomObject(path, kind, series, patient or str(folder))


def public_names(patients: Sequence[str]) -> list[tuple[str, str]]:
    """Names for cases and groups from the numbers of their patients.

    A number that is a public name stays; any other one becomes ``patient-1``, ``patient-2`` … in the order
    of their coming.

    Args:
        patients: The number of each case's patient.

    Returns:
        The name of the case, and that of its patient, for each.

    Example:
        >>> public_names(["Miller", "LIDC-IDRI-0003", "Miller"])
        [('patient-1', 'patient-1'), ('LIDC-IDRI-0003', 'LIDC-IDRI-0003'), ('patient-1-2', 'patient-1')]
    """
    hidden = [each for each in dict.fromkeys(patients) if not _PUBLIC.fullmatch(each)]
    known = {each: f"patient-{number}" for number, each in enumerate(hidden, start=1)}
    counts: Counter[str] = Counter()
    found: list[tuple[str, str]] = []
    for each in patients:
        name = known.get(each, each)
        counts[name] += 1
        found.append((name if counts[name] == 1 else f"{name}-{counts[name]}", name))
    return found
