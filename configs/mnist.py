"""MNIST, LeNet-300-100: the protocol of the original lottery-ticket experiment.

    python -m lthjax.main --config=configs/mnist.py --workdir=runs/mnist \\
        --config.data_dir=D
    python -m lthjax.main --config=configs/mnist.py:short --workdir=runs/mnist_short \\
        --config.data_dir=D

Frankle and Carbin, 2019, arXiv:1803.03635, Figures 2 to 4: Adam 1.2e-3, batch 60,
50,000 steps at every level, validated every 100; 20 % of what is left removed a level
in each layer, 10 % in the output layer; weights go back to their first values.
Departures: images are normalised by mean and deviation (theirs: pixels in [0, 1], as
`--config.data.mean="(0.0,)" --config.data.std="(1.0,)"` has them); one
re-initialisation a ticket where the paper draws three.
Expected: about 98 % dense; at 13.5 % of the weights (level 9) no worse than dense,
and better than the same masks re-initialised. "short" trains 5,000 steps through 10
levels with three seeds. Running time: hours on two cores; `--dry_run` estimates it.
"""

from lthjax.program.config import files as lthjax_config


def get_config(variant: str = "paper"):
    """Returns the config of the "paper"'s protocol, or of a "short" one."""
    lthjax_config.variant(variant, ("paper", "short"))
    config = lthjax_config.default()
    config.seeds = (0, 1, 2, 3, 4)
    config.controls = ("reinit",)
    config.data.name = "mnist"
    config.data.validation = 5000
    config.model.name = "lenet_300_100"
    config.train.steps = 50_000
    config.train.batch_size = 60
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1.2e-3
    config.search.scope = "layer"
    config.search.rate = 0.2
    config.search.layer_rates = (("^head/", 0.1),)
    config.search.levels = 15
    config.eval_every = 100
    config.eval_batch = 1000
    config.best_by = "loss"
    if variant == "short":
        config.seeds = (0, 1, 2)
        config.controls = ("reinit", "shuffle", "random")
        config.train.steps = 5_000
        config.search.levels = 10
    return config
