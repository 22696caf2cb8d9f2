"""Lottery tickets in JAX: train, prune, rewind and retrain as pure functions.

Chapters and short cuts are loaded when they are first touched.
"""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
moved.install()
