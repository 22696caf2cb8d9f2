"""Steps and scores lower for a TPU and a GPU, with no call that only a CPU has."""

import dataclasses
import re

import cases
import jax
import pytest
import tiny
from jax.extend.core.primitives import conv_general_dilated_p
from jax.interpreters import mlir
from platforms import exported

from lthjax.devices import backend, cpu_convolutions
from lthjax.program.build import criterion, methods
from lthjax.program.run import check, target_step
from lthjax.tickets import Trained


def bare(tree):
    """Returns shapes that lie nowhere."""
    return jax.tree.map(lambda x: jax.ShapeDtypeStruct(x.shape, x.dtype), tree)


def step(changes, platform="tpu", **kind):
    """Returns the one step of a run of seconds, and its shapes."""
    config = methods.shrunk(tiny.config({"seeds": (0,), **changes}))
    facts, held_out, ground = check.check(config)
    with backend.aimed(platform, jax.devices()[:1]):
        found = target_step.of(config, facts, held_out, ground.plan, **kind)
    return found.program, bare(found.shapes)


RESNET = {"model.name": "resnet8", "model.options": {}, "model.width": 0.25}
OTHER = {"forward": RESNET, "wirings": {"search.scope": "layer"}}
OTHER["soft_threshold"] = {"search.gates.initial": (-5.0,)}
# Not shrunk to what runs as it is; elastic needs the folder of another run.
LEFT_OUT = ("slimming", "early_bird", "elastic", "transplant")
METHODS = [name for name in methods.METHODS if name not in LEFT_OUT]


@pytest.mark.parametrize(
    "method", cases.rest_slow(METHODS, "iterative", "rigl", "continuous")
)
def test_a_step_of_every_method(method):
    program, shapes = step({"search.method": method, **OTHER.get(method, {})})
    assert re.search(
        r"stablehlo\.(dot_general|convolution)", exported(program, *shapes)
    )


ROUNDS = ("continuous", "continued", "l0", "soft_threshold", "stochastic")


@pytest.mark.parametrize("method", cases.rest_slow(ROUNDS, "continuous"))
def test_a_round_of_a_search_has_all_that_it_trains(method):
    changes = {"search.method": method, "controls": (), **OTHER.get(method, {})}
    (program, round_), (_, ticket) = (
        step(changes, searching=searching) for searching in (True, False)
    )
    assert "dot_general" in exported(program, *round_)
    held = [sum(x.size for x in jax.tree.leaves(own[0])) for own in (round_, ticket)]
    assert (held[0] > held[1]) == (method != "continued")  # gates, beside weights


def test_what_a_cpu_needs_of_convolutions_reaches_no_other_platform(
    lowered, monkeypatch
):
    rules = mlir._platform_specific_lowerings["cpu"]
    assert rules[conv_general_dilated_p].rule.func is cpu_convolutions._lower

    def refuse(*args, **params):
        raise AssertionError("a rule of the CPU was asked")

    entry = dataclasses.replace(rules[conv_general_dilated_p], rule=refuse)
    program, shapes = step({**RESNET, "seeds": (0, 1)})
    monkeypatch.setitem(rules, conv_general_dilated_p, entry)
    text = exported(program, *shapes)
    assert "stablehlo.convolution" in text


@pytest.mark.parametrize(
    "score", cases.rest_slow(sorted(criterion.SCORES), "magnitude", "synflow")
)
def test_scoring_by_every_score(score):
    config = tiny.config({"search.score": score})
    _, _, ground = check.check(config)
    scored = criterion.scorer(ground)

    def whole(key, images, labels):
        params, model_state = ground.init_fn(key)
        masks = ground.method.masks(ground)(params)
        trained = Trained(params, model_state, masks)
        return scored(key, trained, masks, (images[None], labels[None]))

    images = jax.ShapeDtypeStruct((6, *ground.facts.image_shape), "float32")
    labels = jax.ShapeDtypeStruct((6,), "int32")
    exported(jax.jit(whole), jax.eval_shape(jax.random.key, 0), images, labels)
