"""Which folders of a data set hold its images and which its masks, in the layouts that people use."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass, replace
from itertools import count
from pathlib import Path

from unetkit.data.formats import is_image_folder, kind_of, stem_of
from unetkit.data.pairing import pair_by_word

LAYOUTS = (("imagesTr", "labelsTr"), ("images", "masks"), ("images", "labels"))
"""Pairs that are taken before any other folder beside them is looked at."""

_IMAGES = ("imagestr", "images", "image", "imgs", "img", "jpegimages", "leftimg8bit", "inputs", "input")
_IMAGES += ("pictures", "photos", "scans", "original", "originals")
_LABELS = ("labelstr", "1stmanual", "manual", "segmentationclass", "masks", "mask", "gtfine", "groundtruth")
_LABELS += ("gts", "gt", "segmentations", "segmentation", "seg", "trimaps", "targets", "target", "annot")
_LABELS += ("labels", "label", "annotations", "annotation")
"""Folder names without capitals and signs; of several that fit, the first of the list is taken."""

_SIDES = {"train": "train", "training": "train", "val": "val", "valid": "val", "validation": "val"}
_SIDES |= {"test": "test", "testing": "test"}
_FILE_KINDS = ("png", "jpg", "jpeg", "tif", "tiff", "bmp", "gif", "nii")
_PIECE = re.compile(r"[A-Z]+(?![a-z])|[A-Z]?[a-z]+|\d+")
_DEEPEST = 3
_FEWEST_GROUPS = 3
_PAIR = 2


@dataclass(frozen=True)
class Part:
    """Images and masks that belong together.

    Args:
        images: Folder of the images.
        labels: Folder of their masks; that of the images where both lie in one.
        split: ``train``, ``val`` or ``test`` where a folder's name says so.
        group: Name of the folder that tells these images from others, such as a patient's; "" where none.
        whole: Whether the folder is one case: its files are one mask, and one image per channel.
    """

    images: Path
    labels: Path
    split: str | None = None
    group: str = ""
    whole: bool = False

    @property
    def mixed(self) -> bool:
        """Whether images and masks lie in one folder."""
        return self.images == self.labels


def find_parts(source: Path) -> tuple[Part, ...]:
    """Find the folders of images and of masks.

    Known are pairs of folders whose names mean images and masks, with or without folders inside (train and
    val, or one per patient); such pairs inside folders for train and val, or for patients; masks beside their
    images, named ``…_mask``; and one folder per case with a mask in it.

    Args:
        source: A folder.

    Returns:
        The parts, by name; nothing where no layout is recognised. A split is stated for both sides or not at
        all, and groups only where there are at least three.
    """
    parts = _settled(_search(source, 0)) or _case_folders(source)
    sides = {part.split for part in parts}
    if "train" not in sides or not sides & {"val", "test"}:
        parts = [replace(part, split=None) for part in parts]
    if len({part.group for part in parts}) < _FEWEST_GROUPS:
        parts = [replace(part, group="") for part in parts]
    return tuple(parts)


def exact_pair(source: Path) -> tuple[Path, Path] | None:
    """The first pair of ``LAYOUTS`` that a folder has."""
    named = ((source / images, source / labels) for images, labels in LAYOUTS)
    return next((pair for pair in named if all(folder.is_dir() for folder in pair)), None)


def words_of(part: Part, source: Path) -> str:
    """How a part lies in its data set.

    Example:
        >>> words_of(Part(Path("d/train/images"), Path("d/train/masks")), Path("d"))
        'train/images/ + train/masks/'
    """
    images, labels = (folder.relative_to(source).as_posix() for folder in (part.images, part.labels))
    if part.whole:
        return f"{images}/ with images and mask of one case"
    inside = f"{images}/" if images != "." else "one folder"
    return f"{inside} with masks beside the images" if part.mixed else f"{images}/ + {labels}/"


def _search(folder: Path, depth: int) -> list[Part]:
    """Parts of a folder, and where it has none, those of the folders inside it."""
    pairs = _pairs(folder)
    if pairs:
        several = len(pairs) > 1
        return [
            part
            for images, labels in pairs
            for part in _descend(images, labels, _split_in(labels.name) if several else None, "", 0)
        ]
    if masks_beside(_pictures(folder))[1]:
        return [Part(folder, folder)]
    if depth == _DEEPEST:
        return []
    found: list[Part] = []
    for child in _folders(folder):
        side = _SIDES.get(child.name.lower())
        for part in _search(child, depth + 1):
            group = part.group if side else "-".join(filter(None, (child.name, part.group)))
            found.append(replace(part, split=part.split or side, group=group))
    return found


def _pairs(folder: Path) -> list[tuple[Path, Path]]:
    """Folders of images and of masks that lie side by side."""
    exact = exact_pair(folder)
    if exact is not None:
        return [exact]
    images: dict[str, list[tuple[int, Path]]] = {}
    labels: dict[str, list[tuple[int, Path]]] = {}
    others: dict[str, Path] = {}
    for child in _folders(folder):
        for table, words in ((labels, _LABELS), (images, _IMAGES)):
            hit = _meaning(child.name, words)
            if hit is not None:
                table.setdefault(hit[0], []).append((hit[1], child))
                break
        else:
            others["".join(_pieces(child.name))] = child
    for name, child in others.items():  # train/ beside trainannot/ or train_masks/
        if name in labels and name not in images:
            images[name] = [(0, child)]
    pairs = [(min(images[name])[1], min(labels[name])[1]) for name in sorted(images) if name in labels]
    if not pairs and len(images) == len(labels) == 1:
        pairs = [(min(*images.values())[0][1], min(*labels.values())[0][1])] if images else []
    return pairs


def _meaning(name: str, words: Sequence[str]) -> tuple[str, int] | None:
    """What stands before a word of the list at the end of a name, and the word's place in the list."""
    pieces = _pieces(name)
    while len(pieces) > 1 and (pieces[-1] in _FILE_KINDS or pieces[-1].isdigit()):
        pieces = pieces[:-1]
    for start in range(len(pieces)):
        word = "".join(pieces[start:])
        if word in words:
            return "".join(pieces[:start]), words.index(word)
    for word in words:  # trainannot
        joined = "".join(pieces)
        before = joined.removesuffix(word)
        if before in _SIDES and before != joined:
            return before, words.index(word)
    return None


