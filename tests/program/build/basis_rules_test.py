"""What does not go with a basis is refused, and what a reader must know is said."""

import jax.numpy as jnp
import pytest
import tiny

from lthjax.program.build import basis_rules
from lthjax.program.run import check
from lthjax.pruning import bases

BASIS = "search.basis"
BAD = [
    ({BASIS: (("dense1", "dct"),)}, "one of dct_channel, .* got basis = 'dct'"),
    ({BASIS: (("dens2", "hadamard"),)}, "prunable leaf, got 'dens2'"),
    ({BASIS: ((".", "dct_spatial"),)}, "'dct_spatial' is of .* dense1/kernel of shape"),
    ({BASIS: ((".", "dct_pixels"),)}, "'dct_pixels' is of .* got head/kernel"),
    ({BASIS: (("head", "svd_rows"),)}, "search.pattern = 'channels', got .*'weights'"),
    (
        {BASIS: (("head", "numpy:pi"),)},
        "pruning.bases.BasisKind, got .*'numpy:pi', .*float",
    ),
    ({"search.basis_each_level": True}, "a basis that is learnt of .* give False"),
    (
        {BASIS: (("head", "hadamard"),), "search.score": "synflow"},
        "not of coefficients, got search.score = 'synflow'",
    ),
    (
        {BASIS: (("head", "hadamard"),), "studies": ("flops",)},
        "study 'flops' takes parameters for weights",
    ),
    (
        {BASIS: (("head", "random_orthogonal_both"),), "studies": ("overlap",)},
        "'overlap' compares masks place by place",
    ),
    (
        {BASIS: (("head", "hadamard"),), "retraining.arms": ("smoothing",)},
        "retraining.arms are of tickets of weights",
    ),
    (
        {BASIS: (("head", "hadamard"),), "search.method": "rigl"},
        "search.basis is not read by search.method = 'rigl'",
    ),
    (
        {
            BASIS: (("head", "svd_rows"),),
            "search.pattern": "channels",
            "search.method": "at_init",
        },
        "initialisation has none, got search.basis",
    ),
    (
        {BASIS: (("head", "svd_rows"),), "search.method": "l0"},
        "chooses by a pattern, got search.method = 'l0'",
    ),
    (
        {BASIS: (("head", f"{__name__}:LONGER"),)},
        r"of its shape and back, got \[9, 10\] for \[8, 10\] at head/kernel",
    ),
    ({BASIS: (("head", f"{__name__}:FAILS"),)}, "the basis must .* ZeroDivisionError"),
]
PLAIN = {"optimizer.name": "sgd"}
LONGER = bases.BasisKind(
    lambda leaf: bases.IDENTITY._replace(
        to_basis=lambda w, arrays: jnp.concatenate([w, w[:1]])
    )
)
FAILS = bases.BasisKind(
    lambda leaf: bases.IDENTITY._replace(to_basis=lambda w, arrays: 1 / 0)
)


@pytest.mark.parametrize("changes, message", BAD)
def test_what_does_not_go_with_a_basis_is_refused_before_anything(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))


def test_masks_in_one_basis_for_all_seeds_may_be_compared():
    changes = {BASIS: (("head", "hadamard"),), "studies": ("overlap",)}
    check.check(tiny.config(changes))
    drawn = {BASIS: (("head", "random_orthogonal_both"),), "seeds": (0,)}
    check.check(tiny.config(changes | drawn))


def test_what_fits_an_image_by_its_size_alone_is_said():
    changes = {BASIS: (("dense1", "dct_pixels"),)}
    ground = check.check(tiny.config(changes))[2]
    (text,) = basis_rules.sentences(ground._replace(options=tiny.config(PLAIN)))
    assert "the basis of dense1/kernel: its 64 inputs are taken for the pixels" in text


def test_what_makes_it_another_training_is_said():
    changes = {
        BASIS: (("head", "hadamard"), ("dense1", "svd_rows")),
        "search.pattern": "channels",
        "optimizer.name": "adam",
    }
    texts = list(basis_rules.sentences(check.check(tiny.config(changes))[2]))
    assert (
        "the basis of head/kernel: inputs 8 by blocks of 8, outputs 10 by" in texts[0]
    )
    assert "'adam' goes by coordinates" in texts[1]
    assert "'energy' ranks them by their singular values" in texts[2]
    assert len(texts) == 3
