"""How long programs take, in turns."""

import numpy as np
import pytest

from lthjax.devices import measure


def test_what_is_repeated_is_called_once_a_step_with_what_it_is_given():
    calls = []
    run = measure.repeated(lambda *args: calls.append(args) or np.ones(2), 1, "a")
    assert not calls
    assert run(3) > 0
    assert calls == [(1, "a")] * 3


@pytest.mark.parametrize("rounds", [1, 3])
def test_every_contender_has_a_turn_in_every_round(rounds):
    # A step of the one takes two seconds, of the other a half.
    runs = {"slow": lambda steps: 2.0 * steps, "fast": lambda steps: 0.5 * steps}
    taken = measure.in_turns(runs, rounds, 4.0)
    assert {name: x.tolist() for name, x in taken.items()} == {
        "slow": [2.0] * rounds,
        "fast": [0.5] * rounds,
    }
