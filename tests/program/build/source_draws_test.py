"""What is taken over from another run draws its dropout as the seed that takes it."""

import numpy as np
import pytest
import tiny

from lthjax.program.build import by_elastic, by_transplant, parts
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib

DROPPING = {"model.name": "own_networks:Dropping", "model.options": {}}
DROPPING |= {"search.levels": 1, "studies": ("signs",)}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, {**DROPPING, "seeds": (0,)})[1]


@pytest.mark.parametrize(
    ("method", "changes"),
    [
        ("elastic", {"elastic.unit": r"dense(\d+)_(\d+)"}),
        ("transplant", {"transplant.way": "task", "transplant.heads": ("^head/",)}),
        ("transplant", {"transplant.way": "rewound"}),
    ],
)
def test_a_seed_draws_as_itself_whatever_it_takes_over(source, method, changes):
    given = {f"{method}.source": str(source), f"{method}.seed": 0}
    config = tiny.config({**DROPPING, "search.method": method, **given, **changes})
    ground = plan_lib.of(config, source_lib.load(config))
    for seed in config.seeds:
        if method == "elastic":
            found = by_elastic.ticket(ground, by_elastic.way(ground), seed, 1)
        else:
            found = by_transplant.ticket(ground, seed, 1)
        wanted = ground.init_fn(parts.key(seed, "init"))[1]["draws"]["key"]
        np.testing.assert_array_equal(found.model_state["draws"]["key"], wanted)


def test_dropout_is_no_reason_to_refuse_a_source_without(tmp_path_factory):
    plain = {**DROPPING, "model.name": "own_networks:Plain", "seeds": (0,)}
    root = tiny.uninterrupted(tmp_path_factory, plain)[1]
    given = {"search.method": "transplant", "transplant.source": str(root)}
    config = tiny.config({**DROPPING, **given, "transplant.way": "rewound"})
    ground = plan_lib.of(config, source_lib.load(config))
    assert "draws" in by_transplant.ticket(ground, 0, 1).model_state
