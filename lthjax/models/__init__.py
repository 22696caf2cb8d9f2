"""Networks, and any flax module as pure functions."""

from lthjax import moved
from lthjax.models.by_name import build
from lthjax.models.functions import apply, initialise, is_ours, statistics

__all__ = ["apply", "build", "initialise", "is_ours", "statistics"]


def __getattr__(name: str):
    """Answers for what moved away, with a warning."""
    return moved.answer(__name__, name)
