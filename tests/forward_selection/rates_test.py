"""Rates fitted to runs: to their tail, and to nothing that is rounding."""

import math

import numpy as np
import pytest

from lthjax.forward_selection import rates


def test_a_rate_is_fitted_to_the_tail_where_there_is_one():
    steps = np.arange(0, 200, 10)
    fast, slow = 0.5 * 0.6**steps, 1e-5 * 0.97**steps
    found = rates.tail(fast + slow)
    rate = rates.fitted(steps[found], (fast + slow)[found])
    # Where the tail begins the fast part is still at most 1e-4 of the first loss.
    assert rate.points == len(steps) - found.start < len(steps)
    assert abs(math.log(rate.rho / 0.97)) < abs(
        math.log(rates.fitted(steps, fast + slow).rho / 0.97)
    )
    assert rates.tail([1.0, 0.5, 1e-5]) == slice(0, 3)
    still = [1e-3 * (1 + 0.01 * (n % 3)) for n in range(12)]
    assert rates.tail([]) == slice(0, None)
    for first in ([1.0, 0.05], [1.0], []):
        assert rates.tail([*first, *still]) == slice(0, None)


@pytest.mark.parametrize("floor", [2e-15, 1e-10, 1e-7])
@pytest.mark.parametrize("length", [60, 200])
def test_a_rate_is_not_of_what_rounding_leaves(floor, length):
    rng, steps = np.random.default_rng(0), np.arange(length)
    ripple = 1 + 0.05 * rng.standard_normal(length)
    losses = np.maximum(0.5 * 0.3**steps, floor) * ripple
    found = rates.tail(losses)
    rate = rates.fitted(steps[found], losses[found])
    np.testing.assert_allclose(rate.rho, 0.3, rtol=0.05)
    assert rate.fit > 0.99


@pytest.mark.parametrize("rho", [0.9, 0.99, 0.9999])
def test_a_slow_end_of_a_run_is_no_rounding(rho):
    steps = np.arange(100)
    losses = 0.5 * 0.3**steps + 1e-6 * rho**steps
    found = rates.tail(losses)
    assert found.stop == 100
    late = slice(30, None)  # what is fast is gone
    rate = rates.fitted(steps[late], losses[late])
    np.testing.assert_allclose(rate.rho, rho, rtol=1e-3)


@pytest.mark.parametrize(
    "steps, losses, message",
    [
        ([1, 2], [1, 0.5], "three points or more"),
        ([1, 2, 3], [1, 0.5, 0], "positive and finite"),
        ([1, 2, 3], [1, 2, 3], "must fall"),
        ([1, 1, 1], [3, 2, 1], "steps must be finite and rise"),
        ([1, 2, math.nan], [3, 2, 1], "steps must be finite and rise"),
        ([3, 2, 1], [1, 2, 3], "steps must be finite and rise"),
    ],
)
def test_what_has_no_rate_is_refused(steps, losses, message):
    with pytest.raises(ValueError, match=message):
        rates.fitted(steps, losses)
