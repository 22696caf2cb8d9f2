"""ImageNet, ResNet-50: tickets or pruning by Continuous Sparsification. Not yet run.

    python -m lthjax.main --config=configs/imagenet_continuous.py --workdir=runs/r50 \\
        --config.data_dir=D
    python -m lthjax.main --config=configs/imagenet_continuous.py:pruning --workdir=...

Savarese et al., 2020, arXiv:1912.04427; the settings of its ImageNet experiments are
not known, and these are our choice: batch 256, SGD 0.1, cosine, 100 epochs. "pruning"
trains once, hardens and fine-tunes; gradual pruning, STR and DNW are what it is to be
compared with. D is as in `configs/imagenet.py`. Running time: not measured; it takes an
accelerator.
"""

from lthjax import config as lthjax_config


def get_config(variant: str = "tickets"):
    """Returns the config of "tickets" or of "pruning"."""
    if variant not in ("tickets", "pruning"):
        raise ValueError(f"the variant must be 'tickets' or 'pruning', got {variant!r}")
    config = lthjax_config.default()
    config.data.name = "imagenet"
    config.data.validation = 10_000
    config.data.flip = True
    config.data.stream = True
    config.model.name = "resnet50_imagenet"
    config.train.epochs = 100
    config.train.batch_size = 256
    config.optimizer.nesterov = True
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "cosine"
    config.search.method = "continuous"
    config.search.levels = 5
    config.search.exclude = ("^head/",)
    config.search.rewind_to = 10_000
    if variant == "pruning":
        config.search.levels = 1
        config.search.restart = "fine_tune"
        config.search.rewind_to = 0
    return config
