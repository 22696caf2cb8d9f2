"""Digits (UCI, 8x8), an MLP: the first run, with every control and three seeds.

python -m lthjax.main --config=configs/digits.py --workdir=runs/digits
"""

from lthjax import config as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.seeds = (0, 1, 2)
    config.controls = ("reinit", "shuffle", "random")
    config.data.name = "digits"
    config.data.validation = 297
    config.model.name = "mlp"
    config.model.options.hidden = (100, 50)
    config.train.steps = 2000
    config.train.batch_size = 60
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1.2e-3
    config.search.rate = 0.4
    config.search.levels = 8
    config.eval_every = 100
    return config
