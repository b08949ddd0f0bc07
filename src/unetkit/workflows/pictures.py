"""Small pictures of cases: the image, its labels as colour and outline, a few slices of a volume."""

from __future__ import annotations

import base64
import io
from collections.abc import Sequence

import numpy as np
from PIL import Image
from scipy import ndimage

from unetkit.records.files import write_bytes
from unetkit.records.run import Run
from unetkit.records.saved import Saved
from unetkit.workflows.page import PALETTE

LARGEST_EDGE = 512
SLICES = 7


class Slice(Saved):
    """One flat picture of a case; file names lie in the run's ``pictures`` folder.

    Args:
        name: What a person reads under it, e.g. ``slice 12 of 40``; empty for a picture.
        image: PNG, grey or RGB.
        reference: PNG of class ids, None without a label.
        prediction: PNG of class ids.
        shown: Whether this is the slice to show first.
    """

    name: str
    image: str
    reference: str | None
    prediction: str | None
    shown: bool = True


class CasePictures(Saved):
    """The pictures of one case."""

    id: str
    slices: tuple[Slice, ...]


def save_pictures(
    run: Run,
    number: int,
    id: str,
    pixels: np.ndarray,
    *,
    reference: np.ndarray | None,
    prediction: np.ndarray | None,
) -> CasePictures:
    """Write the pictures of one case.

    Args:
        run: Into its ``pictures`` folder.
        number: Makes the file names (a case's id may hold anything).
        id: The case.
        pixels: ``(C, *S)`` as in the file.
        reference: ``(*S)`` class ids, or None.
        prediction: ``(*S)`` class ids, or None.

    Returns:
        What was written.
    """
    grey = to_picture(pixels)
    chosen = _slices(grey.shape[1:-1], reference, prediction)
    best = _fullest(chosen, reference if reference is not None and reference.any() else prediction)
    rows = []
    for position, index in enumerate(chosen):
        stem = f"{number:0>3}-{position}"
        files: dict[str, str] = {}
        for kind, array in (
            ("image", grey[0] if index is None else grey[0][index]),
            ("reference", _cut(reference, index)),
            ("prediction", _cut(prediction, index)),
        ):
            if array is not None:
                files[kind] = f"{stem}.{kind}.png"
                write_bytes(
                    run.folder / "pictures" / files[kind], png(_smaller(array, smooth=kind == "image"))
                )
        total = "" if index is None else f"slice {index + 1} of {grey.shape[1]}"
        rows.append(
            Slice(
                name=total,
                image=files["image"],
                reference=files.get("reference"),
                prediction=files.get("prediction"),
                shown=position == best,
            )
        )
    return CasePictures(id=id, slices=tuple(rows))


