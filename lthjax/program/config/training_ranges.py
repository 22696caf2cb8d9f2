"""Which values the keys of one's own training may have, and words in their place."""

from lthjax.values import LARGEST, Range

RANGES = {
    "train.accumulate": Range(1, LARGEST),
    "train.class_weights": Range(0, ends="()"),
    "train.ema": Range(0, 1),
    "train.stop.patience": Range(1, LARGEST),
    "train.stop.delta": Range(0),
}
ELEMENTS = {"train.class_weights": 0.0, "measures": "", "model.fresh": ""}
# What may stand in the place of a tuple of numbers.
NAMED = {"train.class_weights": ("balanced",)}
EXPRESSIONS = ("model.fresh",)
OPTIONS = ("optimizer.options", "schedule.options")
