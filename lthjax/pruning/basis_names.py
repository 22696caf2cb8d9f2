"""The name of a basis becomes one: cosines, rotations, what is learnt from kernels."""

import functools
from collections.abc import Sequence

import jax
import jax.numpy as jnp

from lthjax import values
from lthjax.pruning import rotations
from lthjax.pruning import views as views_lib
from lthjax.pruning.bases import IDENTITY, Basis, BasisKind, Leaf
from lthjax.pruning.rotations import Rotation

SPACE, INPUTS, OUTPUTS = 1, 2, 3  # axes of a leaf as `views.canonical` has it


def _sizes(leaf):
    return views_lib.sizes(leaf.shape, leaf.view)


def _turned(leaf: Leaf, turns: Sequence[Rotation], init_fn=None, stored=None) -> Basis:
    """Returns the basis of rotations of the canonical leaf, one after the other."""

    def canonical(x, arrays, transposed):
        values.check_floating(leaf.name, x.dtype)
        found = views_lib.canonical(x.astype(values.wide(x.dtype)), leaf.view)
        for turn in reversed(turns) if transposed else turns:
            found = rotations.rotated(found, turn, arrays, transposed=transposed)
        return views_lib.restored(found, leaf.view, leaf.shape).astype(x.dtype)

    return Basis(
        init_fn or IDENTITY.init,
        lambda w, arrays: canonical(w, arrays, False),
        lambda z, arrays: canonical(z, arrays, True),
        stored or IDENTITY.stored,
        sum(rotations.operations(turn) for turn in turns),
    )


def _dct_spatial(leaf):
    """Rotates the window of a convolution; one of a single pixel is left alone."""
    _check_window(leaf, "dct_spatial")
    window = [leaf.shape[axis] for axis in leaf.view.space]
    if max(window) == 1:
        return IDENTITY
    matrix = rotations.product([rotations.dct(n) for n in window])
    return _turned(leaf, [Rotation(_sizes(leaf), SPACE, matrix)])


def _check_window(leaf, name):
    if not leaf.view.space:
        raise ValueError(
            f"the basis {name!r} is of a convolution's window, got {leaf.name} of "
            f"shape {leaf.shape}, which has none; give it another basis, or a rule "
            "that does not find it"
        )


def _dct_channel(leaf):
    places = [at for at in (INPUTS, OUTPUTS) if _sizes(leaf)[at] > 1]
    rows = [
        Rotation(_sizes(leaf), at, rotations.dct(_sizes(leaf)[at])) for at in places
    ]
    return _turned(leaf, rows)


def _dct_pixels(leaf):
    """Rotates the pixels that a dense layer reads, height and width, not channels."""
    copies, space, inputs, outputs = _sizes(leaf)
    image = leaf.image_shape
    if leaf.view.space or len(image) != 3 or inputs != image[0] * image[1] * image[2]:
        raise ValueError(
            "the basis 'dct_pixels' is of a dense layer that reads the images, got "
            f"{leaf.name} of shape {leaf.shape} for inputs of shape {image}; give a "
            "rule that finds the first layer only"
        )
    sizes = copies, space, *image, outputs
    turns = [Rotation(sizes, 2 + i, rotations.dct(image[i])) for i in range(2)]
    said = (
        f"its {inputs} inputs are taken for the pixels of the image {list(image)} by "
        "their number alone; give it to no other layer than the one that reads them"
    )
    return _turned(leaf, turns)._replace(said=said)


def _hadamard(leaf):
    """Rotates blocks of inputs and of outputs, the largest powers of two that fit."""
    sizes, rows, said = _sizes(leaf), [], []
    for at, side in ((INPUTS, "inputs"), (OUTPUTS, "outputs")):
        block = sizes[at] & -sizes[at]
        said.append(f"{side} {sizes[at]} by blocks of {block}")
        split = *sizes[:at], sizes[at] // block, block, *sizes[at + 1 :]
        if block > 1:
            rows.append(Rotation(split, at + 1, rotations.hadamard(block)))
    if not rows:
        raise ValueError(
            "the basis 'hadamard' needs an even number of inputs or outputs, got "
            f"{leaf.name} of shape {leaf.shape}; give it another basis"
        )
    return _turned(leaf, rows)._replace(said=", ".join(said))


