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


def test_the_speed_in_a_log_leaves_compiling_out(caplog, monkeypatch):
    caplog.set_level(logging.INFO)
    clock = iter((0.0, 100.0, 100.0, 102.0, 102.0))  # a hundred seconds to compile
    monkeypatch.setattr(progress.time, "monotonic", lambda: next(clock))
    with progress.reporter("level 1", 0, 30, later=0, every=0) as report:
        report(10, "accuracy 9 %")
        report(30)
    first, last = caplog.messages
    assert first == "level 1, step 10 of 30, 0:01:40 with compiling, accuracy 9 %"
    assert last == "level 1, step 30 of 30, 10 steps/s, 0 s left in all"


def test_a_terminal_has_a_bar_of_this_training_and_one_of_all(monkeypatch, capsys):
    monkeypatch.setattr(sys.stderr, "isatty", lambda: True)
    monkeypatch.setenv("COLUMNS", "80")
    with progress.reporter("level 1", 10, 30, later=60, every=0) as report:
        report(20)
        report(30, "validation accuracy: dense 90.12 %, reinit 71.00 %")
    shown = capsys.readouterr().err
    assert "compiling" in shown
    own, every, said = shown.rsplit("level 1", 1)[1].splitlines()[:3]
    assert "30/30" in own and "steps/s" in own
    assert every.startswith("all that is left") and "20/80" in every
    assert said.startswith("validation accuracy: dense 90.12 %, reinit 71.00 %")


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
