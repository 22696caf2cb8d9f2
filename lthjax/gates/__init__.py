"""Masks that are learnt: soft gates, and networks that are trained with them."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
