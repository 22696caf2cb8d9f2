"""Strict surroundings for every test: four CPU devices, no network, no surprises."""

import collections
import os
import pathlib
import runpy
import socket
import tempfile

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["JAX_NUM_CPU_DEVICES"] = "4"
CACHE = os.path.join(tempfile.gettempdir(), "lthjax-compilation-cache")
os.environ.setdefault("JAX_COMPILATION_CACHE_DIR", CACHE)
os.environ.setdefault("JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS", "0")
CHEAP = pathlib.Path(__file__).parents[1] / "experiments/measures/cheap.py"
runpy.run_path(str(CHEAP))["compile_so"]()

import jax  # noqa: E402
import pytest  # noqa: E402
import quick  # noqa: E402
import tiers  # noqa: E402
from jax.extend.core.primitives import conv_general_dilated_p  # noqa: E402
from jax.interpreters import mlir  # noqa: E402

from lthjax.devices import cpu_convolutions  # noqa: E402

jax.config.update("jax_numpy_rank_promotion", "raise")

TESTS = pathlib.Path(__file__).parent


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(config, items):
    """Marks what is slow, thorough or quick."""
    # A file that is named on the command line is meant, whatever the suite leaves out.
    own = "not thorough" in config.option.markexpr
    asked = {
        pathlib.Path(arg.partition("::")[0]).resolve() for arg in config.args if own
    }
    cases = collections.Counter()
    for item in items:
        place = item.path.relative_to(TESTS).as_posix()
        test = getattr(item, "originalname", item.name)
        cases[place, test] += 1
        which = place, item.name, cases[place, test]
        if tiers.named(tiers.SLOW, *which):
            item.add_marker("slow")
        whole = tiers.named(tiers.THOROUGH, *which)
        if whole and item.path not in asked:
            item.add_marker("thorough")
        if place in quick.FILES and not item.get_closest_marker("slow"):
            item.add_marker("quick")


def _refuse(self, address):
    if self.family != socket.AF_UNIX:
        raise OSError(f"tests use no network, got address = {address}")


@pytest.fixture(autouse=True)
def _no_network(monkeypatch):
    monkeypatch.setattr(socket.socket, "connect", _refuse)


@pytest.fixture
def unreadable(monkeypatch):
    """(name) -> None: from then on no folder of that name can be listed."""
    listed = os.scandir

    def forbid(name):
        def scandir(path):
            if pathlib.Path(path).name == name:
                raise PermissionError(13, "Permission denied", str(path))
            return listed(path)

        monkeypatch.setattr(os, "scandir", scandir)

    return forbid


@pytest.fixture
def strict_dtypes():
    """Strict dtype promotion, for our own tree algebra (it breaks some of optax)."""
    with jax.numpy_dtype_promotion("strict"):
        yield


@pytest.fixture
def double():
    """Arrays of float64, where a test asks for them."""
    with jax.enable_x64(True):
        yield


@pytest.fixture
def lowered():
    """The CPU's fast convolutions, for one test."""
    registry = mlir._platform_specific_lowerings["cpu"]
    before = registry[conv_general_dilated_p]
    cpu_convolutions.lower_convolutions()
    yield
    registry[conv_general_dilated_p] = before
