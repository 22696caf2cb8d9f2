"""Rounds of ADMM through the program: exact counts, starts, bits after a cut."""

import pytest
import tiny
from trees import same

from lthjax.program.build import assemble
from lthjax.program.run import experiment, population
from lthjax.program.workdir import layout
from lthjax.pruning import masks as masks_lib

pytestmark = pytest.mark.usefixtures("compiled_once")

CHANGES = {
    "search.method": "admm",
    "search.admm.steps": 2,
    "search.admm.rho": 0.1,
    "search.admm.last": 1.0,
    "search.sparsities": (0.2, 0.5),
    "search.rewind_to": 1,
}
TOTAL = 64 * 8 + 8 * 10


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, CHANGES)


def test_every_level_is_a_round_and_a_ticket_of_exactly_so_many_weights(whole):
    config, root = whole
    found = tiny.records(root)
    arms = {
        (n, s, a) for n in (1, 2) for s in config.seeds for a in ("search", "ticket")
    }
    assert found.keys() == {(0, s, "ticket") for s in config.seeds} | arms
    for (level, seed, arm), row in found.items():
        kept = round(TOTAL * (1, 0.8, 0.5)[level])
        assert row["kept"] == kept
        assert ("residual" in row) == ("hard_test_accuracy" in row) == (arm == "search")
        assert row["steps"] == (3 if arm == "ticket" and level else 4)
        ticket = layout.load_ticket(root, seed, level)
        assert int(masks_lib.count(ticket.masks)[0]) == kept
    # At a pull of 1, weights end closer to their copy than those of the start were.
    assert all(0 < r["residual"] < 0.5 for k, r in found.items() if k[2] == "search")


def test_tickets_rewind_to_the_dense_training(whole):
    config, root = whole
    for seed in config.seeds:
        one, other = (layout.load_ticket(root, seed, level) for level in (1, 2))
        assert one[1:3] == other[1:3] == (1, 4)
        assert same(one.params, other.params)
        assert not same(one.params, layout.load_ticket(root, seed, 0).params)


def test_levels_do_not_build_on_one_another(whole, tmp_path):
    _, root = whole
    alone = {**CHANGES, "search.sparsities": (0.5,), "seeds": (0, 1)}
    experiment.run(tiny.config(alone), tmp_path)
    for seed in (0, 1):
        found = layout.load_ticket(tmp_path, seed, 1)
        assert same(found.masks, layout.load_ticket(root, seed, 2).masks)
    key = (1, 0, "search")
    assert (
        tiny.records(tmp_path)[key]["residual"]
        == (tiny.records(root)[2, 0, "search"]["residual"])
    )


class Killed(BaseException):
    """What no `except Exception` catches."""


def test_cut_in_a_round_it_ends_with_the_same_bits(whole, tmp_path, monkeypatch):
    config, root = whole
    save = population.save

    def deadly(folder, own):
        save(folder, own)
        if own.ticket.searching and 0 < own.at < 4:
            raise Killed

    with monkeypatch.context() as patch:
        patch.setattr(assemble, "build", tiny.build)
        patch.setattr(population, "save", deadly)
        with pytest.raises(Killed):
            experiment.run(config, tmp_path)
    with monkeypatch.context() as patch:
        patch.setattr(assemble, "build", tiny.build)
        experiment.run(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"search.admm.steps": 5}, "a step for each update, got updates = 5 in steps"),
        ({"search.admm.rho": 0.0}, "search.admm.rho must be in"),
        ({"search.restart": "continue"}, "restart must be one of weights, learning"),
        (
            {"search.score": "snip"},
            "search.score is not read by search.method = 'admm'",
        ),
    ],
)
def test_what_does_not_go_is_refused_before_anything_is_trained(
    changes, message, tmp_path
):
    with pytest.raises(ValueError, match=message):
        experiment.run(tiny.config(CHANGES | changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()
