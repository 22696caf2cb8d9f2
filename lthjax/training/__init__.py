"""One step, many steps, many members of a population."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
