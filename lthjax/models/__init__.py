"""Networks, and any flax module as pure functions."""

from lthjax.models.applying import apply, initialise, is_ours, statistics
from lthjax.models.catalogue import build

__all__ = ["apply", "build", "initialise", "is_ours", "statistics"]
