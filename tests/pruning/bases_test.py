"""Bases: what is turned comes back, keeps its length, and trains as it did."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from trees import assert_same

from lthjax.pruning import bases, basis_names, choose, patterns, rotations, views
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.basis_names import BASES

IMAGE = (5, 7, 3)
SHAPES = {"conv": (3, 5, 6, 7), "point": (1, 1, 7, 9), "pixels": (105, 6)}
FITS = {
    "dct_spatial": ("conv", "point"),
    "dct_pixels": ("pixels",),
    "hadamard": ("conv", "pixels"),
    "pca_spatial": ("conv", "point"),
}
NAMES = sorted(BASES)
pytestmark = pytest.mark.usefixtures("double")


def draw(seed, shapes=SHAPES, dtype=np.float64):
    rng = np.random.default_rng(seed)
    return {
        n: {"kernel": jnp.array(rng.normal(size=s), dtype)} for n, s in shapes.items()
    }


def turned(name, params, trained=None, image=IMAGE):
    """Returns the bases of all leaves that one fits, and their arrays."""
    fits = FITS.get(name, params) if params.keys() == SHAPES.keys() else params
    prunable = [f"{leaf}/kernel" for leaf in params if leaf in fits]
    rules = [(".", BASES[name])]
    found = bases.choose(params, rules, prunable=prunable, image_shape=image)
    return found, bases.init(jax.random.key(3), params, found, trained)


def flat(tree):
    return np.concatenate([np.ravel(leaf) for leaf in jax.tree.leaves(tree)])


@pytest.mark.parametrize("dtype, bound", [(np.float64, 1e-12), (np.float32, 1e-5)])
@pytest.mark.parametrize("name", NAMES)
def test_weights_come_back_and_keep_their_length(name, dtype, bound):
    params, trained = draw(0, dtype=dtype), draw(1, dtype=dtype)
    found = turned(name, params, trained)
    coefficients = bases.to_basis(params, *found)
    assert jax.tree.map(jnp.shape, coefficients) == jax.tree.map(jnp.shape, params)
    back = bases.from_basis(coefficients, *found)
    np.testing.assert_allclose(flat(back), flat(params), rtol=0, atol=bound * 10)
    energies = [np.sum(flat(x) ** 2) for x in (coefficients, params)]
    np.testing.assert_allclose(*energies, rtol=bound)


@pytest.mark.parametrize("name", NAMES)
def test_complex_weights_come_back_and_keep_their_length(name):
    params, trained = (
        jax.tree.map(lambda x, y: x + 1j * y, draw(2 * i), draw(2 * i + 1))
        for i in range(2)
    )
    found = turned(name, params, trained)
    coefficients = bases.to_basis(params, *found)
    back = bases.from_basis(coefficients, *found)
    np.testing.assert_allclose(flat(back), flat(params), rtol=0, atol=1e-11)
    lengths = [np.linalg.norm(flat(tree)) for tree in (coefficients, params)]
    np.testing.assert_allclose(*lengths, rtol=1e-12)


@pytest.mark.parametrize("dtype", [jnp.bfloat16, np.float16])
@pytest.mark.parametrize("name", NAMES)
def test_of_half_precision_the_transform_is_that_of_float32_rounded_once(name, dtype):
    params, trained = draw(0, dtype=dtype), draw(1, dtype=dtype)
    found, arrays = turned(name, params, trained)
    assert {leaf.dtype for leaf in jax.tree.leaves(arrays)} <= {np.dtype(np.float32)}
    exact = jax.tree.map(lambda w: w.astype(np.float32), params)
    for turn in (bases.to_basis, bases.from_basis):
        own, wide = (turn(tree, found, arrays) for tree in (params, exact))
        wide = jax.tree.map(lambda w: w.astype(dtype), wide)
        assert_same(own, wide)


@pytest.mark.parametrize("name", NAMES)
def test_the_transform_is_orthonormal(name):
    shapes = {"conv": (2, 3, 2, 3), "point": (1, 1, 3, 4), "pixels": (12, 2)}
    params, trained = draw(0, shapes), draw(1, shapes)
    found, arrays = turned(name, params, trained, image=(2, 3, 2))
    for leaf, basis in found.items():
        own = arrays.get(leaf.split("/")[0], {}).get("kernel", {})
        shape = shapes[leaf.split("/")[0]]
        size = int(np.prod(shape))
        eye = jnp.eye(size).reshape(size, *shape)
        matrix = jax.vmap(lambda w, b=basis, a=own: b.to_basis(w, a))(eye)
        matrix = matrix.reshape(size, size)
        np.testing.assert_allclose(matrix @ matrix.T, np.eye(size), atol=1e-12)


def test_the_matrices_are_what_they_are_called():
    rows = rotations.dct(12)
    place = (np.arange(12) + 0.5) * np.pi / 12
    np.testing.assert_allclose(rows[5], np.sqrt(2 / 12) * np.cos(5 * place), atol=2e-15)
    np.testing.assert_allclose(rows @ rows.T, np.eye(12), atol=1e-14)
    signs = rotations.hadamard(8) * np.sqrt(8)
    assert set(np.unique(np.round(signs, 12))) == {-1.0, 1.0}


@pytest.mark.parametrize("name", NAMES)
def test_the_gradient_of_coefficients_is_the_gradients_coefficients(name):
    params, trained, pull = draw(0), draw(1), draw(2)
    found = turned(name, params, trained)

    def loss(weights):
        return sum(jax.tree.leaves(jax.tree.map(_cubed, weights, pull)))

    coefficients = bases.to_basis(params, *found)
    by_chain = jax.grad(lambda z: loss(bases.from_basis(z, *found)))(coefficients)
    turned_after = bases.to_basis(jax.grad(loss)(params), *found)
    np.testing.assert_allclose(flat(by_chain), flat(turned_after), atol=1e-10)


def _cubed(w, v):
    return jnp.sum(w**3 * v)


def trajectory(tx, params, apply_fn, steps=50):
    """Returns the parameters after the steps of a small regression."""
    rng = np.random.default_rng(7)
    inputs, outputs = (jnp.array(rng.normal(size=(20, n))) for n in (12, 4))

    def loss(params):
        weights = apply_fn(params)
        hidden = jnp.tanh(inputs @ weights["first"]["kernel"])
        return jnp.mean((hidden @ weights["second"]["kernel"] - outputs) ** 2)

    def step(carry, _):
        params, state = carry
        updates, state = tx.update(jax.grad(loss)(params), state, params)
        return (optax.apply_updates(params, updates), state), None

    return jax.lax.scan(step, (params, tx.init(params)), None, length=steps)[0][0]


@pytest.mark.parametrize(
    "name", ["hadamard", "dct_channel", "random_orthogonal_both", "svd_rows"]
)
@pytest.mark.parametrize("adam", [False, True])
def test_with_all_coefficients_sgd_is_the_plain_run_and_adam_is_not(name, adam):
    params = draw(0, {"first": (12, 8), "second": (8, 4)})
    params = jax.tree.map(lambda w: w / 3, params)
    found = turned(name, params, draw(1, {"first": (12, 8), "second": (8, 4)}))
    tx = optax.chain(optax.add_decayed_weights(1e-3), optax.sgd(0.05, momentum=0.9))
    tx = optax.adam(1e-2) if adam else tx
    plain = trajectory(tx, params, lambda params: params)
    there = trajectory(
        tx, bases.to_basis(params, *found), lambda z: bases.from_basis(z, *found)
    )
    apart = np.abs(flat(bases.from_basis(there, *found)) - flat(plain)).max()
    assert apart > 1e-3 if adam else apart < 1e-10


def test_masked_descent_moves_within_the_span_of_what_is_kept():
    params = draw(0, {"first": (12, 8), "second": (8, 4)})
    found = turned("dct_channel", params)
    z = bases.to_basis(params, *found)
    masks = jax.tree.map(lambda w: jnp.abs(w) > 0.5, z)
    weights = bases.materialize(z, masks, *found)
    back = bases.to_basis(weights, *found)
    np.testing.assert_allclose(flat(back), flat(masks_lib.apply(z, masks)), atol=1e-12)


def test_an_atoms_sum_is_found_by_as_many_coefficients():
    shape = {"conv": (5, 5, 4, 4)}
    params = draw(0, shape)
    found = turned("dct_spatial", params)
    places = np.random.default_rng(2).choice(400, 5, replace=False)
    atoms = jnp.zeros(400).at[places].set(jnp.arange(1.0, 6)).reshape(shape["conv"])
    weights = bases.from_basis({"conv": {"kernel": atoms}}, *found)
    errors = {}
    for name, own in {"dct": found, "identity": turned("identity", params)}.items():
        z = bases.to_basis(weights, *own)
        full = jax.tree.map(lambda w: jnp.ones(w.shape, bool), z)
        masks = choose.prune(full, jax.tree.map(jnp.abs, z), kept=5)
        made = bases.materialize(z, masks, *own)
        errors[name] = np.abs(flat(made) - flat(weights)).max()
    assert errors["dct"] < 1e-12
    assert errors["identity"] > 0.1


@pytest.mark.parametrize("shape", [(9, 6), (4, 7), (3, 3, 2, 6)])
def test_rows_of_singular_vectors_are_the_best_of_a_rank_as_two_thin_layers(shape):
    params = draw(0, {"layer": shape})
    found = turned("svd_rows", params, params)
    z, rank, out = bases.to_basis(params, *found), 3, shape[-1]
    full = jax.tree.map(lambda w: jnp.ones(w.shape, bool), z)
    masks = patterns.channels(full, jax.tree.map(jnp.square, z), kept=rank)
    made = bases.materialize(z, masks, *found)["layer"]["kernel"]
    matrix = np.reshape(params["layer"]["kernel"], (-1, out))
    u, s, v = np.linalg.svd(matrix, full_matrices=False)
    best = (u[:, :rank] * s[:rank]) @ v[:rank]
    np.testing.assert_allclose(np.reshape(made, (-1, out)), best, atol=1e-12)
    own, view = found[1]["layer"]["kernel"], bases.views_lib.one("layer", shape)
    one, mask = z["layer"]["kernel"], masks["layer"]["kernel"]
    first, second = bases.factorize(one, mask, own, view)
    assert (first.shape, second.shape) == ((*shape[:-1], rank), (rank, out))
    np.testing.assert_allclose(jnp.tensordot(first, second, 1), made, atol=1e-12)
    assert found[0]["layer/kernel"].stored(mask) == rank * out


def test_two_thin_layers_of_complex_weights_are_those_weights():
    real, imaginary = (draw(i, {"layer": (9, 6)}) for i in range(2))
    params = jax.tree.map(lambda x, y: x + 1j * y, real, imaginary)
    found, arrays = turned("svd_rows", params, params)
    z = bases.to_basis(params, found, arrays)["layer"]["kernel"]
    own, view = arrays["layer"]["kernel"], views.View((0,), (1,))
    first, second = bases.factorize(z, jnp.ones(z.shape, bool), own, view)
    np.testing.assert_allclose(first @ second, params["layer"]["kernel"], atol=1e-12)


def test_learnt_bases_change_nothing_before_they_are_learnt():
    params = draw(0)
    for name in ("svd_rows", "pca_spatial"):
        found = turned(name, params)
        np.testing.assert_array_equal(
            flat(bases.to_basis(params, *found)), flat(params)
        )


def test_principal_components_of_windows_hold_the_most_energy_first():
    params = draw(0, {"conv": (3, 3, 6, 7)})
    found = turned("pca_spatial", params, params)
    z = bases.to_basis(params, *found)["conv"]["kernel"].reshape(9, -1)
    moment = np.asarray(z @ z.T)
    np.testing.assert_allclose(moment, np.diag(np.diag(moment)), atol=1e-10)
    assert (np.diff(np.diag(moment)) < 0).all()


def test_a_basis_of_ones_own_need_not_be_orthonormal():
    shear = jnp.array([[1.0, 2.0, 0.0], [0.0, 1.0, -1.0], [0.2, 0.0, 1.0]])

    def sheared(leaf):
        del leaf
        return bases.Basis(
            lambda key, w, trained: {},
            lambda w, arrays: shear @ w,
            lambda z, arrays: jnp.linalg.solve(shear, z),
        )

    params, other = draw(0, {"layer": (3, 4)}), draw(1, {"layer": (3, 4)})
    rules = [("layer", bases.BasisKind(sheared))]
    names = ["layer/kernel"]
    found = bases.choose(params, rules, prunable=names, image_shape=()), {}
    z = bases.to_basis(params, *found)
    np.testing.assert_allclose(flat(bases.from_basis(z, *found)), flat(params))
    back, pull = jax.vjp(lambda z: bases.from_basis(z, *found), z)
    inner = [float(flat(a) @ flat(b)) for a, b in ((back, other), (z, pull(other)[0]))]
    np.testing.assert_allclose(*inner, rtol=1e-12)


def test_the_last_rule_counts_and_leaves_without_a_mask_stay():
    params = draw(0)
    rules = [(".", BASES["hadamard"]), ("pixels", BASES["dct_pixels"])]
    names = ["conv/kernel", "pixels/kernel"]
    found = bases.choose(params, rules, prunable=names, image_shape=IMAGE)
    assert sorted(found) == names
    z = bases.to_basis(params, found, {})
    assert z["point"]["kernel"] is params["point"]["kernel"]
    pixels = np.reshape(params["pixels"]["kernel"], (*IMAGE, 6))
    expected = np.einsum(
        "ah,bw,hwco->abco", rotations.dct(5), rotations.dct(7), pixels
    ).reshape(105, 6)
    np.testing.assert_allclose(z["pixels"]["kernel"], expected, atol=1e-12)


@pytest.mark.parametrize(
    "name, leaf, shape",
    [
        ("dct_spatial", "pixels", (105, 6)),
        ("pca_spatial", "pixels", (105, 6)),
        ("dct_pixels", "pixels", (104, 6)),
        ("dct_pixels", "conv", (3, 5, 7, 7)),
        ("hadamard", "pixels", (105, 7)),
    ],
)
def test_a_leaf_that_a_basis_does_not_fit_is_refused_by_name(name, leaf, shape):
    params = draw(0, {leaf: shape})
    with pytest.raises(ValueError, match=rf"'{name}'.*got {leaf}/kernel of shape"):
        given = {"prunable": [f"{leaf}/kernel"], "image_shape": IMAGE}
        bases.choose(params, [(".", BASES[name])], **given)


def test_a_leaf_without_a_weight_stays_as_it_is():
    params = draw(0, {"none": (4, 0), "layer": (4, 3)})
    for name in ("dct_channel", "hadamard", "random_orthogonal_both", "svd_rows"):
        names = [f"{leaf}/kernel" for leaf in params]
        given = {"prunable": names, "image_shape": IMAGE}
        found = bases.choose(params, [(".", BASES[name])], **given)
        assert found["none/kernel"] is bases.IDENTITY
        arrays = bases.init(jax.random.key(0), params, found, params)
        z = bases.to_basis(params, found, arrays)
        assert z["none"]["kernel"] is params["none"]["kernel"]
        assert not np.allclose(flat(z), flat(params))


def test_whole_numbers_are_turned_into_no_coefficients():
    params = {"layer": {"kernel": jnp.arange(12).reshape(3, 4)}}
    found, arrays = turned("dct_channel", params)
    with pytest.raises(ValueError, match="must be floating, got layer/kernel = int"):
        bases.to_basis(params, found, arrays)


def test_a_rule_that_is_no_regular_expression_is_refused():
    with pytest.raises(ValueError, match=r"must be a regular expression, got '\('"):
        bases.named([("(", "groups")], ["conv/kernel"])


def test_a_rule_that_finds_nothing_is_refused():
    choose_fn = functools.partial(bases.choose, draw(0), [("dense", BASES["identity"])])
    with pytest.raises(ValueError, match="must find a prunable leaf, got 'dense'"):
        choose_fn(prunable=["conv/kernel"], image_shape=IMAGE)


def test_what_a_basis_stores_and_costs_is_counted():
    params = draw(0)
    kernel = {name: jnp.ones(shape, bool) for name, shape in SHAPES.items()}
    both, _ = turned("random_orthogonal_both", params)
    assert both["conv/kernel"].stored(kernel["conv"]) == 6**2 + 7**2
    assert both["conv/kernel"].operations == 2 * (6 + 7) * 15 * 6 * 7
    window, _ = turned("dct_spatial", params)
    assert window["conv/kernel"].stored(kernel["conv"]) == 0
    assert window["conv/kernel"].operations == 2 * 15 * 15 * 6 * 7
    assert window["point/kernel"] is bases.IDENTITY
    assert basis_names.BASES["svd_rows"].units
