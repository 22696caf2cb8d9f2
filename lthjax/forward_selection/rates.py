"""The rate at which a run's loss falls, fitted to its tail."""

import math
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

ROUNDING = 1e-12  # of a squared residual: float32 is this and a little less


class Rate(NamedTuple):
    """A contraction fitted to a run: squared residual = exp(a) rho^t.

    Attributes:
      rho: What a step multiplies the squared residual by.
      fit: R^2 of the straight line through its logarithm.
      points: How many points it was fitted to.
    """

    rho: float
    fit: float
    points: int


def tail(losses: Sequence[float]) -> slice:
    """Returns which points of a run to fit a rate to: its tail.

    From the first loss that is at most 1e-4 of the first of all, a hundredth of the
    residual, to the last one before what rounding leaves: 1e-12 of the first, or where
    the run stands still at its end. Where that leaves fewer than three points it begins
    with the first, and where these are not three it is the whole run.

    Args:
      losses: A multiple of the squared residual at each measurement.
    """
    losses = np.asarray(losses, float)
    end = _fallen(losses) if len(losses) else 0
    if end < 3:
        return slice(0, None)
    low = losses[:end] <= 1e-4 * losses[0]
    start = int(np.argmax(low)) if low.any() else 0
    return slice(start if end - start >= 3 else 0, end)


def _fallen(losses):
    """Returns how many points there are before a run has nothing but rounding left."""
    low = losses <= ROUNDING * losses[0]
    end = int(np.argmax(low)) if low.any() else len(losses)
    still = int(np.argmax(losses[:end] <= 2 * np.min(losses[:end], initial=np.inf)))
    last = losses[still:end]
    if len(last) < 6:
        return end
    order = np.argsort(np.argsort(last, stable=True))
    trend = np.corrcoef(np.arange(len(last)), order)[0, 1]  # Spearman's
    return end if trend * math.sqrt(len(last) - 1) < -2 else still


def fitted(steps: Sequence[float], losses: Sequence[float]) -> Rate:
    """Returns the contraction of a run, a straight line through log loss.

    All points count the same: hand in `tail` for the rate after the fast beginning.

    Args:
      steps: t of each measurement.
      losses: A multiple of the squared residual there, such as the mean loss.

    Raises:
      ValueError: There are fewer than three points, a loss is not positive and finite,
        the steps do not rise, or the losses do not fall.
    """
    steps, losses = np.asarray(steps, float), np.asarray(losses, float)
    if len(steps) < 3 or len(steps) != len(losses):
        raise ValueError(
            "a rate is fitted to three points or more, as many steps as losses, got "
            f"{len(steps)} steps and {len(losses)} losses"
        )
    if not np.all(np.isfinite(losses) & (losses > 0)):
        raise ValueError(f"losses must be positive and finite, got losses = {losses}")
    if not (np.isfinite(steps).all() and (np.diff(steps) > 0).all()):
        raise ValueError(f"steps must be finite and rise, got steps = {steps}")
    logs = np.log(losses)
    slope, offset = np.polyfit(steps, logs, 1)
    if slope >= 0:
        raise ValueError(
            "the losses of a run must fall for a rate to be fitted, got a slope of "
            f"log loss = {slope:.3g} a step"
        )
    left = np.sum((logs - slope * steps - offset) ** 2)
    total = np.sum((logs - logs.mean()) ** 2)
    return Rate(float(np.exp(slope)), float(1 - left / total), len(steps))
