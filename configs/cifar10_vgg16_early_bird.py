"""CIFAR-10, VGG-16: an early-bird ticket, half of the channels.

    python -m lthjax.main --config=configs/cifar10_vgg16_early_bird.py \\
        --workdir=runs/early_bird --config.data_dir=D

The protocol of the released code of "Drawing Early-Bird Tickets": 160 epochs, batch
256, rate 0.1 times 0.1 at epochs 80 and 120, weight decay 1e-4, an l1 penalty of 1e-4
on the scales of batch norm, which start at a half; convolutions without biases, normal
by their fan-out, the classifier N(0, 0.01); the masks of five distances in a row below
0.1 end the pre-training. Departures: that detector is the paper's, by its README; the
code holds the newest mask against the four before it (`early_bird.rule`: `newest`).
Exactly half of the channels stay, where the code keeps one fewer; the ticket trains on
from its own weights, where the code's begin anew; 5,000 training images are set aside
for validation; the penalty goes on after the draw, as in most of its scripts. Expected:
it draws in the first 10 to 35 epochs (as arXiv:1909.11957 on CIFAR-100; the table for
VGG-16 on CIFAR-10 was not available). Running time: not measured; it takes a GPU.
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.data.name = "cifar10"
    config.data.validation = 5000
    config.data.crop = 4
    config.data.flip = True
    config.model.name = "vgg16"
    config.model.options = {
        "norm_scale": "half",
        "initialiser": "kaiming_normal_fan_out",
        "head_init": "small_normal",
        "biases": False,
    }
    config.train.epochs = 160
    config.train.batch_size = 256
    config.optimizer.weight_decay = 1e-4
    config.optimizer.norm_l1 = 1e-4
    config.schedule.name = "piecewise"
    config.schedule.drops = (80, 120)
    config.search.method = "early_bird"
    config.search.sparsities = (0.5,)
    return config
