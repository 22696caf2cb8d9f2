"""Recipes: every tweak the identity when off, and gone when it is over."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from cases import rest_slow
from trees import assert_same

from lthjax import models
from lthjax.pruning import masks as masks_lib
from lthjax.retraining import arms, fades, ghosts, rescaling
from lthjax.retraining import steps as retraining_steps
from lthjax.retraining.ghosts import Knobs
from lthjax.retraining.steps import Fade, Handed, Recipe
from lthjax.tickets import Ticket
from lthjax.training import optimizers
from lthjax.training import steps as training_steps
from lthjax.training.objective import CLASSIFICATION, REGRESSION

IMAGES = jax.random.normal(jax.random.key(1), (8, 4, 4, 3))
LABELS = jnp.arange(8) % 3
NETWORK = models.build("resnet20", 3, options={"blocks": (1,), "channels": (4,)})
TX = optimizers.build("sgd", 0.1, momentum=0.9, weight_decay=1e-3)
END = 4
GHOSTS = Recipe("swish", "constant", Fade(1, END), Fade(1, END))
ALL = GHOSTS._replace(smoothing=0.1, distillation=(0.9, 0.1, 4.0), taught_until=3)


@functools.cache
def drawn(haunted):
    model = ghosts.attach(NETWORK, Knobs(), skips="constant") if haunted else NETWORK
    init = jax.jit(functools.partial(models.initialise, model))
    return init(jax.random.key(0), IMAGES)


def ticket(recipe):
    """A ticket of half the weights, whatever its ghosts."""
    params, state = drawn(False)
    full = masks_lib.full(params)
    kept = jax.tree.map(
        lambda m: jax.random.bernoulli(jax.random.key(2), 0.5, m.shape), full
    )
    if recipe.skips:
        with_ghosts = drawn(True)
        params, state = (
            ghosts.graft(*pair)
            for pair in zip(with_ghosts, (params, state), strict=True)
        )
        kept = ghosts.spare(params, kept)
    return Ticket(1, 0, 8, params, state, kept)


@functools.cache
def stepper(recipe):
    return jax.jit(retraining_steps.step(NETWORK, recipe, TX))


def handed(recipe):
    teacher = drawn(False) if recipe.distillation else None
    return Handed(ticket(recipe).masks, retraining_steps.numbers(recipe), teacher)


def states(recipe, number):
    """The states before each step, and after the last."""
    found, given = [training_steps.begin(TX, ticket(recipe))], handed(recipe)
    for at in range(number):
        args = found[-1], given, IMAGES, LABELS, jnp.int32(at)
        found.append(stepper(recipe)(*args))
    return found


def test_vanilla_is_ordinary_training_bit_for_bit():
    plain = jax.jit(
        training_steps.step(
            training_steps.supervised(
                lambda p, s, x, train: models.apply(NETWORK, p, s, x, train=train)
            ),
            TX,
        )
    )
    state = training_steps.begin(TX, ticket(Recipe()))
    for _ in range(3):
        state = plain(state, ticket(Recipe()).masks, IMAGES, LABELS, None)
    assert_same(states(Recipe(), 3)[-1], state)


def test_from_its_end_on_the_ghosts_step_is_the_plain_networks():
    before = states(GHOSTS, END)[-1]
    state, plain = before, ghosts.strip(before)
    for at in (END, END + 1):
        state = stepper(GHOSTS)(state, handed(GHOSTS), IMAGES, LABELS, jnp.int32(at))
        given = handed(Recipe()), IMAGES, LABELS, jnp.int32(at)
        plain = stepper(Recipe())(plain, *given)
    # Another program around the same step: rounding, as XLA fuses it.
    jax.tree.map(
        lambda a, b: np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-6),
        ghosts.strip(state),
        plain,
    )
    ghostly = ghosts.graft(before, ghosts.strip(state))
    assert_same(state, ghostly)  # the ghosts' own leaves have not moved


@pytest.mark.parametrize("recipe", [GHOSTS, ALL], ids=["ghosts", "all"])
def test_pruned_weights_stay_zero_and_what_they_were_does_not_matter(recipe):
    found = states(recipe, END + 1)
    start = ticket(recipe)
    for state in found[1:]:
        masked = masks_lib.apply(state.params, start.masks)
        assert_same(masked, state.params)
    other = jax.tree.map(
        lambda w, m: w if m is None else jnp.where(m, w, 3.0), start.params, start.masks
    )
    state = training_steps.begin(TX, start._replace(params=other))
    for at in range(END + 1):
        args = handed(recipe), IMAGES, LABELS, jnp.int32(at)
        state = stepper(recipe)(state, *args)
    assert_same(state, found[-1])


def test_a_teacher_is_followed_until_its_step_and_never_moved():
    recipe = Recipe(distillation=(0.9, 0.1, 4.0), taught_until=2)
    given = handed(recipe)
    other = given._replace(teacher=jax.tree.map(lambda w: 2 * w, given.teacher))
    state = training_steps.begin(TX, ticket(recipe))
    for at, follows in ((0, True), (1, True), (2, False), (3, False)):
        pair = [
            stepper(recipe)(state, teacher, IMAGES, LABELS, jnp.int32(at)).params
            for teacher in (given, other)
        ]
        equal = jax.tree.leaves(jax.tree.map(jnp.array_equal, *pair))
        assert all(equal) != follows


@pytest.mark.parametrize("kind", [jnp.uint32, jnp.uint8, jnp.int8, jnp.int32, float])
def test_before_its_first_step_nothing_has_faded_whatever_number_counts(kind):
    times = fades.Fade(hold=300, end=400)
    assert fades.fade(kind(0), times) == fades.fade(kind(5), times) == 0


@pytest.mark.parametrize("law", fades.LAWS)
def test_a_fade_is_whole_gone_and_monotone_at_its_steps(law):
    times = Fade(10, 30, law)
    lams = jax.jit(jax.vmap(lambda s: retraining_steps.fade(s, times)))(jnp.arange(60))
    assert np.all(lams[:11] == 0) and np.all(lams[30:] == 1)
    assert np.all(np.diff(lams) >= 0) and np.all(lams[:30] < 1)
    recipe = Recipe("swish", "constant", times, times)
    found = [retraining_steps.knobs(recipe, step) for step in (30, 31, 10**6)]
    assert all(pair == (1.0, 0.0) for pair in found)


def wide(part, width):
    return part


def test_a_law_of_ones_own_is_refused_by_name_where_it_cannot_be_called():
    times = Fade(0, 4, f"{__name__}:wide")
    with pytest.raises(ValueError, match="law of fading must take how far .*TypeError"):
        fades.fade(2, times)


def test_ghosts_that_are_kept_never_fade():
    recipe = Recipe("swish", "constant", Fade(), Fade())
    assert retraining_steps.knobs(recipe, 10**6) == (0.0, 1.0)
    assert not retraining_steps.deployed(recipe)
    assert retraining_steps.deployed(GHOSTS) and retraining_steps.deployed(Recipe())


def test_a_step_is_compiled_once_for_all_phases():
    traces = []
    step = retraining_steps.step(NETWORK, GHOSTS, TX)

    @jax.jit
    def counted(*args):
        traces.append(args)
        return step(*args)

    state = training_steps.begin(TX, ticket(GHOSTS))
    for at in range(END + 2):
        state = counted(state, handed(GHOSTS), IMAGES, LABELS, jnp.int32(at))
    assert len(traces) == 1


@pytest.mark.slow
def test_rescaling_leaves_statistics_masks_and_zeros():
    recipe = GHOSTS._replace(rescaling=rescaling.Options(iterations=3))
    start = ticket(recipe)
    batch = (IMAGES, LABELS)
    params, report = jax.jit(
        lambda: retraining_steps.rescaled(
            NETWORK, recipe, start, lambda i: (batch, batch)
        )
    )()
    assert report.norms.shape == (3,)
    assert_same(masks_lib.apply(params, start.masks), params)
    factors = dict(
        zip(masks_lib.names(params), jax.tree.leaves(report.factors), strict=True)
    )
    assert factors["stage1_block0/conv1_ghost_norm/scale"] != 1  # ghosts are whole


SANE = 3 * jax.random.normal(jax.random.key(3), (3, 6, 6, 3))[LABELS]
SANE += jax.random.normal(jax.random.key(4), SANE.shape)


@functools.cache
def schooled(recipe):
    """Returns numbers -> the logits that 120 steps of a ticket of 5 % lead to."""
    wide = models.build("resnet20", 3, options={"blocks": (1,), "channels": (16,)})
    haunted = retraining_steps.haunted(wide, recipe, 0)
    step = retraining_steps.step(wide, recipe, TX)

    @jax.jit
    def learn(numbers):
        params, state = models.initialise(haunted, jax.random.key(0), SANE)
        full = masks_lib.full(params, ("_ghost/",) if recipe.skips else ())
        kept = jax.tree.map(
            lambda m: jax.random.bernoulli(jax.random.key(2), 0.05, m.shape), full
        )
        first = training_steps.begin(TX, Ticket(1, 0, 120, params, state, kept))

        def body(at, state):
            return step(state, Handed(kept, numbers), SANE, LABELS, at)

        last = jax.lax.fori_loop(0, 120, body, first)
        deployed = retraining_steps.haunted(wide, recipe, 120)
        trees = last.params, last.model_state
        return models.apply(deployed, *trees, SANE, train=False)[0]

    return learn


GONE = Fade(0, 60)
SOUND = {
    "vanilla": Recipe(),
    "smoothing": Recipe(smoothing=0.1),
    "tost_paper": Recipe("swish", "constant", GONE, GONE, smoothing=0.1),
    "tost_code": Recipe("swish", "constant", Fade(), Fade(), smoothing=0.1),
}


@pytest.mark.parametrize("name", rest_slow(SOUND, "tost_code"))
def test_every_preset_learns_a_few_examples_with_a_twentieth_of_the_weights(name):
    recipe = SOUND[name]
    logits = schooled(recipe._replace(smoothing=0.0))(retraining_steps.numbers(recipe))
    assert np.mean(np.argmax(logits, -1) == LABELS) > 0.95


def test_presets_are_what_their_names_say():
    four = {"neurons", "skips", "rescaling", "smoothing"}
    assert arms.tweaks("vanilla") == frozenset()
    assert arms.tweaks("tost_paper") == arms.tweaks("all_tweaks") == four
    assert arms.tweaks("tost_code") == four - {"rescaling"} | {"kept"}
    assert arms.tweaks("skips+smoothing") == {"skips", "smoothing"}
    with pytest.raises(ValueError, match="tost_paper, .* did you mean 'tost_code'"):
        arms.tweaks("neurons+tost_cod")


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe("swish", neurons_fade=Fade(0, 9)), "neurons's fade .* got end = 9"),
        (Recipe(skips="he", skips_fade=Fade(0, 2)), "steps 3 to 8 .* got end = 2"),
        (Recipe(skips="he", skips_fade=Fade(6, 5)), "before it ends at step 5"),
        (Recipe(distillation=(1, 0, 4), taught_until=9), "distillation must end"),
        (Recipe(smoothing=1.0), r"in \[0, 1\), got smoothing = 1.0"),
    ],
)
def test_what_cannot_work_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        retraining_steps.check(recipe, 2, 8)
    retraining_steps.check(GHOSTS, 2, 8)
    retraining_steps.check(Recipe("swish", neurons_fade=Fade()), 2, 8)


@pytest.mark.parametrize(
    "taught", [(0.9, 0.1, 0.0), (0.9, 0.1, -4.0), (-0.1, 0.1, 4.0)]
)
def test_a_distillation_that_has_no_loss_is_refused(taught):
    recipe = Recipe(distillation=taught, taught_until=5)
    with pytest.raises(ValueError, match="temperature above 0, all finite"):
        retraining_steps.check(recipe, 0, 10)


def test_a_distillation_without_a_teacher_is_refused():
    recipe = Recipe(distillation=(0.9, 0.1, 4.0), taught_until=5)
    given = handed(recipe)._replace(teacher=None)
    state = training_steps.begin(TX, ticket(recipe))
    with pytest.raises(ValueError, match="needs a teacher, got handed.teacher = None"):
        stepper(recipe)(state, given, IMAGES, LABELS, jnp.int32(0))


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        (Recipe(smoothing=0.5), "'smoothing' needs .* got goal.smoothed = None; give"),
        (Recipe(distillation=(0.5, 0.5, 2.0)), "'distillation' .* goal.distilled = No"),
    ],
)
def test_a_tweak_of_a_loss_that_the_goal_has_not_is_refused(recipe, message):
    with pytest.raises(ValueError, match=message):
        retraining_steps.step(NETWORK, recipe, TX, goal=REGRESSION)
    retraining_steps.step(NETWORK, recipe, TX)
    retraining_steps.step(NETWORK, GHOSTS, TX, goal=REGRESSION)


def test_a_teacher_is_refused_where_the_goal_has_no_distance_to_one():
    step = retraining_steps.step(NETWORK, Recipe(), TX, goal=REGRESSION)
    given = handed(Recipe())._replace(teacher=drawn(False))
    state = training_steps.begin(TX, ticket(Recipe()))
    with pytest.raises(ValueError, match="needs an objective with a function distill"):
        step(state, given, IMAGES, jnp.zeros((8, 3)), jnp.int32(0))


def test_an_arm_without_smoothing_minimises_the_goal_s_own_loss():
    def ten_times(logits, labels):
        return 10 * CLASSIFICATION.loss(logits, labels)

    goal = CLASSIFICATION._replace(loss=ten_times)
    network, state = drawn(False)
    for recipe, loss in [
        (Recipe(), ten_times),
        (Recipe(smoothing=0.1), lambda x, y: CLASSIFICATION.smoothed(x, y, 0.1)),
    ]:
        step = jax.jit(retraining_steps.step(NETWORK, recipe, TX, goal=goal))
        begun = training_steps.begin(TX, ticket(recipe))
        after = step(begun, handed(recipe), IMAGES, LABELS, jnp.int32(0))
        params = masks_lib.apply(network, ticket(recipe).masks)
        logits, _ = models.apply(NETWORK, params, state, IMAGES, train=True)
        np.testing.assert_allclose(after.loss, loss(logits, LABELS).mean(), rtol=1e-5)
