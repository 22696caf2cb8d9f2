"""Score, then choose, then mask."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
