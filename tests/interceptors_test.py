"""What watches the calls of a network sees no others, under `python -O` too."""

import subprocess
import sys

import jax
import jax.numpy as jnp
import pytest
from flax import linen as nn

from lthjax.interceptors import intercepted

LEFT = """
import jax
from flax import linen as nn
from flax.linen import module
from lthjax.interceptors import intercepted
from lthjax.pruning import views

def init(key):
    return nn.Dense(3).init(key, jax.numpy.ones((1, 2)))["params"]

key = jax.random.key(0)
print(views.of(init, key)["kernel"].inputs)
print(sorted(jax.tree.map(jax.numpy.shape, init(key)).items()))
with intercepted(lambda call, args, options, context: call(*args, **options)):
    init(key)
print(len(module._global_interceptor_stack), __debug__)
"""


def test_nothing_is_left_where_python_leaves_asserts_out():
    command = [sys.executable, "-O", "-c", LEFT]
    found = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    weights = "[('bias', (3,)), ('kernel', (2, 3))]"
    assert found.splitlines() == ["(0,)", weights, "0 False"]


def test_one_interceptor_within_itself_sees_a_call_twice_and_then_once_and_none():
    calls, layer, x = [], nn.Dense(3), jnp.ones((1, 2))
    params = layer.init(jax.random.key(0), x)

    def count(call, args, options, context):
        calls.append(context.method_name)
        return call(*args, **options)

    def called():
        before = len(calls)
        layer.apply(params, x)
        return calls[before:].count("__call__")

    with intercepted(count):
        with intercepted(count):
            assert called() == 2
        assert called() == 1
        with pytest.raises(KeyError), intercepted(count):
            raise KeyError
        assert called() == 1
    assert called() == 0
