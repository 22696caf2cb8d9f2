"""Networks, and any flax module as pure functions."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
