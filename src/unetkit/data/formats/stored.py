"""An array that lies in a file as it is: only the bytes of what is asked for are read."""

from __future__ import annotations

import itertools
import math
from pathlib import Path

import numpy as np

from unetkit.data.formats.checks import TRUNCATED
from unetkit.errors import DataError


class StoredArray:
    """A C-order array behind ``offset`` bytes of a file.

    Read with plain reads, not mapped: pages of a mapped file count as this process's memory, and a file that
    is cut while it is mapped ends the process instead of raising an error.

    Args:
        path: The file.
        offset: Bytes before the first number.
        shape: Numbers per axis.
        dtype: Their type, with the file's byte order.
        rows_axis: Axis from which on a part is one run of bytes; the axes before it are walked.
    """

    def __init__(
        self, path: Path, *, offset: int, shape: tuple[int, ...], dtype: np.dtype, rows_axis: int
    ) -> None:
        self.path, self.offset, self.shape, self.dtype = path, offset, shape, dtype
        self._rows_axis = rows_axis

    def read(self, region: tuple[tuple[int, int], ...]) -> np.ndarray:
        """Copy a part of the array into memory.

        Args:
            region: Start and stop per axis.

        Returns:
            The part, in the machine's byte order.

        Raises:
            DataError: The file cannot be read any more, or ends before the part does.
        """
        try:
            return self._read(region)
        except OSError as wrong:
            raise DataError(
                f"this file cannot be read any more ({wrong.strerror or wrong})",
                cure="put it back, or copy it to this machine",
                where=self.path,
            ) from wrong

    def _read(self, region: tuple[tuple[int, int], ...]) -> np.ndarray:
        axis = self._rows_axis
        start, stop = region[axis]
        rest = self.shape[axis + 1 :]
        row = math.prod(rest)
        inner = tuple(slice(low, high) for low, high in region[axis + 1 :])
        sizes = tuple(high - low for low, high in region)
        result = np.empty(sizes, self.dtype.newbyteorder("="))
        with self.path.open("rb") as file:
            for place in itertools.product(*(range(low, high) for low, high in region[:axis])):
                before = int(np.ravel_multi_index(place, self.shape[:axis])) if axis else 0
                file.seek(self.offset + (before * self.shape[axis] + start) * row * self.dtype.itemsize)
                numbers = np.fromfile(file, self.dtype, (stop - start) * row)
                if numbers.size < (stop - start) * row:
                    raise DataError(
                        f"this file is truncated: it ends before the rows {start} to {stop}",
                        cure=TRUNCATED,
                        where=self.path,
                    )
                into = tuple(at - low for at, (low, _) in zip(place, region[:axis], strict=True))
                result[into] = numbers.reshape(stop - start, *rest)[(slice(None), *inner)]
        return result
