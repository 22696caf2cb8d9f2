"""Which values the keys of trainings may have, and words in their place."""

from lthjax.values import LARGEST, Range

RANGES = {
    "train.accumulate": Range(1, LARGEST),
    "train.class_weights": Range(0, ends="()"),
    "train.ema": Range(0, 1),
    "train.stop.patience": Range(1, LARGEST),
    "train.stop.delta": Range(0),
    "retraining.sign_in.beta": Range(0, ends="()"),
    "retraining.sign_in.period": Range(0, LARGEST),
    "retraining.pools.alphas": Range(0, 1, "()"),
    "retraining.pools.examples": Range(1, LARGEST),
}
ELEMENTS = {"train.class_weights": 0.0, "measures": "", "model.fresh": ""}
ELEMENTS |= {"retraining.pools.alphas": 0.5}
# What may stand in the place of a tuple of numbers.
NAMED = {"train.class_weights": ("balanced",)}
EXPRESSIONS = ("model.fresh",)
OPTIONS = ("optimizer.options", "schedule.options")
