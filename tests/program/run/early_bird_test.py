import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax import tickets
from lthjax.tickets import Trained, stability
from lthjax.tickets.early_bird import saved

BITS = 100


def calm(seen, rule, threshold=0.1, queue=5):
    """Says whether a rule fires on the masks seen so far."""
    if rule == "consecutive":
        far = [np.mean(a != b) for a, b in zip(seen, seen[1:], strict=False)]
        return len(far) >= queue and max(far[-queue:]) < threshold
    older = seen[-queue:-1]
    return (
        len(seen) >= queue and max(np.mean(seen[-1] != m) for m in older) <= threshold
    )


def reference(masks, rule):
    """Returns the epoch at which the detector fires, in plain Python, or -1."""
    fires = [n for n in range(1, len(masks) + 1) if calm(masks[:n], rule)]
    return min(fires, default=-1)


stepped = jax.jit(stability.update)


def shown(masks, rule, **options):
    state = stability.watch(BITS, rule, **options)
    for epoch, mask in enumerate(masks, start=1):
        state = stepped(state, jnp.asarray(mask), epoch)
    return state


def walk(seed, rate, length=14):
    """Returns masks of which a share `rate` flips from one to the next, at random."""
    rng = np.random.default_rng(seed)
    masks = [rng.random(BITS) < 0.5]
    for _ in range(length - 1):
        masks.append(masks[-1] ^ (rng.random(BITS) < rate))
    return masks


@pytest.mark.parametrize("rule", stability.RULES)
def test_the_detector_is_the_plain_loop_on_random_walks_and_stays_fired(rule):
    ends = set()
    for seed in range(12):
        masks = walk(seed, 0.02 + 0.015 * (seed % 6))
        state, wanted = shown(masks, rule), reference(masks, rule)
        ends.add(wanted)
        assert int(state.fired_at) == wanted
        assert bool(state.fired) == (wanted > 0)
        if wanted > 0:
            np.testing.assert_array_equal(state.ticket, masks[wanted - 1])
    assert len(ends) > 2 and -1 in ends


def test_the_paper_fires_after_six_equal_masks_and_the_code_after_five():
    for rule, first in (("consecutive", 6), ("newest", 5)):
        assert int(shown([np.ones(BITS, bool)] * 9, rule).fired_at) == first


def test_no_threshold_makes_it_fire_before_its_queue_is_full():
    masks = walk(0, 0.5)
    for rule, first in (("consecutive", 6), ("newest", 5)):
        assert int(shown(masks, rule, threshold=1.0).fired_at) == first
        assert int(shown(masks, rule, threshold=1.0, queue=2).fired_at) == first - 3


def test_slow_drift_fires_by_the_paper_and_not_by_the_code():
    masks = [np.arange(BITS) < 3 * epoch for epoch in range(12)]  # 0.03 an epoch
    assert bool(shown(masks, "consecutive").fired)
    assert not bool(shown(masks, "newest").fired)  # 0.12 to the oldest of the queue


def test_the_distance_is_a_metric():
    rng = np.random.default_rng(0)
    a, b, c = (jnp.asarray(rng.random(BITS) < 0.5) for _ in range(3))
    d = stability.distance
    assert d(a, b) == d(b, a) and d(a, a) == 0 < d(a, b)
    assert d(a, c) <= d(a, b) + d(b, c)


def test_masks_of_two_shapes_have_no_distance():
    with pytest.raises(ValueError, match=r"one shape, got \[3\] and \[3, 1\]; see"):
        stability.distance(jnp.ones(3, bool), jnp.ones((3, 1), bool))


def test_many_detectors_at_once_are_each_alone():
    walks = np.stack([walk(seed, 0.04) for seed in range(3)])
    states = jax.vmap(lambda _: stability.watch(BITS))(jnp.arange(3))
    step = jax.jit(jax.vmap(stability.update, (0, 0, None)))
    for epoch in range(walks.shape[1]):
        states = step(states, walks[:, epoch], epoch + 1)
    for i in range(3):
        alone = shown(walks[i], "consecutive")
        assert int(states.fired_at[i]) == int(alone.fired_at)


def test_a_mask_of_weights_can_be_watched_too():
    tree = {"a": jnp.ones((2, 3), bool), "b": None, "c": jnp.zeros(4, bool)}
    assert stability.flatten(tree).tolist() == [True] * 6 + [False] * 4


