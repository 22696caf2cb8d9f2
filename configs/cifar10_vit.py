"""CIFAR-10, a tiny vision transformer: iterative magnitude pruning, rewound.

    python -m lthjax.main --config=configs/cifar10_vit.py --workdir=runs/cifar10_vit \\
        --config.data_dir=D

Patches of 4, 12 blocks of 192 features and 3 heads, 5,362,762 parameters, every kernel
prunable. Adam with a warm-up and a cosine, for 200 epochs. Whole heads go with
`--config.search.pattern=heads --config.search.include='attention/.*kernel'
--config.search.levels=12`, the last of which keeps two of the 36. Not run at full
length: it takes a GPU.
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.data.name = "cifar10"
    config.data.validation = 5000
    config.data.crop = 4
    config.data.flip = True
    config.model.name = "vit_tiny"
    config.train.epochs = 200
    config.train.batch_size = 128
    config.optimizer.name = "adamw"
    config.optimizer.learning_rate = 1e-3
    config.optimizer.weight_decay = 0.05
    config.optimizer.clip = 1.0
    config.schedule.name = "cosine"
    config.schedule.warmup = 10
    config.search.rate = 0.2
    config.search.levels = 15
    config.search.rewind_to = 3520  # 10 epochs
    return config
