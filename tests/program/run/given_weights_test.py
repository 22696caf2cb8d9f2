"""A run begins with given weights: what is taken, kept and missing, or refused."""

import logging

import jax.numpy as jnp
import pytest
import tiny

from lthjax.program.build import assemble
from lthjax.program.build import source as source_lib
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout
from lthjax.saving import safetensors, tickets
from lthjax.tickets import Ticket, Trained

ALONE = {"seeds": (0,), "search.levels": 1, "train.steps": 2}


def network(classes=10, **changes):
    """Returns the params of a perceptron, of ones."""
    rows = {
        "dense1": {"kernel": jnp.ones((64, 8)), "bias": jnp.ones(8)},
        "head": {"kernel": jnp.ones((8, classes)), "bias": jnp.ones(classes)},
    }
    return {**rows, **changes}


def saved(path, params):
    tickets.save_trained(path, Trained(params, {}, {}))
    return str(path)


def test_a_run_begins_with_the_trained_network_of_a_workdir(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    source, root = tmp_path / "source", tmp_path / "root"
    for seed, scale in ((1, 1.0), (2, 2.0)):
        params = network(
            dense1={"kernel": jnp.full((64, 8), scale), "bias": jnp.ones(8)}
        )
        saved(layout.trained_path(source, "ticket", seed, 0), params)
    (source / "results.jsonl").write_text("")
    config = tiny.config({**ALONE, "model.weights": str(source), "search.levels": 0})
    experiment.run(config, root)
    first = layout.load_ticket(root, 0, 0).params  # seed 1 is the lowest there
    assert (first["dense1"]["kernel"] == 1).all() and (first["head"]["bias"] == 1).all()
    assert "4 leaves copied; 0 kept" in caplog.text
    saved(layout.trained_path(source, "ticket", 1, 0), params)
    with pytest.raises(ValueError, match="must stay what they were, .*given weights"):
        experiment.run(config, root)


def begun(tmp_path, params, **changes):
    """Returns what the chain of a seed begins with, of given weights."""
    path = saved(tmp_path / "given", params)
    config = tiny.config({**ALONE, "model.weights": path, **changes})
    parts = assemble.build(config, source_lib.load(config))
    return parts, parts.init_fn(experiment.key(0, "init"))[0]


def test_a_head_that_is_to_stay_is_drawn_and_controls_draw_all(tmp_path, caplog):
    caplog.set_level(logging.INFO)
    given = network(classes=3)
    parts, params = begun(tmp_path, given, **{"model.fresh": ("^head/",)})
    assert (params["dense1"]["kernel"] == 1).all()
    assert params["head"]["kernel"].shape == (8, 10)
    assert "2 leaves copied; 2 kept" in caplog.text
    ticket = Ticket(1, 0, 2, params, {}, parts.masks_fn(params))
    drawn = parts.control("reinit", experiment.key(0, "reinit"), ticket)
    assert not (drawn.params["dense1"]["kernel"] == 1).any()


def test_what_is_missing_is_drawn_and_said(tmp_path, caplog):
    given = {"dense1": network()["dense1"], "tail": {"bias": jnp.ones(2)}}
    caplog.set_level(logging.INFO)
    _, params = begun(tmp_path, given)
    assert not (params["head"]["kernel"] == 1).all()
    assert "not in the source: head/kernel, head/bias" in caplog.text.replace(
        "head/bias, head/kernel", "head/kernel, head/bias"
    )
    assert "not taken over: tail/bias" in caplog.text
    assert "drawn at random, as they are not given: head/" in caplog.text


@pytest.mark.parametrize(
    "params, message",
    [
        (network(classes=3), r"head/bias \[3\] for \[10\].* in model.fresh"),
        ({"body": {"kernel": jnp.ones(2)}}, "some of the network's names, got .*body/"),
        (
            network(head={"bias": jnp.full(10, jnp.nan)}),
            "must be finite, got head/bias",
        ),
    ],
)
def test_weights_that_do_not_fit_are_refused_before_training(params, message, tmp_path):
    path = saved(tmp_path / "given", params)
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config({"model.weights": path}))


def test_coefficients_of_another_basis_are_no_weights(tmp_path):
    config = tiny.config({**ALONE, "search.basis": (("kernel$", "dct_channel"),)})
    _, _, ground = check.check(config)
    params, state = ground.init_fn(experiment.key(0, "init"))
    path = tmp_path / "given.safetensors"
    own = Trained(params, state, ground.method.masks(ground)(params))
    safetensors.write(path, own, arm="ticket", level=0, seed=0, config={})
    with pytest.raises(ValueError, match="coefficients .* lthjax.export"):
        check.check(tiny.config({"model.weights": str(path)}))


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"model.weights": "nowhere"}, "a safetensors file, .* got .* 'nowhere'"),
        ({"model.fresh": ("^head/",)}, "model.fresh names what is not taken"),
        ({"model.fresh": ("(",)}, "must hold regular expressions"),
    ],
)
def test_what_is_no_network_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))


def test_a_workdir_without_its_dense_network_says_how_to_keep_it(tmp_path):
    (tmp_path / "results.jsonl").write_text("")
    with pytest.raises(ValueError, match="kept its trained dense network, .*studies"):
        check.check(tiny.config({"model.weights": str(tmp_path)}))
