"""Tickets drawn by many: a server, its clients, rounds between them, and traffic."""

from lthjax import moved

__getattr__, __dir__, __all__ = moved.face(__name__, __file__)
