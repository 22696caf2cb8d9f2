import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny

from lthjax import models
from lthjax.channels import by_channel, layers_of
from lthjax.channels.smaller import compact
from lthjax.program.build import plan
from lthjax.program.build import source as source_lib
from lthjax.program.run import experiment
from lthjax.program.workdir import results
from lthjax.pruning import masks as masks_lib
from lthjax.saving import tickets
from lthjax.tickets import Trained
from lthjax.training import optimizers

SMALL = {
    "seeds": (0,),
    "model.name": "vgg11",
    "model.options": {"depths": (1, 1), "channels": (4, 6)},
    "search.levels": 1,
    "eval_every": 4,
}
EARLY_BIRD = {
    **SMALL,
    "search.method": "early_bird",
    "search.sparsities": (0.5,),
    "train.steps": 24,
    "early_bird.threshold": 1.0,
    "early_bird.queue": 2,
}
FORWARD = {
    **SMALL,
    "search.method": "forward",
    "train.steps": 4,
    "forward.tune": 3,
    "forward.most": 2,
    "forward.check": 16,
    "forward.number": 3,
    "forward.batch_size": 12,
}


def test_an_early_bird_run_ends_pretraining_by_itself_and_finishes(tmp_path, caplog):
    # A distance is hardly 1: with a queue of 2 the third epoch of eight fires.
    config = tiny.config({**EARLY_BIRD, "optimizer.norm_l1": 1e-2})
    with caplog.at_level("INFO"):
        rows = experiment.run(config, tmp_path)
    # 32 images in batches of 12: an epoch has 3 steps.
    assert "drawn at epoch 3 (the masks stayed): 15 of 24 dense steps" in caplog.text
    assert [(row["level"], row["kept"] < row["prunable"]) for row in rows] == [
        (1, True)
    ]
    (facts,) = [row["early_bird"] for row in results.read(tmp_path / results.RESULTS)]
    assert facts["fired"] and (facts["epoch"], facts["dense_steps_saved"]) == (3, 15)
    ticket = tickets.load(tmp_path / "tickets" / "seed_0" / "level_01")
    assert (ticket.step, ticket.until) == (9, 24)
    model = plan.of(config, source_lib.load(config)).module
    found = layers_of.groups(model, ticket.params)
    kept = by_channel.count(by_channel.kept(ticket.masks, found))
    assert kept == (5, 10)
    before = tiny.contents(tmp_path)
    experiment.run(config, tmp_path)
    assert tiny.contents(tmp_path) == before


@pytest.mark.slow
def test_masks_of_single_weights_can_be_watched(tmp_path):
    changes = {
        "train.steps": 16,
        "model.name": "mlp",
        "model.options": {"hidden": (8,)},
    }
    changes |= {"early_bird.watch": "weights", "early_bird.rule": "newest"}
    config = tiny.config({**EARLY_BIRD, **changes})
    row = experiment.run(config, tmp_path)[-1]
    assert row["level"] == 1
    assert row["kept"] == round(row["prunable"] / 2)


def test_a_forward_run_prunes_channels_to_a_smaller_network(tmp_path, caplog):
    config = tiny.config(FORWARD)
    with caplog.at_level("WARNING"):
        rows = experiment.run(config, tmp_path)
    # On 16 images one of them is more than the tolerance.
    assert "at most two standard errors of the accuracy" in caplog.text
    assert [(row["level"], row["steps"]) for row in rows] == [(0, 4), (1, 3)]
    source = source_lib.load(config)
    model = plan.of(config, source).module
    ticket = tickets.load(tmp_path / "tickets" / "seed_0" / "level_01")
    found = layers_of.groups(model, ticket.params)
    kept = by_channel.kept(ticket.masks, found)
    assert all(1 <= int(mask.sum()) <= 2 for mask in kept.values())
    small = compact(model, ticket.params, ticket.masks, ticket.model_state)
    images = jnp.asarray(source.train.images[:3], jnp.float32) / 255
    params = masks_lib.apply(ticket.params, ticket.masks)
    whole, _ = models.apply(model, params, ticket.model_state, images, train=False)
    answered, _ = models.apply(*small, images, train=False)
    np.testing.assert_allclose(answered, whole, rtol=1e-5, atol=1e-5)
    assert results.read(tmp_path / results.CURVES)[-1]["start"] == 4


