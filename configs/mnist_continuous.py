"""MNIST, LeNet-300-100: tickets by Continuous Sparsification, several first logits.

    python -m lthjax.main --config=configs/mnist_continuous.py \\
        --workdir=runs/mnist_continuous --config.data_dir=D

Savarese et al., 2020, arXiv:1912.04427, on the network and by the weights' optimizer of
`configs/mnist.py` (Adam 1.2e-3, batch 60), every kernel gated. The search is shortened:
600 steps a round in place of 85 epochs, and the gates' learning rate raised from 0.1 to
60 until few gates are undecided; the penalty is lowered in proportion, so that a step
of it moves a gate as far as the released code's 1e-8 does. A gate is undecided at
temperature 200 where its logit is within 0.023 of zero, and so no first logit is. A
pixel that is never on is not zero but, images being normalised, the same in all: its
weights act as biases, and their gates move too. `experiments/savarese2020.py` sets the
other searches beside it. Measured (n = 3): dense 95.04 +- 0.37 %; after three rounds
from first logit -0.3, 2.48 +- 0.17 % of the weights left, 95.51 +- 0.23 % retrained,
soft and hard 96.86 +- 0.14 %, no gate undecided.
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.seeds = (0, 1, 2)
    config.data.name = "mnist"
    config.data.validation = 5000
    config.model.name = "lenet_300_100"
    config.train.steps = 600
    config.train.batch_size = 60
    config.optimizer.name = "adam"
    config.optimizer.learning_rate = 1.2e-3
    config.search.method = "continuous"
    config.search.levels = 3
    config.search.gates.initial = (-0.3, -0.1, -0.05, 0.03)
    config.search.gates.learning_rate = 60.0
    config.search.gates.penalty = 1e-8 * 0.1 / 60
    config.search.gates.period = 12
    config.eval_every = 300
    config.eval_batch = 1000
    return config
