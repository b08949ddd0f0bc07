"""Work ahead of its use: order, bounds, errors, ends."""

import threading

import pytest

from unetkit.inference.pipeline import ahead


def test_order_stays_and_no_more_than_the_depth_waits():
    made, used = [], []

    def items():
        for number in range(20):
            made.append(number)
            yield number

    for item in ahead(items(), depth=3):
        used.append(item)
        assert len(made) - len(used) <= 3 + 1  # one more is being made
    assert used == list(range(20))


def test_it_is_another_thread_that_works():
    (name,) = set(ahead((threading.current_thread().name for _ in range(3)), depth=2))
    assert name != threading.current_thread().name


def test_an_error_comes_in_its_place_and_nothing_is_left_running():
    before = threading.active_count()

    def items():
        yield 1
        raise KeyError("lost")

    found = []
    with pytest.raises(KeyError, match="lost"):
        found.extend(ahead(items(), depth=4))
    assert threading.active_count() == before
    rest = ahead(items(), depth=4)
    assert next(rest) == 1


def test_closing_ends_the_maker_and_its_thread():
    before, ended = threading.active_count(), []

    def items():
        try:
            while True:
                yield 1
        finally:
            ended.append(True)

    running = ahead(items(), depth=2)
    assert next(running) == 1
    running.close()
    assert ended == [True]
    assert threading.active_count() == before
