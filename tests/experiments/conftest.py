"""What the tests of experiments share."""

import sys

import pytest
from commands import EXPERIMENTS


@pytest.fixture(scope="module")
def beside():
    """Lets the experiments import what lies beside them, as their commands do."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        yield
    for name in [n for n in sys.modules if n.split(".")[0] == "measures"]:
        del sys.modules[name]
