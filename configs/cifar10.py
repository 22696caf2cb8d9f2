"""CIFAR-10, ResNet-20: iterative magnitude pruning with late rewinding.

    python -m lthjax.main --config=configs/cifar10.py --workdir=runs/cifar10 \\
        --config.data_dir=D

The protocol of open_lth (160 epochs, batch 128, rate 0.1 times 0.1 at epochs 80 and
120, weight decay 1e-4, global magnitude, 20 % of what is left a level, every kernel
prunable: 270,896 weights), rewound to step 1,000. Departures: 5,000 training images are
set aside for validation; batch norm scales start at one (`norm_scale`: `uniform`);
images are normalised by CIFAR-10's numbers (open_lth: ImageNet's). Expected: 91.7 %
dense (Renda et al., 2020, arXiv:2003.02389, result files: 91.71 +- 0.23 by 182 epochs,
weight decay 2e-4, on all 50,000 images), matched there down to 21 % of the weights.
Running time: 0.30 s a step on two cores (`experiments/results/speed.md`), so that the
whole of it takes a GPU (not measured).
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.seeds = (0, 1, 2)
    config.data.name = "cifar10"
    config.data.validation = 5000
    config.data.crop = 4
    config.data.flip = True
    config.model.name = "resnet20"
    config.train.epochs = 160
    config.train.batch_size = 128
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "piecewise"
    config.schedule.drops = (80, 120)
    config.search.rate = 0.2
    config.search.levels = 15
    config.search.rewind_to = 1000
    return config