def to_picture(pixels: np.ndarray) -> np.ndarray:
    """Any pixels as bytes to look at: ``(C, *S)`` → ``(1, *S, 1 or 3)`` uint8, 1st…99th percentile stretched.

    Three channels of bytes are shown as colour; otherwise the first channel as grey.
    """
    if pixels.shape[0] == 3 and pixels.dtype == np.uint8 and pixels.ndim == 3:
        return np.moveaxis(pixels, 0, -1)[None]
    first = np.asarray(pixels[0], dtype=np.float32)
    step = max(1, first.size // 1_000_000)
    low, high = np.percentile(first.ravel()[::step], (0.5, 99.5))
    scaled = (first - low) / max(float(high - low), 1e-6)
    return (np.clip(scaled, 0, 1) * 255).astype(np.uint8)[None, ..., None]


def png(array: np.ndarray) -> bytes:
    """Bytes ``(y, x)``, ``(y, x, 1)``, RGB or RGBA as a PNG file."""
    buffer = io.BytesIO()
    Image.fromarray(array[..., 0] if array.ndim == 3 and array.shape[-1] == 1 else array).save(
        buffer, format="PNG", optimize=True
    )
    return buffer.getvalue()


def data_uri(picture: bytes) -> str:
    """A PNG inside a page."""
    return "data:image/png;base64," + base64.b64encode(picture).decode("ascii")


def fill_layer(labels: np.ndarray) -> np.ndarray:
    """Class ids ``(y, x)`` → RGBA, one colour per class, the background clear."""
    return _palette()[np.minimum(labels, 255)]


def outline_layer(labels: np.ndarray, *, dashed: bool = False) -> np.ndarray:
    """Class ids ``(y, x)`` → RGBA with one-pixel outlines; ``dashed`` in white for the reference."""
    inner = ndimage.minimum_filter(labels, 3) == ndimage.maximum_filter(labels, 3)
    edge = (labels > 0) & ~inner
    layer = np.zeros((*labels.shape, 4), np.uint8)
    if dashed:
        y, x = np.indices(labels.shape)
        layer[edge & ((y + x) % 4 < 3)] = (255, 255, 255, 255)
    else:
        layer[edge] = _palette()[np.minimum(labels, 255)][edge]
    return layer


def overlay(picture: np.ndarray, labels: np.ndarray, *, opacity: float = 0.4) -> np.ndarray:
    """A picture ``(y, x, 1 or 3)`` with class ids ``(y, x)`` coloured in and outlined, as RGB."""
    base = np.repeat(picture, 3, axis=-1) if picture.shape[-1] == 1 else picture
    fill, edge = fill_layer(labels), outline_layer(labels)
    alpha = fill[..., 3:].astype(np.float32) / 255 * opacity
    mixed = base * (1 - alpha) + fill[..., :3] * alpha
    return np.where(edge[..., 3:] > 0, edge[..., :3], mixed).astype(np.uint8)


def _palette() -> np.ndarray:
    table = np.zeros((256, 4), np.uint8)
    for value in range(1, 256):
        text = PALETTE[(value - 1) % len(PALETTE)]
        table[value] = (int(text[1:3], 16), int(text[3:5], 16), int(text[5:7], 16), 255)
    return table


def _slices(
    shape: Sequence[int], reference: np.ndarray | None, prediction: np.ndarray | None
) -> tuple[int | None, ...]:
    """Which slices along the first axis are worth a look: spread over where something is, else everywhere."""
    if len(shape) == 2:
        return (None,)
    busy = np.zeros(shape[0], bool)
    for labels in (reference, prediction):
        if labels is not None:
            busy |= labels.reshape(shape[0], -1).any(axis=1)
    places = np.flatnonzero(busy) if busy.any() else np.arange(shape[0])
    picks = np.unique(np.linspace(0, len(places) - 1, min(SLICES, len(places))).round().astype(int))
    fullest = _fullest(
        tuple(int(place) for place in places), reference if reference is not None else prediction
    )
    return tuple(sorted({*(int(places[pick]) for pick in picks), int(places[fullest])}))


def _fullest(chosen: Sequence[int | None], labels: np.ndarray | None) -> int:
    if labels is None or chosen[0] is None:
        return 0 if labels is None and chosen[0] is None else (len(chosen) // 2 if labels is None else 0)
    return int(np.argmax([np.count_nonzero(labels[index]) for index in chosen]))


def _cut(labels: np.ndarray | None, index: int | None) -> np.ndarray | None:
    if labels is None:
        return None
    return np.minimum(labels if index is None else labels[index], 255).astype(np.uint8)


def _smaller(array: np.ndarray, *, smooth: bool) -> np.ndarray:
    """At most ``LARGEST_EDGE`` pixels wide and high; labels keep their values, thin objects stay visible."""
    factor = -(-max(array.shape[:2]) // LARGEST_EDGE)
    if factor <= 1:
        return array
    if smooth:
        flat = array[..., 0] if array.shape[-1] == 1 else array
        small = Image.fromarray(flat).reduce(factor)
        return np.asarray(small) if small.mode == "RGB" else np.asarray(small)[..., None]
    rows, columns = (-(-length // factor) for length in array.shape)
    padded = np.zeros((rows * factor, columns * factor), array.dtype)
    padded[: array.shape[0], : array.shape[1]] = array
    return padded.reshape(rows, factor, columns, factor).max(axis=(1, 3))
