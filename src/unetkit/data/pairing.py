"""Which mask belongs to which image, where their names are not quite the same."""

from __future__ import annotations

import re
import unicodedata
from collections import Counter
from collections.abc import Callable, Sequence, Set

_WORDS = "masks?|labels?|gts?|seg|segm|segmentations?|ground_?truth|annotations?|annot|targets?|manual_?1?"
_BEHIND = re.compile(rf"(.+?)[ _.\-]?(?:{_WORDS})", re.IGNORECASE)
_BEFORE = re.compile(rf"(?:{_WORDS})[ _.\-]?(.+)", re.IGNORECASE)
_IMAGE = re.compile(r"(?:images?|imgs?|im|pictures?|photos?|scans?|inputs?)[ _.\-]?(.+)", re.IGNORECASE)
_SIGN = re.compile(r"[ _.\-]")
_FEWEST = 2
_CITYSCAPES = ("gtfine_labeltrainids", "gtfine_labelids")


def pair_by_word(images: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Stem of the image to stem of its mask, where a word such as "mask" is before or behind it.

    Args:
        images: Stems of the images, some of which may be masks.
        labels: Stems of the masks, some of which may be images.

    Example:
        >>> pair_by_word(["a7", "img_9"], ["a7_mask", "mask_9", "a"])
        {'a7': 'a7_mask', 'img_9': 'mask_9'}
    """
    found: dict[str, str] = {}
    bare = {hit[1]: image for image in reversed(images) if (hit := _IMAGE.fullmatch(image))}
    known = set(images)
    for label in labels:
        hits = [hit[1] for hit in (_BEHIND.fullmatch(label), _BEFORE.fullmatch(label)) if hit]
        image = next((core for core in hits if core in known), None)
        image = image or next((bare[core] for core in hits if core in bare), None)
        if image is not None and image != label:
            found.setdefault(image, label)
    return found


def pair_names(images: Sequence[str], labels: Sequence[str]) -> tuple[dict[str, str], str]:
    """Find the mask of every image.

    Equal names belong together, also where one disk wrote an accent as a sign of its own, or where only
    capitals differ. Of the rest, a word such as "mask" before or behind the name of an image is left out;
    else what all masks, and all images, have before or behind is, if that pairs every mask with an image of
    its own.

    Args:
        images: Stems of the images.
        labels: Stems of the masks.

    Returns:
        Stem of the image to stem of its mask, as far as there is one; and what had to be guessed, "" if
        nothing.

    Example:
        >>> pair_names(["7_training", "8_training"], ["7_hand", "8_hand"])[0]
        {'7_training': '7_hand', '8_training': '8_hand'}
    """
    known = set(labels)
    found, guessed = {image: image for image in images if image in known}, ""
    for written, words in ((composed, ""), (_uncapitalised, "'{}' was taken as the mask of '{}', and so on")):
        more = _alike(images, labels, found, written)
        found |= more
        guessed = words.format(*next((label, image) for image, label in more.items())) if more else guessed
    paired = set(found.values())
    lone = [image for image in images if image not in found]
    rest = [label for label in labels if label not in paired]
    if not lone or not rest:
        return found, guessed
    worded = pair_by_word(lone, rest)
    if worded:
        image, label = next(iter(worded.items()))
        return found | worded, f"'{label}' was taken as the mask of '{image}', and so on"
    common = {} if found else _by_affix(lone, _one_kind(rest))
    if common:
        image, label = next(iter(common.items()))
        return common, f"'{label}' was taken as the mask of '{image}', as their names differ alike"
    return found, guessed


def composed(name: str) -> str:
    """A name with every accented letter as one sign (Unicode NFC); macOS writes some as two.

    Example:
        >>> len("zu" + chr(0x308)), len(composed("zu" + chr(0x308)))
        (3, 2)
    """
    return unicodedata.normalize("NFC", name)


def _uncapitalised(name: str) -> str:
    return composed(name).casefold()


def _alike(
    images: Sequence[str], labels: Sequence[str], found: dict[str, str], written: Callable[[str], str]
) -> dict[str, str]:
    """Pairs of names without a partner that are one name once ``written`` alike, and the only ones."""
    paired = set(found.values())
    lone, rest = _only(images, found.keys(), written), _only(labels, paired, written)
    return {image: rest[key] for key, image in lone.items() if key in rest}


def _only(names: Sequence[str], paired: Set[str], written: Callable[[str], str]) -> dict[str, str]:
    """What is written as no other of the names is, without those that have a partner."""
    keys = Counter(map(written, names))
    return {written(name): name for name in names if name not in paired and keys[written(name)] == 1}


def _one_kind(labels: Sequence[str]) -> list[str]:
    """Of the several masks that Cityscapes has per image, the numbered one."""
    for tail in _CITYSCAPES:
        kept = [label for label in labels if label.lower().endswith(tail)]
        if kept:
            return kept
    return list(labels)


def _by_affix(images: Sequence[str], labels: Sequence[str]) -> dict[str, str]:
    """Pairs by what is left without what all images, and all masks, have before and behind."""
    if len(labels) < _FEWEST or len(images) < _FEWEST:
        return {}
    cores = _cores(labels)
    wanted = {core: image for core, image in zip(_cores(images), images, strict=True) if core}
    if len(wanted) < len(images) or len(set(cores)) < len(labels) or not set(cores) <= set(wanted):
        return {}
    return {wanted[core]: label for core, label in zip(cores, labels, strict=True)}


def _cores(names: Sequence[str]) -> list[str]:
    """Names without their common beginning and end, which are cut at a sign such as ``_``."""
    before = _beginning(names)
    start = max((hit.end() for hit in _SIGN.finditer(before)), default=0)
    behind = _beginning([name[start:][::-1] for name in names])[::-1]
    first = _SIGN.search(behind)
    stop = len(behind) - first.start() if first else 0
    return [name[start : len(name) - stop] for name in names]


def _beginning(names: Sequence[str]) -> str:
    """What all names begin with."""
    low, high = min(names), max(names)  # in order, these two differ the most
    return low[: next((n for n, (a, b) in enumerate(zip(low, high, strict=False)) if a != b), len(low))]
