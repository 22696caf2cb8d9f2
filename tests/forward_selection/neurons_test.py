import functools
import itertools

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.forward_selection import gram, pretraining_bound
from lthjax.forward_selection import neurons as neurons_lib
from lthjax.training import losses

RULES = ("uniform", "frank_wolfe", "line_search")
pytestmark = pytest.mark.usefixtures("double")


@functools.cache
def compiled(steps, **options):
    return jax.jit(lambda f, y: neurons_lib.select(f, y, steps, **options))


def dictionary(seed, neurons, examples, scale=1.0):
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((neurons, examples)) * scale
    return features, rng.standard_normal(examples)


def loss(u, y):
    return np.mean((u - y) ** 2) / 2


def brute(features, y, steps, *, replace=True):
    """Every candidate's loss from its own sum, no identity used."""
    chosen, found = [], []
    for k in range(1, steps + 1):
        free = [i for i in range(len(features)) if replace or i not in chosen]
        means = [(sum(features[j] for j in chosen) + features[i]) / k for i in free]
        values = [loss(u, y) for u in means]
        chosen.append(free[int(np.argmin(values))])
        found.append(min(values))
    return chosen, found


def test_the_golden_case_of_two_neurons_picks_and_rises_as_computed_by_hand():
    found = compiled(8)(jnp.array([[0.0], [3.0]]), jnp.ones(1))
    assert found.picks.tolist() == [0, 1, 0, 0, 1, 0, 0, 1]
    # (n / k * 3 - 1)^2 / 2 with n the picks of the second neuron so far.
    n = np.cumsum(found.picks)
    wanted = (3 * n / np.arange(1, 9) - 1) ** 2 / 2
    np.testing.assert_allclose(found.losses, wanted, rtol=1e-12, atol=1e-15)
    assert (np.diff(found.losses) > 0).any()


@pytest.mark.parametrize("replace", [True, False])
def test_every_pick_is_the_best_of_all_candidates_forwarded(replace):
    for seed in range(150):
        features, y = dictionary(seed, 8, 6)
        found = compiled(6, replace=replace)(features, y)
        picks, values = brute(features, y, 6, replace=replace)
        assert found.picks.tolist() == picks
        np.testing.assert_allclose(found.losses, values, rtol=1e-9, atol=1e-12)


def test_greedy_is_optimal_at_one_pick_and_never_better_than_all_multisets():
    for seed in range(20):
        features, y = dictionary(seed, 5, 4)
        found = compiled(4)(features, y).losses
        for k in range(1, 5):
            sets = itertools.combinations_with_replacement(range(5), k)
            best = min(loss(features[list(s)].mean(0), y) for s in sets)
            assert found[k - 1] >= best - 1e-12
            assert k > 1 or found[0] <= best + 1e-12


@pytest.mark.parametrize(
    "options", [{}, {"replace": False}, {"weights": "line_search"}]
)
def test_all_engines_agree(options):
    features, y = dictionary(0, 40, 30)
    alone = compiled(25, **options)(features, y)
    kept = compiled(25, block=3, **options)(features, y)
    gram, matches = features @ features.T / 30, features @ y / 30
    known = neurons_lib.select_gram(gram, matches, np.mean(y**2), 25, **options)
    for other in (kept, known):
        assert alone.picks.tolist() == other.picks.tolist()
        np.testing.assert_allclose(alone.losses, other.losses, rtol=1e-6, atol=1e-9)
        np.testing.assert_allclose(alone.weights, other.weights, atol=1e-9)


@pytest.mark.parametrize("replace", [True, False])
def test_batches_that_are_the_whole_set_give_the_exact_selection(replace):
    features, y = map(jnp.asarray, dictionary(1, 20, 15))
    whole = neurons_lib.select(features, y, 12, replace=replace)
    found = neurons_lib.select_batches(
        jax.random.key(0),
        lambda key: (features, y),
        12,
        neurons=20,
        loss=losses.squared,
        replace=replace,
    )
    assert whole.picks.tolist() == found.picks.tolist()
    np.testing.assert_allclose(whole.losses, found.losses, rtol=1e-9)
    np.testing.assert_allclose(whole.weights, found.weights, atol=1e-12)


