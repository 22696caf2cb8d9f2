"""CIFAR-100, ResNet-18: tickets down to 97 %, retrained plainly and with all tweaks.

    python -m lthjax.main --config=configs/cifar100.py --workdir=runs/cifar100 \\
        --config.data_dir=D

The protocol of "Spending Your Winning Lottery Better After Drawing It" (released code):
182 epochs, batch 128, rate 0.1 times 0.1 at epochs 90 and 135, weight decay 2e-4 on
every parameter, 5,000 images for validation, PyTorch's default initialisation (the
head's bias too); convolutions alone are pruned (11,159,232 weights), 20 % of what is
left a level, 16 levels (97.2 %). The tickets of levels 7, 10, 14 and 16 (79, 89, 96, 97
%) are retrained with its four tweaks too: Swish and branches that fade until epoch 90,
re-scaled initialisation, labels smoothed by 0.1. The sources say neither what they
rewind to (epoch 3 here, as sibling codes have it) nor when their ghosts go. Expected:
no verified number for this exact protocol; their gains over vanilla retraining are 1.05
to 4.93 points. Running time: not measured; it takes a GPU.
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.data.name = "cifar100"
    config.data.validation = 5000
    config.data.crop = 4
    config.data.flip = True
    config.model.name = "resnet18"
    config.model.options = {"initialiser": "pytorch", "head_init": "pytorch"}
    config.train.epochs = 182
    config.train.batch_size = 128
    config.optimizer.weight_decay = 2e-4
    config.schedule.name = "piecewise"
    config.schedule.drops = (90, 135)
    config.search.rate = 0.2
    config.search.levels = 16
    config.search.exclude = ("^head/",)
    config.search.rewind_to = 3 * 352
    config.retraining.arms = ("tost_paper",)
    config.retraining.levels = (7, 10, 14, 16)
    for ghost in (config.retraining.neurons, config.retraining.skips):
        ghost.end = (90 - 3) / (182 - 3)
    return config
