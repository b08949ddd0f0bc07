"""Small data sets of other tools, made by hand."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from PIL import Image
from scipy import ndimage


@pytest.fixture
def write_picture() -> Callable[..., Path]:
    """A function that writes a grey picture of 8 rows and 10 columns."""

    def write(path: Path, shape: tuple[int, int] = (8, 10)) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        pixels = np.arange(shape[0] * shape[1], dtype=np.uint8).reshape(shape)
        Image.fromarray(pixels).save(path)
        return path

    return write


@pytest.fixture
def write_json() -> Callable[..., Path]:
    """A function that writes a JSON."""

    def write(path: Path, content: object) -> Path:
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(content))
        return path

    return write


def outline(mask: np.ndarray) -> np.ndarray:
    """The first pixels outside a convex mask, in order around it: what a reader of LIDC-IDRI draws."""
    rows, columns = np.nonzero(ndimage.binary_dilation(np.pad(mask, 1)) & ~np.pad(mask, 1))
    centre = np.argwhere(mask).mean(axis=0) + 1
    turn = np.argsort(np.arctan2(rows - centre[0], columns - centre[1]))
    return np.stack([rows, columns], axis=1)[turn] - 1


def disc(shape: tuple[int, int], centre: tuple[float, float], radius: float) -> np.ndarray:
    """A filled circle."""
    rows, columns = np.indices(shape)
    return (rows - centre[0]) ** 2 + (columns - centre[1]) ** 2 <= radius**2


def roi_xml(ring: np.ndarray, *, instance: str = "", height: object = "", included: bool = True) -> str:
    """One outline as the archive writes it."""
    points = "".join(f"<edgeMap><xCoord>{c}</xCoord><yCoord>{r}</yCoord></edgeMap>" for r, c in ring)
    word = "TRUE" if included else "FALSE"
    return (
        f"<roi><imageZposition>{height} </imageZposition><imageSOP_UID>{instance}</imageSOP_UID>"
        f"<inclusion>{word}</inclusion>{points}</roi>"
    )


def nodule_xml(rois: list[str], **traits: object) -> str:
    """One nodule."""
    rated = "".join(f"<{name}>{value}</{name}>" for name, value in traits.items())
    rated = f"<characteristics>{rated}</characteristics>" if traits else ""
    return f"<unblindedReadNodule><noduleID>1</noduleID>{rated}{''.join(rois)}</unblindedReadNodule>"


def reading_xml(sessions: list[str], *, series: str = "", root: str = "LidcReadMessage") -> str:
    """A whole file; a session is what one reader marked."""
    inside = "".join(
        "<readingSession><annotationVersion>3.12</annotationVersion>"
        f"<servicingRadiologistID>anonymous</servicingRadiologistID>{session}</readingSession>"
        for session in sessions
    )
    return (
        f'<?xml version="1.0" encoding="UTF-8"?><{root} uid="1" xmlns="http://www.nih.gov" '
        'xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="http://www.nih.gov a.xsd">'
        f"<ResponseHeader><Version>1.8.1</Version><SeriesInstanceUid>{series}</SeriesInstanceUid>"
        f"</ResponseHeader>{inside}</{root}>"
    )


@pytest.fixture(scope="session")
def lidc() -> SimpleNamespace:
    """What writes readings as the archive does."""
    return SimpleNamespace(outline=outline, disc=disc, roi=roi_xml, nodule=nodule_xml, reading=reading_xml)
