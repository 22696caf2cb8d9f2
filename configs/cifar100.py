"""CIFAR-100, ResNet-18: the tickets that the retraining tweaks start from.

    python -m lthjax.main --config=configs/cifar100.py --workdir=runs/cifar100 \\
        --config.data_dir=D

The protocol of "Spending Your Winning Lottery Better After Drawing It" (released
code): 182 epochs, batch 128, rate 0.1 times 0.1 at epochs 90 and 135, weight decay
2e-4 on every parameter, 5,000 images for validation, PyTorch's default
initialisation; convolutions alone are pruned (11,159,232 weights), 20 % of what is
left a level, 16 levels (97.2 %). The source does not say what it rewinds to: epoch 3
here, as sibling codes have it. Expected: no verified number for this exact protocol;
the source's gains over vanilla retraining are 1.05 to 4.93 points. Running time: not
measured; it takes a GPU.
"""

from lthjax import config as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.data.name = "cifar100"
    config.data.validation = 5000
    config.data.crop = 4
    config.data.flip = True
    config.model.name = "resnet18"
    config.model.options.initialiser = "pytorch"
    config.train.epochs = 182
    config.train.batch_size = 128
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "piecewise"
    config.schedule.drops = (90, 135)
    config.search.rate = 0.2
    config.search.levels = 16
    config.search.exclude = ("^head/",)
    config.search.rewind_to = 3 * 352
    return config