def test_batches_choose_by_the_loss_they_are_given():
    rng = np.random.default_rng(0)
    answers = rng.standard_normal((9, 12))
    labels = rng.integers(0, 2, 12).astype(float)
    found = neurons_lib.select_batches(
        jax.random.key(0),
        lambda key: (jnp.asarray(answers), jnp.asarray(labels)),
        1,
        neurons=9,
        loss=losses.binary_cross_entropy,
    )
    p = 1 / (1 + np.exp(-answers))
    wanted = -np.mean(labels * np.log(p) + (1 - labels) * np.log(1 - p), axis=1)
    assert found.picks[0] == np.argmin(wanted)
    np.testing.assert_allclose(found.losses[0], wanted.min(), rtol=1e-9)


def test_on_the_simplex_the_loss_is_exactly_one_half_of_one_by_k_less_one_by_n():
    n = 12  # sqrt(n): means over the n examples are then sums
    found = compiled(n)(np.sqrt(n) * np.eye(n), np.full(n, np.sqrt(n) / n))
    k = np.arange(1, n + 1)
    np.testing.assert_allclose(found.losses, (1 / k - 1 / n) / 2, atol=1e-12)
    assert len(set(found.picks.tolist())) == n


def hard(seed):
    """A dictionary with heavy-tailed neurons, its target outside the hull or in it."""
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((15, 7)) * np.exp(2 * rng.standard_normal((15, 1)))
    y = rng.standard_normal(7) * (10 if seed % 2 else 0.1)
    return features, y


def test_linear_picks_go_by_the_gradient_from_the_first_one_on():
    for seed in range(20):
        features, y = dictionary(seed, 9, 6)
        u, wanted = np.zeros(6), []
        for k in range(1, 8):
            wanted.append(int(np.argmin(features @ (u - y))))
            u = (1 - 1 / k) * u + features[wanted[-1]] / k
        order = np.random.default_rng(seed).permutation(9)
        assert compiled(7, linear=True)(features, y).picks.tolist() == wanted
        moved = compiled(7, linear=True)(features[order], y).picks
        assert order[moved].tolist() == wanted


@pytest.mark.parametrize("options", [{}, {"linear": True}])
def test_the_rigorous_bound_holds_by_the_dense_network_and_the_published_one_too(
    options,
):
    for seed in range(60):
        features, y = hard(seed)
        found = np.asarray(compiled(60, **options)(features, y).losses)
        gaps = features[:, None] - features[None]
        wide = np.sqrt(np.mean(gaps**2, axis=2).max())
        dense = loss(features.mean(0), y)
        for k, value in enumerate(found, start=1):
            known = {"first": found[0], "diameter": wide, "dense": dense}
            assert value <= pretraining_bound.selection_bound(k, **known) + 1e-9
            published = pretraining_bound.selection_bound(k, **known, rigorous=False)
            assert k == 1 or options or value <= published + 1e-9


def test_a_target_in_the_hull_bounds_the_loss_by_its_variance_over_two_k():
    rng = np.random.default_rng(0)
    for seed in range(30):
        features, _ = dictionary(seed, 10, 6)
        mixture = rng.dirichlet(np.ones(10))
        y = mixture @ features
        variance = mixture @ np.mean((features - y) ** 2, axis=1)
        k = np.arange(1, 61)
        assert (compiled(60)(features, y).losses <= variance / (2 * k) + 1e-12).all()


def test_an_interior_target_is_reached_as_one_by_k_squared():
    angles = 2 * np.pi * np.arange(7) / 7
    features = np.sqrt(2) * np.stack([np.cos(angles), np.sin(angles)], axis=1)
    inside = np.cos(np.pi / 7)  # the polygon's inradius: a ball around 0 in the hull
    k = np.arange(1, 61)
    found = compiled(60)(features, np.zeros(2)).losses
    wide = np.sqrt(np.mean((features[:, None] - features) ** 2, axis=2).max())
    assert (found <= wide**4 / (8 * inside**2 * k**2) + 1e-12).all()


