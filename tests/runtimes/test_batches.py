"""Half as many tiles where memory runs out, in one place; and the type that goes in."""

import numpy as np
import pytest

from unetkit.errors import ResourceError, UsageError
from unetkit.runtimes.batches import Batches, no_memory, required

TILES = np.arange(14, dtype=np.float32).reshape(7, 1, 2)


class Engine:
    """Answers twice what it is given, and runs out of memory above a number of tiles."""

    def __init__(self, fits, error=MemoryError):
        self.fits, self.error, self.sizes = fits, error, []

    def __call__(self, batch):
        self.sizes.append(len(batch))
        if len(batch) > self.fits:
            raise self.error("bad allocation")
        return 2 * batch


class OddError(Exception):
    """An engine's own error, which is none of Python's."""


def test_a_batch_that_fits_is_one_call_and_is_not_copied():
    given = []
    batches = Batches("cpu")
    batches.run(TILES, lambda batch: given.append(batch) or batch)
    assert len(given) == 1
    assert np.shares_memory(given[0], TILES)
    assert batches.notes == []


def test_the_batch_is_halved_until_it_fits_and_stays_so():
    engine, freed = Engine(2), []
    batches = Batches("cpu", freed=lambda: freed.append(1))
    assert np.array_equal(batches.run(TILES, engine), 2 * TILES)
    assert engine.sizes == [7, 3, 1, 1, 1, 1, 1, 1, 1]
    assert len(freed) == 2
    assert batches.notes == [f"cpu ran out of memory: batches of {size} from now on" for size in (3, 1)]
    engine.sizes.clear()
    assert np.array_equal(batches.run(TILES[:2], engine), 2 * TILES[:2])
    assert engine.sizes == [1, 1]


def test_an_error_of_an_engine_of_its_own_is_heard_when_it_is_named():
    with pytest.raises(OddError):
        Batches("cpu").run(TILES, Engine(3, OddError))
    engine = Engine(3, OddError)
    assert np.array_equal(Batches("cpu", caught=(OddError,)).run(TILES, engine), 2 * TILES)
    assert engine.sizes == [7, 3, 3, 1]


def test_a_single_tile_that_does_not_fit_is_explained_and_other_errors_go_on():
    with pytest.raises(
        ResourceError, match="one tile of 2 pixels does not fit into the memory of 'cpu'"
    ) as no:
        Batches("cpu").run(TILES, Engine(0))
    assert no.value.cure == "set a smaller inference.tile_size"

    def broken(batch):
        raise RuntimeError("shapes do not fit")

    with pytest.raises(RuntimeError, match="shapes do not fit"):
        Batches("cpu").run(TILES, broken)


@pytest.mark.parametrize(
    "text",
    [
        "DefaultCPUAllocator: can't allocate memory: you tried to allocate 9 bytes",
        "Failed to allocate memory for requested buffer of size 4294967296",
        "std::bad_alloc",
        "Failed to allocate 131550175360 bytes of memory",
        "CUDA out of memory",
    ],
)
def test_the_words_of_engines_are_known(text):
    assert no_memory(RuntimeError(text))
    assert not no_memory(RuntimeError("no such axis"))


def test_the_type_that_goes_in_is_the_networks():
    stored, normal = np.zeros((1, 1, 2), np.uint8), np.zeros((1, 1, 2))
    assert required(stored, np.uint8) is stored
    assert required(normal, np.float32).dtype == np.float32
    with pytest.raises(UsageError, match="takes uint8 pixels, the plan gives it float64") as refused:
        required(normal, np.uint8)
    assert "inference.network_input" in refused.value.cure
    with pytest.raises(UsageError, match="takes float32 pixels, the plan gives it uint8"):
        required(stored, np.float32)
    fixed = np.zeros((1, 1, 2), np.float32)
    fixed.flags.writeable = False
    assert required(fixed, np.float32) is fixed
    assert required(fixed, np.float32, writeable=True).flags.writeable
