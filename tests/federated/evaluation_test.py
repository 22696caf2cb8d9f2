import federation
import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax.federated import evaluation, local_training, partitions
from lthjax.training.objective import OBJECTIVES


def test_accuracy_on_own_classes_is_that_of_their_examples():
    _, clients, _, _ = federation.start(federation.POLICIES["fedavg"])
    test = federation.split(30, 5)
    owned = np.array([[1, 1, 0, 0], [0, 0, 1, 0], [1, 1, 1, 1], [0, 1, 0, 1]], bool)
    params = jax.tree.map(lambda w: w[0], clients.params)
    count = evaluation.by_class(
        federation.apply, federation.prepare, classes=4, batch_size=8
    )
    right = count(params, jnp.asarray(test.images), jnp.asarray(test.labels))
    found = evaluation.on_own(right, test.labels, owned)
    logits, _ = federation.apply(params, {}, federation.prepare(test.images), False)
    correct = np.argmax(logits, 1) == test.labels
    rows = partitions.of_labels(test.labels, owned)
    wanted = [correct[row].mean() for row in rows]
    np.testing.assert_allclose(found, wanted, rtol=1e-6)
    accuracy = local_training.counter(
        federation.apply, federation.prepare, batch_size=8
    )
    _, numbers, sizes = partitions.stacked(
        test._replace(labels=np.arange(len(test.labels))), rows
    )
    arrays = jnp.asarray(test.images), jnp.asarray(test.labels)
    each = evaluation.of_each(accuracy)(clients.params, numbers, sizes, *arrays)
    np.testing.assert_allclose(each, wanted, rtol=1e-6)


@pytest.mark.parametrize("name", sorted(set(OBJECTIVES) - {"classification"}))
def test_clients_of_an_objective_whose_best_is_no_such_mean_are_refused(name):
    with pytest.raises(ValueError, match="mean over examples of which more is better"):
        local_training.counter(
            lambda *_: None, lambda x: x, batch_size=8, objective=OBJECTIVES[name]
        )


def test_a_class_of_nobody_has_no_accuracy():
    right = jnp.array([1.0, 2.0])
    found = evaluation.on_own(right, jnp.array([0, 0, 1, 1]), jnp.eye(2, dtype=bool))
    assert found.tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("label", [-1, 2])
def test_a_label_that_is_no_class_counts_nowhere(label):
    right, labels = jnp.array([1.0, 2.0]), jnp.array([0, 0, 1, 1, label, label])
    found = evaluation.on_own(right, labels, jnp.eye(2, dtype=bool))
    assert found.tolist() == pytest.approx([0.5, 1.0])


@pytest.mark.parametrize("batch_size", [0, 2.5])
def test_batches_of_none_or_of_a_part_are_refused(batch_size):
    given = federation.apply, federation.prepare
    words = f"batch_size must be a whole number of at least 1, got .* = {batch_size}"
    for make in (
        lambda: local_training.counter(*given, batch_size=batch_size),
        lambda: local_training.trainer(*given, None, epochs=1, batch_size=batch_size),
        lambda: evaluation.by_class(*given, classes=4, batch_size=batch_size),
    ):
        with pytest.raises(ValueError, match=words):
            make()


def test_no_example_has_no_right_answers_to_count():
    count = evaluation.by_class(
        federation.apply, federation.prepare, classes=4, batch_size=8
    )
    with pytest.raises(ValueError, match="got none"):
        count({}, jnp.zeros((0, 3, 3, 1)), jnp.zeros(0, int))
