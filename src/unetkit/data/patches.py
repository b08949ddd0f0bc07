"""Batches of patches that depend on the seed and the step alone."""

from __future__ import annotations

import math
import mmap
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import count, islice

import numpy as np
import torch
from torch import Tensor

from unetkit.data.augment import Moves, change_intensities, decode, draw_moves, mirror, move
from unetkit.data.cascade import network_input, refuse_mixed
from unetkit.data.cascade_augment import change_previous
from unetkit.data.mix import mix, mixes, vote_shares
from unetkit.data.readers import count_votes, draw_readers, refuse_readers
from unetkit.errors import DataError, UsageError
from unetkit.records.case import Sample
from unetkit.records.plan import AugmentationPlan, TrainingPlan
from unetkit.spatial.grid import mirrors_edges
from unetkit.spatial.slices import Slices

_TRIES, _VOTES = 16, -1
_RESIDENT_BYTES = 2 << 30
"""Above this size of all samples together, the pages of a mapped file are let go after each patch."""


@dataclass(frozen=True)
class Batch:
    """What one step trains on.

    Args:
        pixels: ``(B, C, *S)`` float32, normalised.
        target: ``(B, *S)`` int64 class ids; ``(B, K, *S)`` float32 shares of the classes where patches are
            blended or readers count as shares; 0 where unknown.
        known: ``(B, *S)`` bool; None when every pixel is known.
        cases: The case each item was cut from.
        borrowed: ``(B,)`` how much of each item is another one's of the batch; None where none is mixed.
    """

    pixels: Tensor
    target: Tensor
    known: Tensor | None
    cases: tuple[str, ...]
    borrowed: Tensor | None = None


@dataclass(frozen=True)
class _Pick:
    sample: Sample
    start: np.ndarray
    reader: int | None = None
    """Whose marks are the label; ``_VOTES`` for how many marked a pixel, None for the label itself."""


