"""Versions of packages, and what stands where there is none."""

import jax

from lthjax import packages


def test_a_package_has_its_version_and_an_absent_one_says_so():
    assert packages.version("jax") == jax.__version__
    assert packages.version("no-package-of-this-name") == "not installed"
    assert packages.version("no-package-of-this-name", absent="") == ""
