"""The kinds of gates, by the choices that they have."""

import pytest

from lthjax.gates import families


def test_unknown_choices_are_refused():
    with pytest.raises(ValueError, match="sigmoid, identity, got gradient = 'one'"):
        families.stochastic(gradient="one")
    with pytest.raises(ValueError, match="threshold, sample, got output = 'mean'"):
        families.stochastic(output="mean")
