"""What changes the config of `tiny` into a run of seconds of every method."""

import tiny

from lthjax.program.build import methods

CONV = {"model.name": "resnet8", "model.options": {}, "model.width": 0.25}
CONV |= {"data.crop": 2, "data.flip": True}
SMALL = {"model.name": "vgg11", "search.sparsities": (0.5,)}
SMALL |= {"model.options": {"depths": (1, 1), "channels": (4, 6)}}
# These need the folder of another run; what they train is "iterative".
FROM_OTHERS = ("elastic", "transplant")
METHODS = {n: {"search.method": n} for n in methods.METHODS if n not in FROM_OTHERS}
METHODS["forward"] |= CONV | {"search.levels": 1}
METHODS["wirings"] |= {"search.scope": "layer"}
METHODS["soft_threshold"] |= {"search.gates.initial": (-5.0,)}
METHODS["slimming"] |= SMALL | {"optimizer.norm_l1": 1e-4}
METHODS["early_bird"] |= SMALL | {"early_bird.queue": 2, "train.steps": 12}
for moving in ("gradual", "rigl", "set", "straight_through"):
    METHODS[moving] |= {"dynamic.every": 1}
METHODS["admm"] |= {"search.admm.steps": 2}
TWEAKS = {"retraining.arms": ("tost_paper",), "retraining.levels": (1,)}
TWEAKS |= {"retraining.neurons.end": 0.5, "retraining.skips.end": 0.5}
TWEAKS |= {"retraining.rescaling.iterations": 2}
SYNFLOW = {"search.method": "at_init", "search.score": "synflow"}
ALL = METHODS | {"cropped": CONV, "tweaks": CONV | TWEAKS, "synflow": SYNFLOW}
ALL |= {"controls": {"controls": tiny.ALL}, "streamed": {"data.stream": True}}
