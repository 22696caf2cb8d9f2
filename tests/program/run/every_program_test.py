"""Every program that a run compiles lowers for a TPU and a GPU too."""

import functools

import cases
import jax
import pytest
import recipes
import tiny
from platforms import exported

from lthjax.program.run import experiment


class Watched:
    """A function of `jax.jit` that exports what it is called with, once a shape."""

    def __init__(self, jit, fun, options):
        self._own = jit(fun, **options)
        kept = {k: v for k, v in options.items() if k.startswith("static_")}
        self._other, self._seen = jit(fun, **kept), set()
        functools.update_wrapper(self, fun, updated=())

    def __call__(self, *args, **kwargs):
        leaves, tree = jax.tree.flatten((args, kwargs))
        if not any(isinstance(leaf, jax.core.Tracer) for leaf in leaves):
            key = tree, tuple(str(jax.typeof(x)) for x in leaves)
            if key not in self._seen:
                self._seen.add(key)
                exported(self._other, *args, **kwargs)
                EXPORTED.append(self.__name__)
        return self._own(*args, **kwargs)

    def __getattr__(self, name):
        return getattr(self._own, name)


EXPORTED = []


@pytest.fixture
def watched(monkeypatch):
    """Has every function that `jax.jit` is given from now on exported, too."""
    real = jax.jit

    def jit(fun=None, **options):
        if fun is None:
            return functools.partial(jit, **options)
        return Watched(real, fun, options)

    EXPORTED.clear()
    monkeypatch.setattr(jax, "jit", jit)
    return EXPORTED


@pytest.mark.parametrize("name", cases.rest_slow(list(recipes.ALL), "synflow"))
def test_every_program_of_a_run_lowers_for_a_tpu_and_a_gpu(name, watched, tmp_path):
    changes = {"seeds": (0,), "search.levels": 1, **recipes.ALL[name]}
    experiment.run(tiny.config(changes), tmp_path)
    assert len(watched) >= 4
