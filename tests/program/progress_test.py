"""Speed and time left on a terminal and in a log, and the wish to stop."""

import logging
import os
import re
import signal
import sys
import threading

import pytest

from lthjax.program import progress


@pytest.mark.parametrize(
    "seconds, text",
    [
        (0, "0 s"),
        (99.4, "99 s"),
        (100, "0:01:40"),
        (3723, "1:02:03"),
        (90_000, "25:00:00"),
    ],
)
def test_a_duration_is_short_to_read(seconds, text):
    assert progress.duration(seconds) == text


def test_a_log_has_a_line_now_and_then_and_at_the_end(caplog):
    caplog.set_level(logging.INFO)
    with progress.reporter("level 1", 10, 30, later=40, every=1e6) as report:
        for step in range(11, 31):
            report(step, "accuracy 9 %")
    (line,) = caplog.messages
    expected = r"level 1, step 30 of 30, \S+ steps/s, accuracy 9 %, \d+ s left in all"
    assert re.fullmatch(expected, line)


def test_a_terminal_has_a_bar(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    with progress.reporter("level 1", 10, 30, later=0, every=0) as report:
        report(30, "accuracy 9 %")
    shown = capsys.readouterr().err
    for text in ("level 1", "30/30", "steps/s", "accuracy 9 %"):
        assert text in shown


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_signal_asks_to_stop_and_its_handler_goes(number):
    before = signal.getsignal(number)
    with progress.interruption() as asked:
        assert not asked.is_set()
        os.kill(os.getpid(), number)
        assert asked.is_set()
    assert signal.getsignal(number) is before


def test_a_second_interrupt_stops_at_once():
    with pytest.raises(KeyboardInterrupt), progress.interruption():
        os.kill(os.getpid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)


def test_another_thread_may_run_without_signals():
    seen = []

    def body():
        with progress.interruption() as asked:
            seen.append(asked.is_set())

    thread = threading.Thread(target=body)
    thread.start()
    thread.join()
    assert seen == [False]
