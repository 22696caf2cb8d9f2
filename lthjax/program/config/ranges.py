"""Which values the keys of a config may have: a range, an element, a form of text."""

from lthjax.values import LARGEST, Range

COUNT = Range(0, LARGEST)
SIZE = Range(1, LARGEST)
AMOUNT = Range(0)
POSITIVE = Range(0, ends="()")
PART = Range(0, 1)
SHARE = Range(0, 1, "[]")
SOME = Range(0, 1, "(]")
BETWEEN = Range(0, 1, "()")
DEVICES = Range(-1, LARGEST)

# Every number of a config, and of its tuples; floats are finite, in float32.
RANGES = {
    "seeds": Range(0, 2**32),
    "data.validation": COUNT,
    "data.limit": COUNT,
    "data.crop": COUNT,
    "data.workers": Range(0, 1024, "[]"),
    "data.size": Range(0, 8192, "[]"),
    "data.mean": Range(0, 1, "[]"),
    "data.std": POSITIVE,
    "model.width": POSITIVE,
    "train.epochs": COUNT,
    "train.steps": COUNT,
    "train.batch_size": SIZE,
    "train.accumulate": SIZE,
    "train.class_weights": POSITIVE,
    "train.ema": PART,
    "train.stop.patience": SIZE,
    "train.stop.delta": AMOUNT,
    "optimizer.learning_rate": POSITIVE,
    "optimizer.momentum": PART,
    "optimizer.weight_decay": AMOUNT,
    "optimizer.clip": AMOUNT,
    "optimizer.norm_l1": AMOUNT,
    "schedule.drops": POSITIVE,
    "schedule.factor": POSITIVE,
    "schedule.warmup": COUNT,
    "schedule.tune": AMOUNT,
    "search.rounds": Range(0, 100_000, "[]"),
    "search.batches": SIZE,
    "search.examples": COUNT,
    "search.minimum": COUNT,
    "search.rate": BETWEEN,
    "search.layer_rates": BETWEEN,
    "search.levels": Range(0, 10_000, "[]"),
    "search.sparsities": PART,
    "search.rewind_to": COUNT,
    "search.gates.initial": Range(float("-inf"), ends="()"),
    "search.gates.penalty": AMOUNT,
    "search.gates.final_temperature": Range(1, ends="()"),
    "search.gates.period": COUNT,
    "search.gates.learning_rate": AMOUNT,
    "search.gates.momentum": PART,
    "search.admm.steps": SIZE,
    "search.admm.rho": POSITIVE,
    "search.admm.last": POSITIVE,
    "early_bird.threshold": SOME,
    "early_bird.queue": Range(2, 10_000, "[]"),
    "forward.draw_at": COUNT,
    "forward.number": SIZE,
    "forward.tolerance": PART,
    "forward.gate": PART,
    "forward.most": COUNT,
    "forward.batch_size": SIZE,
    "forward.check": SIZE,
    "forward.tune": SIZE,
    "forward.tune_rate": POSITIVE,
    "dynamic.every": SIZE,
    "dynamic.begin": PART,
    "dynamic.end": SOME,
    "dynamic.fraction": SHARE,
    "elastic.levels": SIZE,
    "elastic.seed": Range(-1, 2**32),
    "transplant.levels": SIZE,
    "transplant.seed": Range(-1, 2**32),
    "retraining.levels": COUNT,
    "retraining.neurons.hold": SHARE,
    "retraining.neurons.end": SOME,
    "retraining.skips.hold": SHARE,
    "retraining.skips.end": SOME,
    "retraining.smoothing": PART,
    "retraining.rescaling.iterations": SIZE,
    "retraining.rescaling.rate": POSITIVE,
    "retraining.rescaling.step": POSITIVE,
    "retraining.rescaling.bound": POSITIVE,
    "retraining.rescaling.floor": AMOUNT,
    "retraining.rescaling.clip": POSITIVE,
    "retraining.distillation.coefficient": AMOUNT,
    "retraining.distillation.hard": AMOUNT,
    "retraining.distillation.temperature": POSITIVE,
    "retraining.distillation.until": SOME,
    "retraining.sign_in.beta": POSITIVE,
    "retraining.sign_in.period": COUNT,
    "retraining.pools.alphas": BETWEEN,
    "retraining.pools.examples": SIZE,
    "mesh.ticket": DEVICES,
    "mesh.data": DEVICES,
    "eval_every": COUNT,
    "eval_batch": SIZE,
    "logging.line_seconds": AMOUNT,
    "logging.checkpoint_seconds": AMOUNT,
}
# What the tuples hold; a default that is empty does not say it.
ELEMENTS = {
    "seeds": 0,
    "controls": "",
    "measures": "",
    "data.mean": 0.0,
    "data.std": 0.0,
    "model.views": ("kernel$", "in out"),
    "model.fresh": "",
    "train.class_weights": 0.0,
    "schedule.drops": 0.0,
    "search.layer_rates": ("^head/", 0.1),
    "search.sparsities": 0.0,
    "search.basis": ("kernel$", "dct_channel"),
    "search.exclude": "",
    "search.gates.initial": 0.0,
    "retraining.arms": "",
    "retraining.levels": 0,
    "retraining.pools.alphas": 0.5,
    "elastic.levels": 0,
    "transplant.levels": 0,
    "transplant.heads": "",
    "studies": "",
}
# What may stand in the place of a tuple of numbers.
NAMED = {"train.class_weights": ("balanced",)}
# Texts that are regular expressions, tuples whose elements differ, and what is free.
EXPRESSIONS = ("model.views", "model.fresh", "search.layer_rates", "search.basis")
EXPRESSIONS += ("search.exclude", "search.include", "elastic.unit", "transplant.heads")
DIFFERENT = ("controls", "retraining.arms", "retraining.levels", "studies")
DIFFERENT += ("elastic.levels", "transplant.levels", "measures")
OPTIONS = ("data.options", "data.augment_options", "model.options", "search.options")
OPTIONS += ("optimizer.options", "schedule.options")
