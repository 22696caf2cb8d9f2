"""What sweeps of seconds are made of: a config of one seed and one level."""

import tiny

RATE = "optimizer.learning_rate"
LOGITS = "search.gates.initial"


def base(changes=None):
    """Returns the config, with changes."""
    return tiny.config({"seeds": (5,), "search.levels": 1, **(changes or {})})
