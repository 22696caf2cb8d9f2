import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from lthjax import channels, experiment, models, optimizers, planning, results, tickets
from lthjax import masks as masks_lib
from lthjax.compact import compact

SMALL = {
    "seeds": (0,),
    "model.name": "vgg11",
    "model.options": {"depths": (1, 1), "channels": (4, 6)},
    "search.levels": 1,
    "search.sparsities": (0.5,),
    "eval_every": 4,
}


def test_an_early_bird_run_ends_pretraining_by_itself_and_finishes(tmp_path, caplog):
    # A distance is never above 1: with a queue of 2 the third epoch of six fires.
    changes = {"search.method": "early_bird", "train.steps": 24}
    changes |= {"early_bird.threshold": 1.1, "early_bird.queue": 2}
    config = tiny.config({**SMALL, **changes, "optimizer.norm_l1": 1e-2})
    with caplog.at_level("INFO"):
        rows = experiment.run(config, tmp_path)
    # 32 images in batches of 12: an epoch has 3 steps.
    assert "drawn at epoch 3 (the masks stayed): 15 of 24 dense steps" in caplog.text
    assert [(row["level"], row["kept"] < row["prunable"]) for row in rows] == [
        (1, True)
    ]
    ticket = tickets.load(tmp_path / "tickets" / "seed_0" / "level_01")
    assert (ticket.step, ticket.until) == (9, 24)
    found = channels.groups(planning.model(config, tiny_facts(config)), ticket.params)
    kept = channels.count(channels.kept(ticket.masks, found))
    assert kept == (5, 10)
    before = tiny.contents(tmp_path)
    experiment.run(config, tmp_path)
    assert tiny.contents(tmp_path) == before


def tiny_facts(config):
    return planning.kind(experiment.load(config))


def test_masks_of_single_weights_can_be_watched(tmp_path):
    changes = {"search.method": "early_bird", "train.steps": 16, "model.name": "mlp"}
    changes |= {"model.options": {"hidden": (8,)}, "early_bird.watch": "weights"}
    config = tiny.config({**SMALL, **changes, "early_bird.rule": "newest"})
    row = experiment.run(config, tmp_path)[-1]
    assert row["level"] == 1
    assert row["kept"] == round(row["prunable"] / 2)


def test_a_forward_run_prunes_channels_to_a_smaller_network(tmp_path):
    changes = {"search.method": "forward", "train.steps": 4, "forward.tune": 3}
    changes |= {"forward.most": 2, "forward.check": 16, "forward.number": 3}
    config = tiny.config({**SMALL, **changes, "forward.batch_size": 12})
    rows = experiment.run(config, tmp_path)
    assert [(row["level"], row["steps"]) for row in rows] == [(0, 4), (1, 3)]
    source = experiment.load(config)
    model = planning.model(config, planning.kind(source))
    ticket = tickets.load(tmp_path / "tickets" / "seed_0" / "level_01")
    found = channels.groups(model, ticket.params)
    kept = channels.kept(ticket.masks, found)
    assert all(1 <= int(mask.sum()) <= 2 for mask in kept.values())
    small = compact(model, ticket.params, ticket.masks, ticket.model_state)
    images = jnp.asarray(source.train.images[:3], jnp.float32) / 255
    params = masks_lib.apply(ticket.params, ticket.masks)
    whole, _ = models.apply(model, params, ticket.model_state, images, train=False)
    answered, _ = models.apply(*small, images, train=False)
    np.testing.assert_allclose(answered, whole, rtol=1e-5, atol=1e-5)
    assert results.read(tmp_path / results.CURVES)[-1]["start"] == 4


@pytest.mark.parametrize(
    "changes, words",
    [
        ({"search.sparsities": (0.5, 0.7)}, "draws one ticket, got 2 levels"),
        ({"early_bird.watch": "neurons"}, "early_bird.watch must be one of"),
        ({"early_bird.rule": "paper"}, "rule must be one of"),
        ({"model.name": "mlp", "model.options": {}}, "take a network with batch norm"),
        ({"search.method": "forward", "forward.tune": 0}, "got tune = 0"),
        ({"search.method": "forward", "forward.draw_at": 99}, "got draw_at = 99"),
        ({"search.method": "forward", "forward.gate": 2.0}, "got gate = 2.0"),
        ({"search.method": "forward", "forward.candidates": "x"}, "got candidates"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(changes, words, tmp_path):
    start = {"search.method": "early_bird", "train.steps": 24, "forward.tune": 3}
    config = tiny.config({**SMALL, **start, **changes})
    with pytest.raises(ValueError, match=words):
        experiment.run(config, tmp_path / "run")


def test_the_penalty_shrinks_norm_scales_by_rate_times_strength_and_nothing_else():
    params = {"conv1_norm": {"scale": jnp.array([1.0, -2.0]), "bias": jnp.ones(2)}}
    params["conv1"] = {"kernel": jnp.ones((2, 2))}
    tx = optimizers.build("sgd", 0.5, momentum=0.0, norm_l1=0.1)
    masks = jax.tree.map(lambda _: None, params)
    grads = jax.tree.map(jnp.zeros_like, params)
    updates, _ = tx.update(grads, tx.init(params), params, masks=masks)
    moved = optax.apply_updates(params, updates)
    np.testing.assert_allclose(moved["conv1_norm"]["scale"], [0.95, -1.95], rtol=1e-6)
    np.testing.assert_array_equal(moved["conv1_norm"]["bias"], jnp.ones(2))
    np.testing.assert_array_equal(moved["conv1"]["kernel"], jnp.ones((2, 2)))


def test_a_tuned_schedule_is_the_old_one_and_then_half_a_cosine():
    rate = optimizers.tuned(optax.constant_schedule(0.3), 10, 0.2, 4)
    found = [float(rate(step)) for step in (0, 9, 10, 12, 14)]
    np.testing.assert_allclose(found, [0.3, 0.3, 0.2, 0.1, 0], rtol=1e-6, atol=1e-7)
