"""What is reported of a set: means by hand, of any objective."""

import jax.numpy as jnp
import numpy as np
import optax

from lthjax.data import splits
from lthjax.tickets import Ticket
from lthjax.training import evaluate, steps, zeros
from lthjax.training.evaluate import evaluator
from lthjax.training.objective import NEXT_TOKEN, REGRESSION, OfSet

ONE = {"kernel": jnp.array(2.0)}
TICKET = Ticket(0, 0, 4, ONE, {}, {"kernel": None})


def times(params, model_state, inputs, train):
    del train
    return params["kernel"] * inputs, model_state


def same(inputs):
    return inputs


def test_a_regression_is_measured_over_vectors_without_what_fills_the_last_batch():
    vectors = jnp.array([[[1.0, 2.0], [3.0, 4.0]], [[0.0, 1.0], [9.0, 9.0]]])
    targets = jnp.array([[[2.0, 4.0], [6.0, 4.0]], [[0.0, -1.0], [0.0, 0.0]]])
    weights = jnp.array([[1.0, 1.0], [1.0, 0.0]])
    evaluate = evaluator(times, same, objective=REGRESSION)
    loss, error = evaluate(ONE, {}, (vectors, targets, weights))
    np.testing.assert_allclose(loss, (0 + 16 / 2 + 9 / 2) / 3, rtol=1e-6)
    np.testing.assert_allclose(error, (0 + 4 / 2 + 3 / 2) / 3, rtol=1e-6)


def test_the_perplexity_is_that_of_the_whole_set():
    logits = jnp.log(jnp.array([[[[1.0, 3.0]]], [[[4.0, 1.0]]]])) / 2
    tokens, weights = jnp.array([[[1]], [[1]]]), jnp.ones((2, 1))
    evaluate = evaluator(times, same, objective=NEXT_TOKEN)
    loss, accuracy, perplexity = evaluate(ONE, {}, (logits, tokens, weights))
    nats = -np.log([3 / 4, 1 / 5]).mean()
    np.testing.assert_allclose(loss, nats, rtol=1e-5)
    np.testing.assert_allclose(perplexity, np.exp(nats), rtol=1e-5)
    assert accuracy == 0.5


def test_a_step_minimises_the_loss_of_the_objective_and_the_curve_has_its_columns():
    tx = zeros.keep(optax.sgd(0.25))
    step = steps.step(steps.supervised(times, REGRESSION), tx)
    state = steps.begin(tx, TICKET, points=3, objective=REGRESSION)
    assert state.curve.shape == (3, 5)
    after = step(state, TICKET.masks, jnp.array([[1.0]]), jnp.array([1.0]))
    # w - 0.25 d/dw (w - 1)^2 at w = 2
    np.testing.assert_allclose(after.params["kernel"], 1.5, rtol=1e-6)
    assert after.loss == 1.0


def test_a_measure_of_a_set_sees_every_example_once():
    def apply_fn(params, model_state, inputs, train):
        return inputs * params, model_state

    of_set = OfSet(
        ("median",),
        lambda outputs, labels: outputs[:, 0] - labels,
        lambda found: {"median": float(np.median(found))},
    )
    goal = REGRESSION._replace(of_set=of_set)
    inputs = np.arange(7, dtype=np.float32)[:, None]
    split = splits.Split(inputs, np.zeros(7, np.float32))
    given = apply_fn, lambda x: x, {"test": split}
    measure = evaluate.of_sets(*given, batch=3, objective=goal)
    assert measure(jnp.float32(2), {}) == {"test_median": 6.0}  # 2 x 3; padding is none
    given[2]["validation"] = splits.Split(inputs[:0], split.labels[:0])
    assert np.isnan(measure(jnp.float32(2), {})["validation_median"])
    nothing = evaluate.of_sets(*given, batch=3, objective=REGRESSION)
    assert nothing(jnp.float32(2), {}) == {}


def test_what_fills_a_batch_may_be_no_number():
    def apply(params, state, inputs, train):
        del train
        return inputs / jnp.linalg.norm(inputs, axis=-1, keepdims=True) @ params, state

    images = jnp.array([[[1.0, 0.0], [0.0, 0.0]]])
    examples = images, jnp.zeros((1, 2), int), jnp.array([[1.0, 0.0]])
    evaluate_fn = evaluate.evaluator(apply, lambda x: x)
    loss, accuracy = evaluate_fn(jnp.eye(2), {}, examples)
    np.testing.assert_allclose(loss, np.log(1 + np.exp(-1)), rtol=1e-6)
    assert accuracy == 1
