"""ImageNet, ResNet-50: iterative magnitude pruning with late rewinding.

    python -m lthjax.main --config=configs/imagenet.py --workdir=runs/imagenet \\
        --config.data_dir=D --config.data.workers=16

The protocol of open_lth: 90 epochs, batch 1,024, rate 0.4 with 5 epochs of warm-up,
times 0.1 at epochs 30, 60 and 80, weight decay 1e-4; rewound to epoch 5, from which
ResNet-50's tickets match (Frankle et al., 2019, arXiv:1912.05671). Departures: 10,000
training images are set aside for validation; batch norm scales start at one
(`norm_scale`: `uniform`); activations are bfloat16 (`model.dtype`). Expected: 76.17 +-
0.14 % dense (Renda et al., 2020, arXiv:2003.02389, result files). Images are streamed:
D holds train/<class>/*.JPEG and val/<class>/*.JPEG, or imagenet2012 as TFDS prepares
it. Not yet run: it takes an accelerator, and the processor cores to feed it
(`experiments/speed.py --only=streaming` measures how many photographs a second a
machine reads).
"""

from lthjax.program.config import files as lthjax_config


def get_config():
    """Returns the config."""
    config = lthjax_config.default()
    config.data.name = "imagenet"
    config.data.validation = 10_000
    config.data.flip = True
    config.data.stream = True
    config.model.name = "resnet50_imagenet"
    config.model.dtype = "bfloat16"
    config.train.epochs = 90
    config.train.batch_size = 1024
    config.optimizer.learning_rate = 0.4
    config.optimizer.weight_decay = 1e-4
    config.schedule.name = "piecewise"
    config.schedule.drops = (30, 60, 80)
    config.schedule.warmup = 5
    config.search.rate = 0.2
    config.search.levels = 10
    config.search.rewind_to = 5 * 1242
    return config
