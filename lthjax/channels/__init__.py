"""Which channels of a network go together, and networks without the rest."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