def _random(sides, leaf):
    """Rotates at random the named axes, each by itself, never the whole leaf."""
    sizes = _sizes(leaf)
    turns = {name: Rotation(sizes, at, None, name) for name, at in sides.items()}

    def draw(key, w, trained):
        del trained
        keys = zip(jax.random.split(key, len(turns)), turns.values(), strict=True)
        exact = values.wide(w.dtype)
        return {
            t.name: jax.random.orthogonal(k, sizes[t.at], (), exact) for k, t in keys
        }

    stored = sum(sizes[turn.at] ** 2 for turn in turns.values())
    return _turned(leaf, list(turns.values()), draw, lambda mask: stored)


def _svd_rows(leaf):
    """Rotates the outputs to the left singular vectors of the trained [out, rest].

    Two thin layers compute it, but not what has groups of channels: there the first
    would have to know which outputs are of which group.
    """
    copies, space, inputs, outputs = sizes = _sizes(leaf)
    _check_lone(leaf, "svd_rows", copies)

    def learn(key, w, trained):
        del key
        exact = values.wide(w.dtype)
        if trained is None:
            return {"outputs": jnp.eye(outputs, dtype=exact)}
        kernel = views_lib.canonical(trained, leaf.view).astype(exact)
        matrix = kernel.reshape(-1, outputs).T
        full = outputs > space * inputs
        return {"outputs": jnp.linalg.svd(matrix, full_matrices=full)[0].conj().T}

    def stored(mask):
        rows = jnp.any(views_lib.canonical(mask, leaf.view), axis=(0, 1, 2))
        return outputs * int(jnp.sum(rows))

    rows = [Rotation(sizes, OUTPUTS, None, "outputs")]
    # What `channels.low_rank` knows how to apply: the outputs last, of a layer that
    # computes with its kernel as it is.
    lone = leaf.view.outputs == (len(leaf.shape) - 1,) and not leaf.view.copies
    thin = lone and leaf.view.kind in ("", "Dense", "Conv", "Einsum", "Embed")
    return _turned(leaf, rows, learn, stored)._replace(thin=thin)


def _pca_spatial(leaf):
    """Rotates the window to the eigenvectors of the trained kernels' second moment."""
    _check_window(leaf, "pca_spatial")
    copies, space, _, _ = sizes = _sizes(leaf)
    _check_lone(leaf, "pca_spatial", copies)
    if space == 1:
        return IDENTITY

    def learn(key, w, trained):
        del key
        exact = values.wide(w.dtype)
        if trained is None:
            return {"space": jnp.eye(space, dtype=exact)}
        kernels = views_lib.canonical(trained, leaf.view).astype(exact)
        kernels = kernels.reshape(space, -1)
        own = kernels.conj().T
        moment = jnp.matmul(kernels, own, precision=jax.lax.Precision.HIGHEST)
        return {"space": jnp.linalg.eigh(moment)[1].conj().T[::-1]}

    rows = [Rotation(sizes, SPACE, None, "space")]
    return _turned(leaf, rows, learn, lambda mask: space**2)


def _check_lone(leaf, name, copies):
    if copies > 1:
        raise ValueError(
            f"the basis {name!r} is learnt from one kernel, got {leaf.name} of shape "
            f"{leaf.shape}, which holds {copies}; give it another basis"
        )


def _sides(**sides):
    return BasisKind(functools.partial(_random, sides))


BASES = {
    "identity": BasisKind(lambda leaf: IDENTITY),
    "groups": BasisKind(lambda leaf: IDENTITY, units=True),
    "dct_spatial": BasisKind(_dct_spatial),
    "dct_channel": BasisKind(_dct_channel),
    "dct_pixels": BasisKind(_dct_pixels),
    "hadamard": BasisKind(_hadamard),
    "random_orthogonal_inputs": _sides(inputs=INPUTS),
    "random_orthogonal_outputs": _sides(outputs=OUTPUTS),
    "random_orthogonal_both": _sides(inputs=INPUTS, outputs=OUTPUTS),
    "svd_rows": BasisKind(_svd_rows, learnt=True, units=True),
    "pca_spatial": BasisKind(_pca_spatial, learnt=True),
}
