from lthjax import moved


def __getattr__(name: str):
    """Answers for what moved away, with a warning."""
    return moved.answer(__name__, name)
