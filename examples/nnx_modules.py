"""A network of flax's nnx with batch norm: pruned, rewound, and saved as one file.

    python examples/nnx_modules.py

Prints the accuracy of each level, and of the last ticket as it is read again.
"""

import functools
import tempfile

import jax
import optax
from flax import nnx

import lthjax as lth
from lthjax.data import in_memory
from lthjax.saving import safetensors


class Net(nnx.Module):
    """Three dense layers, a norm behind each but the last."""

    def __init__(self, rngs):
        norm = functools.partial(nnx.BatchNorm, 32, momentum=0.9, rngs=rngs)
        self.layers = nnx.List([nnx.Linear(n, 32, rngs=rngs) for n in (64, 32)])
        self.norms = nnx.List([norm(), norm()])
        self.head = nnx.Linear(32, 10, rngs=rngs)

    def __call__(self, x):
        """Returns logits [batch, 10] of pixels [batch, 64]."""
        for layer, norm in zip(self.layers, self.norms, strict=True):
            x = nnx.relu(norm(layer(x)))
        return self.head(x)


train_set, _, test_set, *_ = in_memory.load("digits")
images, tests = (x.images.reshape(-1, 64) / 255.0 for x in (train_set, test_set))
graph, first, statistics = nnx.split(Net(nnx.Rngs(0)), nnx.Param, ...)
kept = lth.masks.full(first, exclude=["^head"])  # of "layers/0/kernel", ...
tx, total = lth.keep(optax.adam(0.01)), lth.masks.count(kept)[1]


def loss(params, statistics):
    """Returns the mean loss, and the statistics after it."""
    model = nnx.merge(graph, params, statistics, copy=True)
    found = lth.losses.cross_entropy(model(images), train_set.labels).mean()
    return found, nnx.state(model, nnx.BatchStat)


@jax.jit
def level(first, kept, count):
    """Returns what a ticket trains to, its test accuracy, and the masks after it."""

    def step(_, carry):
        params, statistics, state = carry
        grads, statistics = jax.grad(loss, has_aux=True)(params, statistics)
        updates, state = tx.update(grads, state, params, masks=kept)
        return optax.apply_updates(params, updates), statistics, state

    begin = lth.masks.apply(first, kept), statistics, tx.init(first)
    params, after, _ = jax.lax.fori_loop(0, 100, step, begin)
    model = nnx.merge(graph, params, after, copy=True)
    model.eval()
    right = lth.losses.correct(model(tests), test_set.labels).mean()
    return right, lth.prune(kept, lth.scores.magnitude(params, kept), kept=count)


for count in (total, total * 4 // 10, total * 16 // 100):
    right, less = level(first, kept, count * 4 // 10)
    print(f"{count:5,} of {total:,} weights: {right:.1%}")
    ticket, kept = lth.Ticket(0, 0, 100, first, statistics, kept), less

with tempfile.TemporaryDirectory() as folder:
    safetensors.write(f"{folder}/ticket.safetensors", ticket)
    again, _ = safetensors.read(f"{folder}/ticket.safetensors", ticket)
print(f"the last one, read again: {level(again.params, again.masks, count)[0]:.1%}")
