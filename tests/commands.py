"""An experiment as a module, imported as its command does it."""

import importlib.util

import pytest
from paths import ROOT

EXPERIMENTS = ROOT / "experiments"


def loaded(name):
    """Returns the module of an experiment; what lies beside it can be imported."""
    spec = importlib.util.spec_from_file_location(name, EXPERIMENTS / f"{name}.py")
    module = importlib.util.module_from_spec(spec)
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        spec.loader.exec_module(module)
    return module
