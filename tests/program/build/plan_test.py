"""The numbers of a run: what it keeps on the disk."""

import pytest
import tiny

from lthjax.data import facts
from lthjax.program.build import assemble, plan

SGD = {"optimizer.name": "sgd", "optimizer.momentum": 0.0}
MOMENTUM = {"optimizer.name": "sgd", "optimizer.momentum": 0.9}


def needed(changes):
    """Returns the bound of what a run of 2.5 million weights keeps."""
    wide = {"model.options": {"hidden": (32_768,)}, "data.options": {"train": 48}}
    found = plan.ground(tiny.config(wide | changes), facts.FACTS["digits"], 48)
    tx = assemble.check(found)
    held = plan.held(found, tx)
    return plan.bytes_to_write(found.plan, plan.options(found), held)


@pytest.mark.parametrize(
    ("changes", "trees"),
    [
        (MOMENTUM, 1),
        ({"optimizer.name": "adam"}, 2),
        ({"search.method": "continuous", "search.gates.period": 1, **MOMENTUM}, 3),
        ({"search.method": "admm", "search.admm.steps": 2, **MOMENTUM}, 3),
    ],
)
def test_two_checkpoints_of_every_tree_of_the_optimizer_are_counted(changes, trees):
    weights = 32_768 * (64 + 1 + 10) + 10
    more = needed(changes) - needed(SGD)
    members, copies = 2, 2
    assert more == pytest.approx(4 * weights * members * copies * trees, rel=0.02)
