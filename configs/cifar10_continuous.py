"""CIFAR-10: tickets by Continuous Sparsification, the released code's protocol.

    python -m lthjax.main --config=configs/cifar10_continuous.py \\
        --workdir=runs/cifar10_continuous --config.data_dir=D
    python -m lthjax.main --config=configs/cifar10_continuous.py:vgg16 --workdir=...

Savarese et al., 2020, arXiv:1912.04427. "resnet20", the default, is its released
experiment: no norms on shortcuts, Glorot initialisation, 272,282 parameters, 267,696 of
them gated (neither shortcuts nor the classifier); three rounds of 85 epochs, batch 128,
SGD 0.1 with Nesterov's momentum for weights and gates, times 0.1 at epochs 56 and 71;
weights of epoch 2; 500 images a class for validation. Departure: gates are reset as the
paper is remembered to do it, not as its code does. Expected by its README at first
logit 0 and with `--config.search.gates.reset=code`: 91.5 to 92.0 % against 90 to 91 %
dense.
Not run whole: it takes a GPU; shortened to 704 steps (the command is in
`experiments/results/savarese2020_resnet20.md`). "vgg16" and "conv6" are the same on
other networks, whose exact settings are not known; conv6 trains by Adam 3e-4, batch 60.
"""

from lthjax.program.config import files as lthjax_config


def get_config(variant: str = "resnet20"):
    """Returns the config of "resnet20", "vgg16" or "conv6"."""
    lthjax_config.variant(variant, ("resnet20", "vgg16", "conv6"))
    config = lthjax_config.default()
    config.seeds = (0, 1, 2)
    config.data.name = "cifar10"
    config.data.validation = 5000
    config.data.cut = "stratified"
    config.data.crop = 4
    config.data.flip = True
    config.data.mean = (125.3 / 255, 123.0 / 255, 113.9 / 255)
    config.data.std = (63.0 / 255, 62.1 / 255, 66.7 / 255)
    config.model.name = variant
    config.train.epochs = 85
    config.train.batch_size = 128
    config.search.method = "continuous"
    config.search.levels = 3
    config.search.exclude = ("^head/",)
    config.search.rewind_to = 704  # two epochs
    if variant == "resnet20":
        config.model.options = {"shortcut_norm": False, "initialiser": "glorot_normal"}
        config.search.exclude = ("^head/", "/shortcut/")
    if variant == "conv6":
        config.train.update(epochs=40, batch_size=60)
        config.optimizer.update(name="adam", learning_rate=3e-4)
        config.search.rewind_to = 1500
        config.search.gates.learning_rate = 0.1
    else:
        config.optimizer.update(nesterov=True, weight_decay=1e-4)
        config.schedule.update(name="piecewise", drops=(56, 71))
    return config