@pytest.mark.slow
@pytest.mark.parametrize("start", [EARLY_BIRD, FORWARD], ids=["early_bird", "forward"])
def test_layers_that_are_excluded_keep_all_their_channels(start, tmp_path):
    changes = {"search.exclude": ("^conv1_1$",)}
    if start is FORWARD:
        changes["forward.tolerance"] = 0.9
    config = tiny.config({**start, **changes})
    experiment.run(config, tmp_path)
    ticket = tickets.load(tmp_path / "tickets" / "seed_0" / "level_01")
    named = layers_of.named(ticket.masks)
    assert "conv1_1/kernel" not in named and "conv1_1_norm/scale" not in named
    # What conv2_1 reads of conv1_1 is whole, what it makes is not.
    made = named["conv2_1/kernel"].any((0, 1, 2))
    assert named["conv2_1/kernel"][..., made].all() and 0 < made.sum() < 6


@pytest.mark.parametrize(
    "start, changes, words",
    [
        (EARLY_BIRD, {"search.sparsities": (0.5, 0.7)}, "one ticket, got 2 levels"),
        (
            EARLY_BIRD,
            {"search.sparsities": (0.5, 0.7), "retraining.arms": ("smoothing",)},
            "one ticket, got 2 levels",
        ),
        (
            FORWARD,
            {"search.levels": 2, "retraining.arms": ("smoothing",)},
            "one ticket, got 2 levels; give search.levels = 1$",
        ),
        (EARLY_BIRD, {"early_bird.watch": "neurons"}, "early_bird.watch must be one"),
        (EARLY_BIRD, {"early_bird.rule": "paper"}, "rule must be one of"),
        (EARLY_BIRD, {"early_bird.threshold": 1.1}, "got early_bird.threshold = 1.1"),
        (EARLY_BIRD, {"model.name": "mlp", "model.options": {}}, "with batch norm"),
        (EARLY_BIRD, {"search.score": "snip"}, "got search.score = 'snip'"),
        (EARLY_BIRD, {"search.scope": "layer"}, "got search.scope = 'layer'"),
        (
            EARLY_BIRD,
            {"search.exclude": ("nothing",)},
            "the layers are conv1_1, conv2_1",
        ),
        (EARLY_BIRD, {"search.exclude": ("conv",)}, "at least one layer must be"),
        (FORWARD, {"search.exclude": ("nothing",)}, "got exclude = 'nothing'"),
        (FORWARD, {"search.sparsities": (0.5,)}, r"got search.sparsities = \(0.5,\)"),
        (FORWARD, {"search.rate": 0.5}, "got search.rate = 0.5"),
        (FORWARD, {"forward.tune": 0}, "got forward.tune = 0"),
        (FORWARD, {"forward.tune_rate": -1.0}, "got forward.tune_rate = -1.0"),
        (FORWARD, {"forward.draw_at": 99}, "got draw_at = 99"),
        (FORWARD, {"forward.draw_at": -1}, "got forward.draw_at = -1"),
        (FORWARD, {"forward.gate": 2.0}, "got forward.gate = 2.0"),
        (FORWARD, {"forward.most": -1}, "got forward.most = -1"),
        (FORWARD, {"forward.number": 0}, "got forward.number = 0"),
        (FORWARD, {"forward.batch_size": 0}, "got forward.batch_size = 0"),
        (FORWARD, {"forward.check": 0}, "got forward.check = 0"),
        (FORWARD, {"forward.candidates": "x"}, "got forward.candidates"),
    ],
)
def test_what_does_not_go_together_is_refused_before_training(
    start, changes, words, tmp_path
):
    config = tiny.config({**start, **changes})
    with pytest.raises(ValueError, match=words):
        experiment.run(config, tmp_path / "run")
    assert not (tmp_path / "run" / results.CURVES).exists()


def test_a_selection_that_was_begun_in_another_network_is_refused():
    config = tiny.config(FORWARD)
    ground = plan.of(config, source_lib.load(config))
    params, state = ground.init_fn(jax.random.key(0))
    selection = ground.method.prune(ground)
    begun = selection.begin(params)
    trained = Trained(params, state, ground.method.masks(ground)(params))
    for other in (
        begun._replace(counts=begun.counts[:1]),
        begun._replace(counts=begun.counts[::-1]),
        begun._replace(layer=jnp.int32(3)),
    ):
        with pytest.raises(ValueError, match=r"layers, of \[4, 6\] channels, got"):
            next(selection.grow(jax.random.key(0), trained, other))


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


@pytest.mark.parametrize(
    "changes, known",
    [
        (EARLY_BIRD, False),
        ({**EARLY_BIRD, "early_bird.watch": "weights"}, True),
        (FORWARD, False),
    ],
)
def test_a_plan_has_no_number_of_weights_where_the_ticket_alone_says_it(changes, known):
    config = tiny.config(changes)
    (target,) = plan.of(config, source_lib.load(config)).plan.targets
    assert (target.kept is not None) == known
