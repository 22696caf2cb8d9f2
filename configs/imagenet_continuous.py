"""ImageNet, ResNet-50: tickets or pruning by Continuous Sparsification. Not yet run.

    python -m lthjax.main --config=configs/imagenet_continuous.py --workdir=runs/r50 \\
        --config.data_dir=D
    python -m lthjax.main --config=configs/imagenet_continuous.py:pruning --workdir=...

Savarese et al., 2020, arXiv:1912.04427; the settings of its ImageNet experiments are
not known, and these are our choice: batch 256, SGD 0.1, cosine, 100 epochs. "pruning"
trains once, hardens and fine-tunes at 0.001, our choice too (the cosine ends at 0); so
does "soft_threshold". What it is compared with, on the same prunable set (all but the
classifier) and at 90 %: "gradual" (arXiv:1710.01878; cubic, epochs 20 to 79 as in the
repository of the next, whose masks act on the forward pass alone and by layer, ours on
the weights and over all layers), "soft_threshold" (arXiv:2002.03231; weight decay
2.25e-5 on weights and thresholds gives about 90 %, SGD 0.256, momentum 0.875, five
epochs of warm-up; no label smoothing here) and "wirings" (arXiv:1906.00586). Published
top-1 of the second, by its README: 74.31 % at 90.23 %, 70.23 % at 95.15 %. D is as in
`configs/imagenet.py`. Running time: not measured; it takes an accelerator.
"""

from lthjax.program.config import files as lthjax_config

VARIANTS = ("tickets", "pruning", "gradual", "soft_threshold", "wirings")


def get_config(variant: str = "tickets"):
    """Returns the config of one of `VARIANTS`."""
    lthjax_config.variant(variant, VARIANTS)
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
    if variant != "tickets":
        config.search.rewind_to = 0
    if variant in ("pruning", "soft_threshold"):
        config.search.update(levels=1, restart="fine_tune")
        config.schedule.tune = 0.001
    if variant == "soft_threshold":
        config.search.method = variant
        config.search.gates.update(initial=(-3200.0,), penalty=2.25e-5)
        config.search.gates.update(momentum=0.875, nesterov=False)
        config.optimizer.update(learning_rate=0.256, momentum=0.875, nesterov=False)
        config.optimizer.weight_decay = 2.25e-5
        config.schedule.warmup = 5
    if variant in ("gradual", "wirings"):
        config.search.update(method=variant, sparsities=(0.9,))
    if variant == "gradual":
        config.dynamic.update(begin=0.2, end=0.79)
    if variant == "wirings":
        config.search.scope = "layer"
    return config