def test_frank_wolfe_weights_meet_their_bound_without_a_logarithm():
    for seed in range(30):
        features, y = hard(seed)
        found = np.asarray(compiled(60, weights="frank_wolfe")(features, y).losses)
        best = np.asarray(compiled(400, weights="line_search")(features, y).losses)[-1]
        wide = np.mean((features[:, None] - features) ** 2, axis=2).max()
        k = np.arange(1, 61)
        # best is above the hull's optimum, which only makes the left side smaller.
        assert (found - best <= 2 * wide / (k + 2) + 1e-9).all()


def test_a_line_search_never_lets_the_loss_rise():
    for seed in range(20):
        found = compiled(60, weights="line_search")(*hard(seed)).losses
        assert (np.diff(found) <= 1e-12 * np.asarray(found[:-1])).all()


def test_all_neurons_without_replacement_are_the_dense_network():
    features, y = dictionary(3, 11, 5)
    found = compiled(11, replace=False)(features, y)
    assert sorted(found.picks.tolist()) == list(range(11))
    np.testing.assert_allclose(found.weights, np.full(11, 1 / 11), rtol=1e-12)
    np.testing.assert_allclose(found.losses[-1], loss(features.mean(0), y), rtol=1e-9)


def test_a_permutation_moves_the_picks_and_copies_change_no_loss():
    features, y = dictionary(4, 12, 9)
    found = compiled(20)(features, y)
    order = np.random.default_rng(0).permutation(12)
    moved = compiled(20)(features[order], y)
    assert order[np.asarray(moved.picks)].tolist() == found.picks.tolist()
    doubled = compiled(20)(np.concatenate([features, features]), y)
    np.testing.assert_allclose(doubled.losses, found.losses, rtol=1e-9)
    scaled = compiled(20)(3 * features, 3 * y)
    np.testing.assert_allclose(scaled.losses, 9 * found.losses, rtol=1e-9)


def test_all_candidates_are_the_exhaustive_search_and_few_stay_among_the_open_ones():
    features, y = map(jnp.asarray, dictionary(5, 12, 9))
    key = jax.random.key(0)
    every = neurons_lib.select(features, y, 10, candidates=12, key=key)
    assert every.picks.tolist() == compiled(10)(features, y).picks.tolist()
    few = neurons_lib.select(features, y, 12, candidates=3, key=key, replace=False)
    assert sorted(few.picks.tolist()) == list(range(12))
    again = neurons_lib.select(features, y, 12, candidates=3, key=key, replace=False)
    assert few.picks.tolist() == again.picks.tolist()


@pytest.mark.parametrize("candidates, block", [(2, 4), (3, 5)])
def test_rows_kept_in_blocks_change_no_pick_among_random_candidates(candidates, block):
    @functools.partial(jax.jit, static_argnums=3)
    def select(features, y, key, block):
        drawn = {"candidates": candidates, "key": key}
        return neurons_lib.select(features, y, 40, block=block, **drawn)

    for seed in range(5):
        given = *dictionary(seed, 12, 9), jax.random.key(seed)
        alone, kept = select(*given, 0), select(*given, block)
        assert alone.picks.tolist() == kept.picks.tolist()
        np.testing.assert_allclose(alone.losses, kept.losses, rtol=1e-9, atol=1e-12)


@pytest.mark.parametrize("block", [3, 20])
def test_every_row_that_is_kept_is_the_row_of_the_gram_matrix(block):
    features = jnp.asarray(dictionary(0, 11, 6)[0])
    store, fetch = gram.kept_rows(features, 99, block)
    fetch, rng = jax.jit(fetch), np.random.default_rng(block)
    for i in rng.permutation(np.repeat(np.arange(11), 3)):
        # As with random candidates: most have no rank, the one asked for is the best.
        ranks = np.full(11, np.inf)
        ranks[rng.integers(11)], ranks[i] = 1.0, 0.0
        store, row = fetch(store, i, ranks)
        np.testing.assert_allclose(row, features @ features[i] / 6, rtol=1e-12)
    assert store[2] <= len(store[0])


