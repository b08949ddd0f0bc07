from __future__ import annotations

import signal
import threading

import pytest

from unetkit.errors import InterruptedRunError, PreemptedError
from unetkit.training.signals import Signals


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
