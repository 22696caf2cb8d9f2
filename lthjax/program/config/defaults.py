"""Every key of a configuration, with its default."""

from ml_collections import ConfigDict


def default() -> ConfigDict:
    """Returns every key with its default; a config file changes some of them."""
    return ConfigDict(
        {
            "objective": "classification",  # regression, detection, ..., or your own
            # Beside the objective's: top5, balanced_accuracy, calibration_error, ...
            "measures": (),
            "seeds": (0,),  # each a chain of tickets; they train as one population
            "controls": (),  # other arms: reinit, shuffle, random, init, trained, ...
            "data_dir": "",  # where prepared sets lie; "": the folder of TFDS
            "data": {
                "name": "digits",  # a set; folder, npz; or "package.module:function"
                "validation": 0,  # images cut from train; 0: the set brings its own
                "limit": 0,  # training images used; 0: all
                "cut": "",  # first, stratified: how both are chosen; "": by the set
                "crop": 0,  # zero padding before a random crop
                "flip": False,  # mirror half of the training images, at random
                # What is done to a batch: mixup, cutout, cutout+mixup, or your own.
                "augment": "",
                "augment_options": {},  # of it: alpha of mixup, side of cutout
                "stream": False,  # read from the disk on the way; imagenet must be
                "workers": 0,  # processes that read in training; 0: threads
                # Pixels a side that images become; 0: as they are, photographs 224.
                "size": 0,
                "mean": (),  # by channel, of images / 255; (): the set's, `data.facts`
                "std": (),  # the same, deviations
                "options": {},  # of your function, or of the set: path, test, channels
            },
            "model": {
                "name": "mlp",  # a network, or "package.module:Net"
                "width": 1.0,  # times the channels of every hidden layer
                "dtype": "float32",  # bfloat16: of activations, parameters stay float32
                "views": (),  # ((regular expression, "in out"), ...): axes of leaves
                "remat": False,  # compute the forward pass again, for less memory
                "norms": "batch",  # what batch norm averages over; device: its own rows
                "weights": "",  # given ones: a safetensors file, a workdir or a folder
                "fresh": (),  # expressions of leaves that are not taken from there
                "frozen_statistics": False,  # may batch statistics stay, in your own?
                "options": {},  # of the network, such as hidden
            },
            "train": {
                "epochs": 0,  # of the dense training; this or the next
                "steps": 0,  # the same in steps of the optimizer
                "batch_size": 128,  # examples of a step
                # Parts of a batch, whose gradients are taken one after the other.
                "accumulate": 1,
                # Of the loss, one a class, or ("balanced",): n / (classes n_class).
                "class_weights": (),
                # Decay of an average of the weights, which is measured and deployed.
                "ema": 0.0,
                "stop": {  # early, each member by itself
                    "by": "",  # loss or a measure, on validation; "": at the end
                    "patience": 5,  # validations in a row without a better one
                    "delta": 0.0,  # what is better is so by more than this
                },
            },
            "optimizer": {
                # adam, adamw, one of optax (lion), "package.module:function" of a rate.
                "name": "sgd",
                "learning_rate": 0.1,  # the first one, after the warm-up
                "momentum": 0.9,  # of sgd
                "nesterov": False,  # of sgd
                "weight_decay": 0.0,  # of every parameter
                "clip": 0.0,  # the largest global gradient norm; 0: none
                "norm_l1": 0.0,  # l1 penalty on the scales of batch norm
                "options": {},  # more arguments of the optimizer, such as b1
            },
            "schedule": {
                # piecewise, cosine, one of optax (exponential_decay), or your own.
                "name": "constant",
                "drops": (),  # of piecewise: epochs at whose start the rate drops
                "factor": 0.1,  # what a drop multiplies the rate by
                "options": {},  # arguments of a schedule of optax or your own, in steps
                "warmup": 0,  # epochs
                "tune": 0.0,  # rate of search.restart = "fine_tune"; 0: the last one
            },
            "search": {
                "method": "iterative",  # how tickets are searched for
                "score": "magnitude",  # what is kept: the highest, by this
                "rounds": 0,  # of scoring and pruning in a level; 0: the score's own
                "batches": 1,  # of training examples that a score reads
                "examples": 0,  # in such a batch; 0: train.batch_size
                "norms": "batch",  # what scores normalise by; "running" as in inference
                "corrupt": "none",  # labels, pixels, half: of those examples
                "invert": False,  # keep what scores lowest, as a control
                "scope": "global",  # layer, erdos_renyi, erdos_renyi_kernel
                # What is pruned: ((regular expression, dct_spatial), ...); (): weights.
                "basis": (),
                "basis_each_level": False,  # learn a learnt basis anew each level
                "pattern": "weights",  # channels, heads, 4x4 (blocks), 2:4 (of every 4)
                "minimum": 0,  # weights (or groups of a pattern) that every layer keeps
                "rate": 0.2,  # of what is left, that a level prunes
                # ((regular expression, rate), ...); then "global" is by layer, too.
                "layer_rates": (),
                "levels": 5,  # how many prunings
                "sparsities": (),  # in place of rate and levels
                "exclude": (),  # regular expressions of layers never pruned
                "include": "",  # one of the leaves that are; "": every kernel
                "rewind_to": 0,  # step
                # What a level begins with; learning_rate, fine_tune, continue.
                "restart": "weights",
                "options": {},  # of a method of your own
                "admm": {  # weights that are pulled to a sparse copy of theirs
                    "steps": 9,  # updates of that copy in a round
                    "rho": 1e-4,  # of the pull, in the first of them
                    "last": 1e-2,  # the same in the last, in equal ratios
                },
                "gates": {  # of the methods that learn their masks
                    "initial": (0.0,),  # the first logit; several: a population
                    # Its weight, not divided by anything; a gate moves by it times
                    # the gates' learning rate.
                    "penalty": 1e-8,
                    "final_temperature": 200.0,  # where the temperature ends, from 1
                    "period": 0,  # steps of one temperature; 0: an epoch
                    "scaled": True,  # by 1 / sigmoid(initial), as the released code
                    "reset": "paper",  # or "code"
                    "start": "zero",  # step of the tickets' trainings, or "rewind_to"
                    "gradient": "sigmoid",  # of "stochastic", or "identity"
                    "output": "threshold",  # of "stochastic", or "sample"
                    "optimizer": "sgd",  # of the gates: one of optimizer.name
                    "learning_rate": 0.0,  # 0: that of the weights
                    "momentum": 0.9,  # of the gates' optimizer
                    "nesterov": True,  # of the same
                },
            },
            "early_bird": {
                "watch": "channels",  # or "weights": single ones, by magnitude
                "rule": "consecutive",  # or "newest", as in the released code
                "threshold": 0.1,  # of the distance, the share of the mask that differs
                "queue": 5,  # distances, one an epoch, that must be below it
            },
            "forward": {  # greedy selection of channels, layer by layer
                "draw_at": 0,  # step of the pre-training; 0: its end
                "candidates": "random",  # or "all", or "gradient", a shortlist
                "number": 50,  # of candidates a step, or of the shortlist
                "objective": "cross_entropy",  # imitation, of the logits; local
                "replace": False,  # whether a channel may be chosen again
                "tolerance": 0.02,  # relative loss of accuracy allowed, by layer
                "gate": 0.05,  # the same of the batch, before accuracy is looked up
                "most": 0,  # picks of a layer; 0: as many as it has channels
                "batch_size": 128,  # examples of a pick
                "check": 2000,  # training images that the accuracy is measured on
                "tune": 2500,  # steps of fine-tuning
                "tune_rate": 0.01,  # its first learning rate, then half a cosine
            },
            "dynamic": {  # of the methods gradual, set, rigl, straight_through
                "every": 100,  # steps between two changes of the masks
                "begin": 0.0,  # of the training, from where on the masks change
                "end": 0.75,  # of the training, where they stop
                "fraction": 0.3,  # of a layer's weights that move at first
            },
            "elastic": {  # tickets of another depth of the same family
                "source": "",  # the workdir of the run that found them
                "order": "append",  # interpolate; interval, drop_tail, drop_head
                "map": "",  # in place of an order: "0:0;1:1,3;2:2,4", source to target
                "unit": "",  # of your own network, an expression: block(\\d+)_(\\d+)
                "levels": (),  # of the source, a level each; (): 1 to search.levels
                "seed": -1,  # of the source's tickets; -1: each seed its own
                "match": False,  # trim or refill to the source's sparsity
            },
            "transplant": {  # tickets of another task's, or of another set's network
                "source": "",  # the workdir of the run that found them
                "way": "ticket",  # mask, task, rewound: what is taken of it
                "heads": ("^heads/",),  # of the last two: expressions of what is not
                "levels": (),  # of the source, a level each; (): 1 to search.levels
                "seed": -1,  # of the source's networks; -1: each seed its own
            },
            "retraining": {  # of tickets, in other ways than the search's: see docs
                # tost_paper, skips+smoothing, skips.end=0.25, sign_in, pools, ...
                "arms": (),
                "levels": (),  # whose tickets; (): all but 0, the dense network
                "law": "linear",  # cosine, switch: how ghosts go from hold to end
                "neurons": {
                    "kind": "swish",  # mish, parametric_swish, sharpening_swish
                    "hold": 0.0,  # of the retraining, up to where they are whole
                    "end": 0.5,  # of the retraining, from where they are gone
                },
                "skips": {
                    "start": "constant",  # zero_norm, he: of the branches' weights
                    "hold": 0.0,  # as of neurons
                    "end": 0.5,  # as of neurons
                },
                "smoothing": 0.1,  # of the labels
                "convention": "others",  # or uniform: who gets what is smoothed away
                "rescaling": {
                    "iterations": 180,  # steps of the search for the factors
                    "rate": 0.01,  # of the factors' Adam
                    "step": 0.1,  # of the training step that is looked ahead
                    "bound": 1.0,  # of the gradient's norm
                    "normalise": True,  # look ahead along the gradient's direction
                    "floor": 0.01,  # the least factor of a kernel
                    "clip": 1.0,  # the largest derivative by a factor
                    "masked": True,  # False: on the dense network, before the masks
                    "survivors": True,  # False: pruned weights count, as released
                },
                "distillation": {
                    "coefficient": 0.9,  # of T^2 KL
                    "hard": 0.1,  # of the labels' loss meanwhile
                    "temperature": 4.0,  # T, that both logits are divided by
                    "until": 1.0,  # of the retraining
                    "teacher": "",  # a folder; "": the run's own dense network
                },
                "sign_in": {  # weights trained as products m w
                    "beta": 1.0,  # m^2 - w^2 after a re-balancing
                    "period": 0,  # steps from one re-balancing to the next; 0: an epoch
                },
                "pools": {  # averages of the tickets of a seed, trained no further
                    # The weights of a network in its average with another one.
                    "alphas": (0.05, 0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9, 0.95),
                    # Of batch norm: averaged as weights are, or recomputed.
                    "statistics": "averaged",
                    "examples": 1000,  # of train, that they are recomputed on
                },
            },
            "studies": (),  # figures beside the curve: overlap, densities, flops, ...
            "mesh": {"ticket": 1, "data": 1},  # devices for members, for a batch
            "eval_every": 0,  # steps; 0: once an epoch
            "eval_batch": 500,  # more than that: at most the images there are
            "best_by": "",  # loss or a measure, on validation; "": the objective's
            "deterministic": False,  # on a GPU: equal bits from run to run, slower
            "logging": {
                "tensorboard": True,  # write scalars, beside the records
                "writer": "",  # "package.module:function" of the workdir: told of all
                "line_seconds": 10.0,  # between two lines of progress in a log
                "checkpoint_seconds": 30.0,  # between two checkpoints
            },
        }
    )
