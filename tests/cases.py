"""Which cases of a law run by default, and which with `pytest -m slow`."""

import pytest


def rest_slow(cases, *kept):
    """Returns the cases of a parametrised test, all but those that are kept slow.

    Args:
      cases: The cases, each the value or the tuple of values of one.
      kept: Those that run by default; they stand for the others.
    """
    cases = list(cases)
    assert all(case in cases for case in kept)
    return [
        case if case in kept else pytest.param(*_values(case), marks=pytest.mark.slow)
        for case in cases
    ]


def _values(case):
    return case if isinstance(case, tuple) else (case,)