def test_an_interior_target_is_neared_with_a_slope_of_minus_two():
    for neurons, examples in ((50, 2), (400, 5)):
        features, _ = dictionary(0, neurons, examples)
        found = np.asarray(compiled(2000)(features, features.mean(0)).losses)
        envelope = np.maximum.accumulate(found[::-1])[::-1][9:]
        slope, _ = np.polyfit(np.log(np.arange(10, 2001)), np.log(envelope), 1)
        # -2 in the limit; the envelope of few thousand steps is a little shallower.
        assert -2.2 <= slope <= -1.7


def test_many_networks_at_once_are_each_selected_alone():
    features = jnp.stack([jnp.asarray(dictionary(s, 10, 8)[0]) for s in range(4)])
    y = jnp.asarray(dictionary(9, 10, 8)[1])
    together = jax.vmap(lambda f: neurons_lib.select(f, y, 7))(features)
    for i in range(4):
        alone = compiled(7)(features[i], y)
        assert together.picks[i].tolist() == alone.picks.tolist()
        np.testing.assert_allclose(together.losses[i], alone.losses, rtol=1e-9)


@pytest.mark.parametrize(
    "options, words",
    [
        ({"steps": 5, "replace": False}, "at most all 4 neurons .* got steps = 5"),
        ({"steps": 0}, "steps must be a whole number of at least 1, got steps = 0"),
        ({"steps": 2.5}, "steps must be a whole number .* got steps = 2.5"),
        ({"steps": 2, "candidates": 1.5}, "candidates must be a whole .* = 1.5"),
        ({"steps": 2, "candidates": 9}, r"in \[1, 4\], got candidates = 9"),
        ({"steps": 2, "candidates": 2}, "must have a key, got key = None"),
        ({"steps": 2, "weights": "equal"}, "weights must be one of .* got weights"),
        ({"steps": 2, "block": -2}, "block must be .* of at least 0, got block = -2"),
        ({"steps": 2, "block": 1.5}, "block must be a whole .* got block = 1.5"),
    ],
)
def test_what_cannot_be_selected_is_refused_with_its_number(options, words):
    with pytest.raises(ValueError, match=words):
        neurons_lib.select(jnp.ones((4, 3)), jnp.ones(3), **options)


def batches(answers, targets):
    """Selects three of six neurons by batches of ones, of such shapes."""
    key, drawn = jax.random.key(0), (jnp.ones(answers), jnp.ones(targets))
    given = {"neurons": 6, "loss": losses.squared}
    return neurons_lib.select_batches(key, lambda _: drawn, 3, **given)


@pytest.mark.parametrize(
    "act, words",
    [
        (
            lambda: neurons_lib.select(jnp.ones((4, 3)), jnp.ones(4), 2),
            "of the 3 examples",
        ),
        (
            lambda: neurons_lib.select(jnp.ones((0, 4)), jnp.ones(4), 2),
            "a neuron and an example at least",
        ),
        (
            lambda: neurons_lib.select(jnp.ones((4, 0)), jnp.ones(0), 2),
            "got features of none",
        ),
        (
            lambda: neurons_lib.select(jnp.ones(4), jnp.ones(4), 2),
            r"\[neurons, examples\]",
        ),
        (
            lambda: neurons_lib.select_gram(jnp.ones((5, 5)), jnp.ones(4), 1.0, 2),
            r"got gram.shape = \(5, 5\), matches.shape = \(4,\)",
        ),
        (
            lambda: neurons_lib.select_gram(jnp.ones((2, 2)), *[jnp.ones(2)] * 2, 1),
            r"scale.shape = \(2,\)",
        ),
        (lambda: batches((5, 4), 4), r"of the 6 neurons, got answers.shape = \(5, 4\)"),
        (lambda: batches((6, 4), 1), r"a target for each .* targets.shape = \(1,\)"),
        (lambda: batches((6, 6), (6, 1)), r"targets.shape = \(6, 1\)"),
    ],
)
def test_shapes_that_do_not_fit_are_refused(act, words):
    with pytest.raises(ValueError, match=words):
        act()
