"""Places where a ticket fits its training set, or not: equal steps on more images."""

import math

from lthjax.program.build import methods
from lthjax.program.config import files

SPARSITIES, AT = (0.9, 0.95, 0.98), 0.95  # the second of what is tried alone
NETWORKS = {"resnet8": 1.0, "vgg11": 0.25}  # the width at --width=1
MASKS = ("one_shot", "iterative")
DROPS = (0.5, 0.75)  # of the steps, where the rate falls tenfold
REWOUND = 0.05  # of the steps, where iterative tickets go back to


def config(options, network: str, masks: str, images: int):
    """Returns the config of a place, without arms.

    Args:
      options: Of the experiment: `data`, `data_dir`, `seeds`, `steps` and `width`.
      network: Of `NETWORKS`.
      masks: Of `MASKS`.
      images: Of training.
    """
    found = files.default()
    found.seeds, found.data_dir = tuple(range(options.seeds)), options.data_dir
    found.data.update(name=options.data, limit=images, validation=2000)
    found.data.update(crop=4, flip=True)
    found.model.update(name=network, width=options.width * NETWORKS[network])
    found.train.update(steps=options.steps, batch_size=64)
    found.optimizer.weight_decay = 2e-4
    epoch = math.ceil(images / 64)
    drops = tuple(part * options.steps / epoch for part in DROPS)
    found.schedule.update(name="piecewise", drops=drops)
    start = round(REWOUND * options.steps) if masks == "iterative" else 0
    found.search.update(method=masks, sparsities=SPARSITIES, rewind_to=start)
    found.search.exclude = ("^head/",)
    found.eval_every = -(-options.steps // 10)
    found.eval_batch = 1000
    found.logging.tensorboard = False
    return found


def shrunk(given):
    """Returns a config that takes the same path in seconds."""
    small = methods.shrunk(given)
    small.model.update(name="resnet20", width=1.0)
    small.model.options = {"blocks": (1,), "channels": (8,)}
    small.search.update(sparsities=SPARSITIES[:1], rewind_to=0)
    return small
