"""What a ticket is spent on after it is drawn: retraining with tweaks."""

import lazy_loader

__getattr__, __dir__, __all__ = lazy_loader.attach_stub(__name__, __file__)