class Batches:
    """An endless row of batches, any of which can be asked for.

    The last ``foreground_fraction`` of a batch is drawn by class: first the class (or none, where cases
    without any class exist) by the number of cases that have it, to the power of ``1 - class_balance``, then
    a case, then a pixel of the class there, on which the patch is centred. With a balance of one half a class
    that occurs in one case of a hundred is seen ten times as often as it occurs, not a hundred times.

    Args:
        samples: Prepared cases, in memory or memory-mapped.
        training: Patch size, batch size, seed and share of foreground.
        augmentation: What happens to a patch.
        classes: Number of classes with the background.
        device: Where batches are augmented and handed over.
        slices: How a network over the plane sees volumes: a patch is one slice and its neighbours; None: it
            sees every axis.
        ahead: Batches that ``stream`` makes ahead in a background thread; None: 2 beside an accelerator, none
            on the CPU, where the network has every core already (two threads that each spread over all
            cores were measured to slow a step by half).

    Raises:
        DataError: There is no sample, or one has other axes than the patch or a class beyond ``classes``.
        UsageError: Patches are to be mixed, and there is one per batch.
    """

    def __init__(
        self,
        samples: Sequence[Sample],
        training: TrainingPlan,
        augmentation: AugmentationPlan,
        *,
        classes: int,
        device: torch.device,
        slices: Slices | None = None,
        ahead: int | None = None,
    ) -> None:
        _refuse(samples, training, classes, slices)
        refuse_readers(samples, training, classes=classes, mixed=mixes(augmentation))
        if mixes(augmentation) and training.batch_size < 2:
            raise UsageError(
                "expected training.batch_size of at least 2 to mix patches with one another, got 1",
                cure="raise training.batch_size, or set augmentation.mixup, cutmix and copy_paste to 0",
            )
        self._samples = samples
        self._training = training
        self._augmentation = augmentation
        self._device = device
        self._ahead = ahead if ahead is not None else 0 if device.type == "cpu" else 2
        self._slices = slices
        self._previous = classes - 1 if samples[0].previous is not None else 0
        # Places are drawn in the volume, where the patch of a network over the plane is one slice thick.
        self._patch = np.asarray(slices.in_volume(training.patch_size) if slices else training.patch_size)
        holders = {
            value: [s for s in samples if len(s.foreground.get(value, ()))] for value in range(1, classes)
        }
        self._holders = [(value, having) for value, having in holders.items() if having]
        empty = [s for s in samples if not any(len(places) for places in s.foreground.values())]
        if empty and self._holders:
            self._holders.append((0, empty))
        counts = np.array([len(having) for _, having in self._holders], np.float64)
        chances = counts ** (1 - training.class_balance)
        self._chances = np.cumsum(chances / max(chances.sum(), 1e-9))
        least = min((len(having) for having in holders.values() if having), default=1)
        # The rarest class of a partner is always pasted, the others the less often the more cases have them.
        self._rarity = [0.0, *(math.sqrt(least / max(len(having), 1)) for having in holders.values())]
        self._let_go = sum(sample.pixels.nbytes for sample in samples) > _RESIDENT_BYTES

    def at(self, step: int) -> Batch:
        """The batch of a step: the same whenever, wherever and in whatever order it is asked for.

        Args:
            step: Counted from 0.

        Raises:
            DataError: A patch holds values that are not finite, or its file cannot be read.
        """
        plan, size = self._training, self._training.patch_size
        seed = np.random.SeedSequence([plan.seed & (2**64 - 1), step]).generate_state(1, np.uint64)[0]
        generator = torch.Generator().manual_seed(int(seed))
        moves = draw_moves(self._augmentation, batch=plan.batch_size, patch_size=size, generator=generator)
        picks = self._read_by(self._picks(step), step)
        own = picks[0].sample.pixels.shape[0]
        pixels = np.empty((len(picks), own + self._previous, *size), np.float32)
        coded = np.empty((len(picks), *size), np.int64)
        for item, pick in enumerate(picks):
            if item not in moves.moving:
                self._cut(pick, pick.start, pixels[item], coded[item])
        image, ids = self._put(pixels), self._put(coded)
        if moves.moving:
            source, source_ids, centres = self._sources([picks[item] for item in moves.moving], moves)
            move(image, ids, moves, sources=(self._put(source), self._put(source_ids)), centres=centres)
        mirror(image, ids, moves)
        alike = self._slices.count if self._slices else 1
        change_intensities(image[:, :own], self._augmentation, generator=generator, alike=alike)
        if self._previous:
            change_previous(image[:, own:], self._augmentation, generator=generator)
        cases = tuple(pick.sample.id for pick in picks)
        if plan.readers == "soft":
            votes, known = decode(ids)
            return Batch(
                image, vote_shares(votes, [pick.sample.reader_count for pick in picks]), known, cases
            )
        if not mixes(self._augmentation):
            return Batch(image, *decode(ids), cases)
        mixed = mix(image, ids, self._augmentation, rarity=self._rarity, seed=plan.seed, step=step)
        return Batch(image, mixed.target, mixed.known, cases, mixed.borrowed)

    def stream(self, start: int, stop: int | None = None) -> Iterator[Batch]:
        """The batches from ``start`` on, some of them made ahead in one background thread.

        What goes wrong in the thread is raised here. Closing the iterator ends the thread.

        Args:
            start: First step.
            stop: Step to stop before; None: never.
        """
        steps = iter(count(start) if stop is None else range(start, stop))
        if not self._ahead:
            yield from map(self.at, steps)
            return
        maker = ThreadPoolExecutor(1, thread_name_prefix="batches")
        try:
            ahead: deque[Future[Batch]] = deque(maker.submit(self.at, s) for s in islice(steps, self._ahead))
            while ahead:
                batch = ahead.popleft().result()
                ahead.extend(maker.submit(self.at, s) for s in islice(steps, 1))
                yield batch
        finally:
            maker.shutdown(wait=True, cancel_futures=True)

    def _picks(self, step: int) -> list[_Pick]:
        """Which sample and which corner each item is cut at, from Philox(seed, step)."""
        plan, rank = self._training, len(self._patch)
        random = np.random.Generator(
            np.random.Philox(key=np.array([plan.seed & (2**64 - 1), step], np.uint64))
        )
        draws = random.random((plan.batch_size, 3 + rank))
        wanted = plan.foreground_fraction * plan.batch_size
        centred = round(wanted) or int(random.random() < wanted)
        first = plan.batch_size - centred if self._holders else plan.batch_size
        picks: list[_Pick] = []
        for item, (u_class, u_case, u_place, *u_start) in enumerate(draws):
            if item >= first:
                row = min(int(np.searchsorted(self._chances, u_class, side="right")), len(self._holders) - 1)
                value, having = self._holders[row]
                sample = having[int(u_case * len(having))]
                place = _place(sample, value, u_place) if value else None
            else:
                sample = self._samples[int(u_case * len(self._samples))]
                place = _known_place(sample, random)
            shape = np.asarray(sample.pixels.shape[1:])
            low, high = np.minimum(shape - self._patch, 0), np.maximum(shape - self._patch, 0)
            if place is None:
                begin = low + (np.asarray(u_start) * (high - low + 1)).astype(np.int64)
            else:
                begin = np.clip(np.asarray(place) - self._patch // 2, low, high)
            picks.append(_Pick(sample, begin) if self._slices is None else self._slice(sample, begin))
        return picks

    def _slice(self, sample: Sample, begin: np.ndarray) -> _Pick:
        """The same place, in the one slice that it lies in."""
        assert self._slices is not None
        picture = self._slices.picture(sample, int(begin[self._slices.axis]))
        self._release(sample)
        return _Pick(picture, np.delete(begin, self._slices.axis))

    def _read_by(self, picks: list[_Pick], step: int) -> list[_Pick]:
        """The picks with whose marks they learn from."""
        plan = self._training
        if plan.readers == "consensus":
            return picks
        if plan.readers == "soft":
            return [replace(pick, reader=_VOTES) for pick in picks]
        drawn = draw_readers(plan.seed, step, [pick.sample.reader_count for pick in picks])
        return [replace(pick, reader=reader) for pick, reader in zip(picks, drawn, strict=True)]

    def _sources(self, picks: Sequence[_Pick], moves: Moves) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
        """The surroundings that the moving items look at: pixels, coded labels, where the middle lies."""
        patch = self._training.patch_size
        middle = np.stack([pick.start for pick in picks]) + (np.asarray(patch) - 1) / 2
        reach = moves.reach(patch)
        low, high = np.floor(middle - reach).astype(int), np.ceil(middle + reach).astype(int) + 1
        if not mirrors_edges(len(patch)):
            # A patch larger than the image may look past it altogether: one pixel stays, out of its sight.
            shapes = np.stack([pick.sample.pixels.shape[1:] for pick in picks])
            low = np.clip(low, 0, shapes - 1)
            high = np.clip(high, low + 1, shapes)
        sizes = high - low
        most = tuple(int(size) for size in sizes.max(0))
        channels = picks[0].sample.pixels.shape[0] + self._previous
        pixels = np.zeros((len(picks), channels, *most), np.float32)
        coded = np.zeros((len(picks), *most), np.int64)
        for item, (pick, begin, size) in enumerate(zip(picks, low, sizes, strict=True)):
            used = tuple(slice(0, int(length)) for length in size)
            self._cut(pick, begin, pixels[(item, slice(None), *used)], coded[(item, *used)])
        return pixels, coded, middle - low

    def _cut(self, pick: _Pick, start: np.ndarray, pixels: np.ndarray, coded: np.ndarray) -> None:
        """Read one patch into ``pixels`` (normalised) and ``coded`` (class or votes + 1, 0 unknown)."""
        sample = pick.sample
        try:
            _read(pick, start, pixels, coded)
        except (OSError, ValueError, IndexError) as wrong:
            raise DataError(
                f"a patch cannot be cut from this prepared case ({wrong})",
                cure="delete the cache folder and run the same command again",
                where=sample.id,
            ) from wrong
        if not np.isfinite(pixels).all():
            raise DataError(
                "a patch holds NaN or infinite values after normalisation",
                cure="run `unet check` on the data, and correct or leave out this case",
                where=sample.id,
            )
        self._release(sample)

    def _release(self, sample: Sample) -> None:
        if self._let_go:
            for array in (sample.pixels, sample.label, sample.known, sample.readers, sample.previous):
                _forget(array)

    def _put(self, array: np.ndarray) -> Tensor:
        return torch.from_numpy(array).to(self._device, non_blocking=True)


def _refuse(samples: Sequence[Sample], training: TrainingPlan, classes: int, slices: Slices | None) -> None:
    if not samples:
        raise DataError("there is no case to train on", cure="add labelled cases, or choose fewer folds")
    refuse_mixed(samples)
    for sample in samples:
        axes = len(training.patch_size) + (slices is not None)
        if sample.pixels.ndim - 1 != axes:
            raise DataError(
                f"expected {axes} axes as in training.patch_size, got the shape {sample.pixels.shape[1:]}",
                cure="give training.patch_size one number per axis",
                where=sample.id,
            )
        if max(sample.foreground, default=0) >= classes:
            raise DataError(
                f"expected class ids below {classes}, got {max(sample.foreground)}",
                cure="plan anew with all classes of the data",
                where=sample.id,
            )


def _place(sample: Sample, value: int, chance: float) -> np.ndarray:
    """One of the stored pixels of a class."""
    places = sample.foreground[value]
    return np.asarray(np.unravel_index(int(places[int(chance * len(places))]), sample.pixels.shape[1:]))


def _known_place(sample: Sample, random: np.random.Generator) -> np.ndarray | None:
    """A known pixel to centre on where not all are known; None: anywhere."""
    if sample.known is None:
        return None
    places = (random.random((_TRIES, sample.known.ndim)) * sample.known.shape).astype(np.int64)
    return next((place for place in places if sample.known[tuple(place)]), None)


def _read(pick: _Pick, start: np.ndarray, pixels: np.ndarray, coded: np.ndarray) -> None:
    sample = pick.sample
    shape, size = np.asarray(sample.pixels.shape[1:]), np.asarray(coded.shape)
    low = np.clip(start, 0, shape)
    high = np.clip(start + size, low, shape)  # not before ``low``: a patch may lie beside the image
    source = tuple(slice(int(first), int(last)) for first, last in zip(low, high, strict=True))
    into = tuple(slice(int(first), int(last)) for first, last in zip(low - start, high - start, strict=True))
    whole = bool((high - low == size).all())
    previous = len(pixels) - len(sample.pixels)
    if whole:
        pixels[...] = network_input(sample, lambda array: array[(slice(None), *source)], previous)
    elif mirrors_edges(len(shape)):
        lines = [_reflected(first, n, length) for first, n, length in zip(start, size, shape, strict=True)]
        pixels[...] = network_input(sample, lambda array: _gathered(array, lines), previous)
    else:
        pixels[...] = 0
        pixels[(slice(None), *into)] = network_input(
            sample, lambda array: array[(slice(None), *source)], previous
        )
    if not whole or sample.label is None:
        coded[...] = 0
    if sample.label is not None:
        coded[into] = _labels(pick, sample.label, source)
        coded[into] += 1
    if sample.known is not None:
        coded[into] *= sample.known[source]


def _labels(pick: _Pick, label: np.ndarray, source: tuple[slice, ...]) -> np.ndarray:
    """What a patch learns: the label, one reader's marks, or how many readers marked each pixel."""
    marks = pick.sample.readers
    if pick.reader is None or marks is None:
        return label[source]
    return count_votes(marks[source]) if pick.reader == _VOTES else (marks[source] >> pick.reader) & 1


def _reflected(start: int, size: int, length: int) -> np.ndarray:
    """Positions ``start …`` on a line that goes back and forth between its ends."""
    line = np.arange(start, start + size)
    if length == 1:
        return np.zeros_like(line)
    line = np.abs(line) % (2 * length - 2)
    return np.minimum(line, 2 * length - 2 - line)


def _gathered(pixels: np.ndarray, lines: Sequence[np.ndarray]) -> np.ndarray:
    """Pick positions per axis, out of the smallest box that holds them (so that little is read)."""
    box = tuple(slice(int(line.min()), int(line.max()) + 1) for line in lines)
    part = pixels[(slice(None), *box)]
    for axis, line in enumerate(lines, start=1):
        part = np.take(part, line - line.min(), axis=axis)
    return part


def _forget(array: np.ndarray | None) -> None:
    """Let the pages of a mapped file go; the system still keeps them while memory is free."""
    if array is not None and isinstance(array.base, mmap.mmap) and hasattr(mmap, "MADV_DONTNEED"):
        array.base.madvise(mmap.MADV_DONTNEED)
