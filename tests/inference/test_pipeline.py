"""Work ahead of its use: order, bounds, errors, ends."""

import threading

import pytest

from unetkit.inference.pipeline import ahead, passed_on


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


def test_the_maker_stays_in_its_thread_and_is_followed_in_order():
    makers, made = set(), []

    def items():
        for number in range(20):
            makers.add(threading.current_thread().name)
            made.append(number)
            yield number

    def use(arriving):
        found = []
        for item in arriving:
            assert len(made) - len(found) <= 2 + 2  # one is put, one is being made
            found.append(item)
        return threading.current_thread().name, found

    name, found = passed_on(items(), use, depth=2)
    assert makers == {threading.current_thread().name} != {name}
    assert found == list(range(20))


def test_a_maker_that_fails_stops_its_user_and_is_the_one_that_is_told():
    before, seen = threading.active_count(), []

    def items():
        yield 1
        raise KeyError("lost")

    def use(arriving):
        seen.extend(arriving)
        seen.append("whole")  # a file would be published here

    with pytest.raises(KeyError, match="lost"):
        passed_on(items(), use, depth=1)
    assert seen == [1]
    assert threading.active_count() == before


@pytest.mark.parametrize("wanted", [0, 3])
def test_a_user_that_fails_or_has_enough_ends_the_maker(wanted):
    before, made = threading.active_count(), []

    def items():
        for number in range(10**6):
            made.append(number)
            yield number

    def use(arriving):
        for _ in range(wanted):
            next(arriving)
        if not wanted:
            raise OSError("full")
        return "enough"

    if wanted:
        assert passed_on(items(), use, depth=2) == "enough"
    else:
        with pytest.raises(OSError, match="full"):
            passed_on(items(), use, depth=2)
    assert len(made) < 10**6
    assert threading.active_count() == before
