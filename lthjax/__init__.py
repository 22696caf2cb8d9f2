"""Lottery tickets in JAX: train, prune, rewind and retrain as pure functions.

Chapters and short cuts are loaded when they are first touched.
"""

import lazy_loader

from lthjax import moved

_shown, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)


def __getattr__(name: str):
    """Returns a chapter, a short cut, or what moved away, that with a warning."""
    return _shown(name) if name in __all__ else moved.answer(__name__, name)
