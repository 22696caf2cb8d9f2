"""Our re-scaled initialisation beside GradInit's own code, on the same batches.

    python experiments/peers/gradinit.py --upstream=DIR

DIR is a checkout of github.com/zhuchen03/gradinit. A convolution, batch norm and a head
with half of the kernels' weights pruned (zero), ten iterations of each kind and ten of
both in turns, pruned weights counted as that code does. Prints how many lower the norm,
how often the kind changes from one iteration to the next (never is an error where they
should take turns), and the largest difference of the factors, which should be
float32's.
"""

import argparse
import contextlib
import functools
import io
import os
import sys
import tempfile
import types

import jax
import jax.numpy as jnp
import numpy as np
import torch
from torch import nn

from lthjax import models
from lthjax.pruning import masks
from lthjax.retraining import rescaling
from lthjax.training import losses

STEPS, BATCH, CHANNELS, CLASSES = 10, 16, 8, 3
EACH = 3  # batches an iteration; one that lowers the norm reads but the first two
TURNS = "both in turns"
BOUNDS = {"look ahead": np.inf, "lower the norm": 0.0, TURNS: 0.25}  # of the norm


def torch_network(params):
    """Returns the network in PyTorch, with our weights."""
    network = nn.Sequential(
        nn.Conv2d(3, CHANNELS, 3, padding=1, bias=False),
        nn.BatchNorm2d(CHANNELS),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(1),
        nn.Flatten(),
        nn.Linear(CHANNELS, CLASSES),
    )
    kernels = params["stem"]["kernel"].transpose(3, 2, 0, 1), params["head"]["kernel"].T
    with torch.no_grad():
        for layer, kernel in zip((network[0], network[5]), kernels, strict=True):
            layer.weight.copy_(torch.tensor(np.array(kernel)))
        network[5].bias.copy_(torch.tensor(np.array(params["head"]["bias"])))
    return network


def theirs(gradinit_utils, params, loader, bound):
    """Returns the factors by layer that GradInit's code finds."""
    network = torch_network(params)
    before = {n: p.detach().clone() for n, p in network.named_parameters()}
    options = {
        "resume": "",
        "min_scale": 0.01,
        "lr": 0.01,
        "grad_clip": 1.0,
        "eta": 0.1,
        "alg": "sgd",
        "normalize_grad": True,
        "gamma": bound,
        "iters": STEPS,
    }
    args = types.SimpleNamespace(
        batch_no_overlap=False,
        expname="peer",
        **{f"gradinit_{name}": value for name, value in options.items()},
    )
    gradinit_utils.gradinit(network, loader, args)
    return {
        name: float(p.detach().norm() / before[name].norm())
        for name, p in network.named_parameters()
        if before[name].norm() > 0
    }


def ours(start, kept, batches, bound):
    """Returns the factors by layer that ours finds, and which iterations lowered."""
    network, params, state = start
    images = jnp.stack([x for x, _ in batches])
    labels = jnp.stack([y for _, y in batches])

    def batch_fn(i):
        def of(*numbers):
            at = jnp.array(numbers) + EACH * i
            return images[at].reshape(-1, *images.shape[2:]), labels[at].reshape(-1)

        return of(0, 1), of(0, 2)

    def loss_fn(params, batch):
        logits, _ = models.apply(network, params, state, batch[0], train=True)
        return jnp.mean(losses.cross_entropy(logits, batch[1]))

    options = rescaling.Options(iterations=STEPS, bound=bound, survivors=False)
    run = functools.partial(rescaling.rescale, loss_fn, batch_fn=batch_fn)
    _, report = jax.jit(lambda p, m: run(p, m, options=options))(params, kept)
    found = report.factors
    return {
        "0.weight": float(found["stem"]["kernel"]),
        "1.weight": float(found["stem_norm"]["scale"]),
        "5.weight": float(found["head"]["kernel"]),
    }, np.asarray(report.lowered)


def main():
    """Prints the largest difference of the factors, for each kind of iteration."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--upstream", required=True)
    options = parser.parse_args()
    sys.path.insert(0, os.path.abspath(options.upstream))
    import gradinit_utils  # noqa: PLC0415

    torch.Tensor.cuda = lambda self: self  # that code moves its batches
    network = models.build(
        "resnet20", CLASSES, options={"blocks": (), "channels": (CHANNELS,)}
    )
    shape = (BATCH, 6, 6, 3)
    params, state = models.initialise(network, jax.random.key(0), jnp.zeros(shape))
    kept = jax.tree.map(
        lambda m: jax.random.bernoulli(jax.random.key(1), 0.5, m.shape),
        masks.full(params),
    )
    start = network, masks.apply(params, kept), state
    batches = drawn(shape)
    for kind, bound in BOUNDS.items():
        found, lowered = ours(start, kept, batches, bound)
        changes = int(np.sum(lowered[1:] != lowered[:-1]))
        if kind == TURNS and changes < 2:
            sys.exit(f"the kinds must take turns, got {changes} changes at {bound}")
        loader = loaded(read(batches, lowered))
        other = quietly(theirs, gradinit_utils, start[1], loader, bound)
        far = max(abs(found[name] - other[name]) for name in other)
        print(
            f"{kind}: {lowered.sum()} of {STEPS} lower the norm, {changes} changes; "
            f"factors differ by {far:.1e}"
        )


def drawn(shape):
    """Returns the batches of all iterations."""
    rng = np.random.default_rng(0)
    return [
        (rng.normal(size=shape).astype(np.float32), rng.integers(0, CLASSES, BATCH))
        for _ in range(EACH * STEPS)
    ]


def read(batches, lowered):
    """Returns the batches that are read: an iteration that lowers leaves its last."""
    return [b for i, b in enumerate(batches) if i % EACH < EACH - lowered[i // EACH]]


def loaded(batches):
    """Returns batches as PyTorch has them."""
    pairs = [(x.transpose(0, 3, 1, 2), y) for x, y in batches]
    return [tuple(map(torch.tensor, pair)) for pair in pairs]


def quietly(function, *args):
    """Returns function(*args), what it prints and writes thrown away."""
    with (
        tempfile.TemporaryDirectory() as folder,
        contextlib.chdir(folder),
        contextlib.redirect_stdout(io.StringIO()),
    ):
        return function(*args)


if __name__ == "__main__":
    main()
