"""What a ticket is spent on after it is drawn: retraining with tweaks."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
