"""Digits (UCI, 8x8), an MLP: the first run, with every control and three seeds.

    python -m lthjax.main --config=configs/digits.py --workdir=runs/digits

Expected, measured with this command (n = 3): 96.8 +- 0.2 % dense; at 1.68 % of the
weights 90.1 +- 1.6 % for the ticket, 72.8 +- 5.0 % re-initialised, 30.7 +- 9.5 %
shuffled, 15.3 +- 3.0 % at random. Running time: under a minute on two cores.
"""

from lthjax.program.config import files as lthjax_config


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