@pytest.mark.parametrize(
    "mask, got",
    [
        (jnp.ones(3, bool), r"bool \[3\]"),
        (jnp.ones(4), r"float32 \[4\]"),
        (jnp.ones((1, 4), bool), r"bool \[1, 4\]"),
    ],
)
def test_what_is_no_mask_of_its_length_is_not_watched(mask, got):
    with pytest.raises(ValueError, match=rf"must be bool \[4\], got {got}"):
        stability.update(stability.watch(4), mask, 1)


EPOCH, STEPS = 10, 120


def search(**options):
    """Returns an early-bird search over one leaf of four weights, half of them kept."""

    def draw(trained):
        weights = trained.params["w"]
        mask = weights >= jnp.sort(weights)[2]
        return mask, {"w": mask}

    return tickets.early_bird(draw, steps=STEPS, epoch=EPOCH, **options)


def run(found, weights_at):
    """Returns the tickets that a search asks to train; `weights_at(epoch)` is trained.

    The state goes through numpy at every step, as it does through a checkpoint.
    """
    params, masks = {"w": jnp.zeros(4)}, {"w": jnp.ones(4, bool)}
    state, ticket = found.init(None, params, {}, masks)
    asked = []
    while ticket is not None:
        asked.append(ticket)
        trained = Trained({"w": weights_at(ticket.until // EPOCH)}, {}, masks, "moving")
        state = jax.tree.map(jnp.asarray, jax.device_get(state))
        state, ticket = found.step(None, state, ticket, trained)
    return asked, state


def test_the_search_ends_pretraining_by_itself_and_says_what_it_saved():
    # Until epoch 2 the largest two change, then they stay.
    told = []
    found = search(report=lambda state, ticket: told.append(ticket.step))
    asked, state = run(found, lambda epoch: jnp.roll(jnp.arange(4.0), min(epoch, 2)))
    drawn = asked[-1]
    # Epoch 2 to 7 are six equal masks.
    assert [t.until for t in asked[:-1]] == [EPOCH * e for e in range(1, 8)]
    assert (drawn.level, drawn.step, drawn.until) == (1, 7 * EPOCH, STEPS)
    assert drawn.opt_state is None and asked[3].opt_state == "moving"
    assert told == [70]
    facts = found.describe(state, drawn)["early_bird"]
    assert facts == saved(state, drawn.masks, steps=STEPS, epoch=EPOCH)
    assert found.describe(state, asked[0]) == {}
    assert facts["fired"] and facts["epoch"] == 7
    assert facts["dense_steps_saved"] == STEPS - 70 and facts["kept"] == 0.5
    np.testing.assert_array_equal(np.isnan(state.history), np.arange(12) >= 7)
    assert np.isinf(state.history).tolist() == [True] + 11 * [False]


def test_a_mask_that_never_stays_is_drawn_before_the_last_epoch():
    asked, state = run(search(), lambda epoch: jnp.roll(jnp.arange(4.0), 2 * epoch))
    assert asked[-1].step == STEPS - EPOCH
    facts = saved(state, asked[-1].masks, steps=STEPS, epoch=EPOCH)
    assert not facts["fired"] and facts["epoch"] == 11


@pytest.mark.parametrize("rule", stability.RULES)
def test_a_queue_that_is_never_full_takes_no_room_of_its_own(rule):
    asked, state = run(search(rule=rule, queue=10**9), lambda epoch: jnp.arange(4.0))
    assert asked[-1].step == STEPS - EPOCH
    assert state.watch.masks.shape[0] <= STEPS // EPOCH + 2
    assert not state.watch.fired


@pytest.mark.parametrize(
    "act, words",
    [
        (lambda: stability.watch(4, "paper"), "consecutive, newest, got rule = 'pap"),
        (lambda: stability.watch(4, queue=1), "got queue = 1"),
        (lambda: stability.watch(4, queue=2.5), "a whole number .* got queue = 2.5"),
        (lambda: stability.watch(0), "got bits = 0"),
        (lambda: stability.watch(4, threshold=1.5), "got threshold = 1.5"),
        (lambda: search(threshold=0.0), "got threshold = 0.0"),
        (lambda: search(rule="paper"), "got rule = 'paper'"),
        (lambda: tickets.early_bird(None, steps=9, epoch=5), "two epochs .* 9 steps"),
    ],
)
def test_what_cannot_be_watched_is_refused(act, words):
    with pytest.raises(ValueError, match=words):
        act()