def _pieces(name: str) -> list[str]:
    return [piece.lower() for piece in _PIECE.findall(name)]


def _split_in(name: str) -> str | None:
    """The split that one of a name's words states."""
    words = (word for word in re.findall("[a-z]+", name.lower()))
    for word in words:
        for side, split in _SIDES.items():
            if word == side or any(word == side + label for label in _LABELS):
                return split
    return None


def _descend(images: Path, labels: Path, split: str | None, group: str, depth: int) -> list[Part]:
    """A pair of folders, and the pairs of equal names inside them."""
    here = [Part(images, labels, split, group)] if _pictures(images) else []
    if here:
        inside = _folders(labels)
        if len(inside) == 1 and not _pictures(labels) and _pictures(inside[0]):
            return [replace(here[0], labels=inside[0])]  # annotations/trimaps/
        return here
    found: list[Part] = []
    for child in _folders(images) if depth < _DEEPEST else []:
        other = labels / child.name
        if other.is_dir():
            side = _SIDES.get(child.name.lower().rstrip("0123456789"))
            name = group if side else "-".join(filter(None, (group, child.name)))
            found += _descend(child, other, split or side, name, depth + 1)
    return found


def masks_beside(paths: Sequence[Path]) -> tuple[list[Path], list[Path]]:
    """Images and masks of one folder: a mask has the name of its image and a word such as "_mask".

    A JPEG beside a file of another kind with the same name is the image of that mask.

    Args:
        paths: What is in the folder.

    Returns:
        Images and masks; no masks where fewer than a third of the files are some.
    """
    stems: dict[str, list[Path]] = {}
    for path in paths:
        stems.setdefault(stem_of(path), []).append(path)
    twins = [sorted(each, key=_is_jpeg) for each in stems.values() if len(each) == _PAIR]
    masks = {mask for mask, image in twins if _is_jpeg(image) and not _is_jpeg(mask)}
    if not masks:
        names = list(stems)
        masks = {path for name in pair_by_word(names, names).values() for path in stems[name]}
    if 3 * len(masks) < len(paths):
        masks = set()
    return [path for path in paths if path not in masks], [path for path in paths if path in masks]


def _is_jpeg(path: Path) -> bool:
    return path.suffix.lower() in (".jpg", ".jpeg")


def _case_folders(source: Path) -> list[Part]:
    """Folders that are one case each: in every one the same names, one of them a mask's."""
    kinds: dict[tuple[str, ...], list[Path]] = {}
    for folder in _folders(source):
        if is_image_folder(folder):
            continue
        names = sorted(channel_word(path, folder) for path in _pictures(folder))
        masks = [name for name in names if is_mask_word(name)]
        if len(masks) == 1 and len(names) > 1:
            kinds.setdefault(tuple(names), []).append(folder)
    if not kinds:
        return []
    folders = max(kinds.values(), key=len)
    return [Part(folder, folder, whole=True) for folder in folders] if len(folders) > 1 else []


def channel_word(path: Path, folder: Path) -> str:
    """What a file of a case's folder is: its stem without the folder's name.

    Example:
        >>> channel_word(Path("B7/B7_flair.nii.gz"), Path("B7")), channel_word(Path("B7/ct.nii"), Path("B7"))
        ('flair', 'ct')
    """
    return stem_of(path).removeprefix(folder.name).strip("_-. ").lower()


def is_mask_word(word: str) -> bool:
    """Whether a word means the mask of a case.

    Example:
        >>> is_mask_word("seg"), is_mask_word("ct")
        (True, False)
    """
    return "".join(_pieces(word)) in _LABELS


def _settled(parts: list[Part]) -> list[Part]:
    return sorted(parts, key=lambda part: (part.images, part.labels))


def _folders(folder: Path) -> list[Path]:
    """The folders inside a folder that are no image themselves."""
    inside = (path for path in folder.iterdir() if path.is_dir() and not path.name.startswith((".", "__")))
    return sorted(path for path in inside if not is_image_folder(path))


def _pictures(folder: Path) -> list[Path]:
    """What a format reads in a folder."""
    return sorted(path for path in folder.iterdir() if not path.name.startswith(".") and kind_of(path))


def unique_ids(named: Sequence[tuple[str, str]]) -> list[str]:
    """Case ids from pairs of a folder's name and a stem: the stems where each occurs once.

    Example:
        >>> unique_ids([("train", "1"), ("val", "2")]), unique_ids([("train", "1"), ("val", "1")])
        (['1', '2'], ['train-1', 'val-1'])
    """
    stems = [stem for _, stem in named]
    if len({stem.lower() for stem in stems}) == len(stems):  # some disks do not tell A from a
        return stems
    ids: dict[str, None] = {}
    for folder, stem in named:
        wanted = f"{folder}-{stem}" if folder else stem
        free = (wanted if n == 1 else f"{wanted}-{n}" for n in count(1))
        ids[next(id for id in free if id not in ids)] = None
    return list(ids)
