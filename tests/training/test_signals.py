from __future__ import annotations

import contextlib
import signal
import threading

import pytest

from unetkit.errors import InterruptedRunError, PreemptedError
from unetkit.training.signals import Preemptible, Signals


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_sets_a_flag_and_nothing_else(run, number):
    before = signal.getsignal(number)
    with Signals(run) as signals:
        assert signals.asked is None
        signal.raise_signal(number)
        assert signals.asked == number
        signal.raise_signal(signal.SIGTERM)
        assert signals.asked == number  # the first one counts
    assert signal.getsignal(number) == before


def test_handlers_are_restored_when_the_block_fails(run):
    before = signal.getsignal(signal.SIGTERM)
    with pytest.raises(ValueError, match="inside"), Signals(run):
        raise ValueError("inside")
    assert signal.getsignal(signal.SIGTERM) == before


def test_another_thread_leaves_handlers_alone(run):
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside():
        with Signals(run):
            seen.append(signal.getsignal(signal.SIGTERM))

    worker = threading.Thread(target=inside)
    worker.start()
    worker.join(10)
    assert seen == [before]


def test_what_is_raised_carries_the_exit_code(run):
    with Signals(run) as signals:
        signals.check(8)
        signal.raise_signal(signal.SIGINT)
        with pytest.raises(InterruptedRunError, match=r"\(SIGINT\) and saved its state at step 9") as caught:
            signals.check(9)
    assert isinstance(caught.value, PreemptedError)
    assert caught.value.exit_code == 130
    assert caught.value.where == str(run.folder)
    assert next(run.events("stopped")) == {"event": "stopped", "signal": "SIGINT", "step": 9}


def test_a_block_with_nothing_to_save_ends_there_and_then(tmp_path):
    before, after = signal.getsignal(signal.SIGTERM), []

    def work():
        with Preemptible(tmp_path, cure="try again"):
            try:
                signal.raise_signal(signal.SIGTERM)
                after.append("went on")
            finally:
                signal.raise_signal(signal.SIGTERM)  # a second one does not disturb the putting in order
                after.append("put in order")

    with pytest.raises(PreemptedError, match=r"\(SIGTERM\).*saved is intact.*Do this: try again") as caught:
        work()
    assert after == ["put in order"]
    assert (caught.value.exit_code, caught.value.where) == (75, str(tmp_path))
    assert signal.getsignal(signal.SIGTERM) == before


def test_what_was_swallowed_shows_at_the_next_check(tmp_path):
    with Preemptible(tmp_path, cure="try again") as preemptible:
        preemptible.check()
        with contextlib.suppress(PreemptedError):
            signal.raise_signal(signal.SIGTERM)
        with pytest.raises(PreemptedError):
            preemptible.check()


def test_inside_it_the_loop_hears_for_itself_and_hands_back_what_came_too_late(tmp_path, run):
    def work(*steps):
        with Preemptible(tmp_path, cure="x"):
            with Signals(run) as loop:
                signal.raise_signal(signal.SIGTERM)
                for step in steps:
                    loop.check(step)
            raise AssertionError("the signal was lost")

    with pytest.raises(PreemptedError, match="step 7"):
        work(7)
    with pytest.raises(PreemptedError, match="saved is intact"):
        work()


def test_in_another_thread_nothing_is_heard(tmp_path):
    before, seen = signal.getsignal(signal.SIGTERM), []

    def inside():
        with Preemptible(tmp_path, cure="x"):
            seen.append(signal.getsignal(signal.SIGTERM))

    worker = threading.Thread(target=inside)
    worker.start()
    worker.join(10)
    assert seen == [before]
