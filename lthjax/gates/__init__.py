"""Masks that are learnt: soft gates, and networks that are trained with them."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
