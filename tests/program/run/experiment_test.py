"""The loop, end to end on tiny runs: what is trained, kept and recorded."""

import functools
import itertools
import json
import logging

import jax
import numpy as np
import pytest
import tiny
from cases import rest_slow
from flax import linen as nn

from lthjax.program.build import assemble
from lthjax.program.run import experiment
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks as masks_lib
from lthjax.saving.tickets import load as load_ticket
from lthjax.training import steps

pytestmark = pytest.mark.usefixtures("compiled_once")

KEYS = "level seed arm sparsity kept prunable train_loss validation_accuracy"
KEYS += " test_accuracy steps seconds best_step best_validation_accuracy"
KEYS += " best_test_accuracy layers collapsed"
WEIGHTS = {"dense1/kernel": 64 * 8, "head/kernel": 8 * 10}
TOTAL = sum(WEIGHTS.values())


@pytest.fixture(scope="module")
def full(tmp_path_factory):
    """A run of three levels with late rewinding and every control."""
    root = tmp_path_factory.mktemp("full")
    changes = {"search.rewind_to": 1, "search.levels": 3, "controls": tiny.ALL}
    config = tiny.config({**changes, "logging.tensorboard": True})
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(assemble, "build", tiny.build)
        experiment.run(config, root)
    return config, root


def test_there_is_a_record_for_every_level_seed_and_arm(full):
    config, root = full
    rows = tiny.records(root)
    expected = {(0, seed, "ticket") for seed in config.seeds}
    for level in range(1, config.search.levels + 1):
        arms = ("ticket", *config.controls)
        expected |= {(level, seed, arm) for seed in config.seeds for arm in arms}
    assert rows.keys() == expected
    parts = {(*row, 1) for row in expected} | {
        (0, s, "ticket", 0) for s in config.seeds
    }
    assert tiny.curves(root).keys() == parts
    for row in results.read(root / results.RESULTS):
        assert set(KEYS.split()) <= row.keys()
        assert row["seconds"] >= 0


def test_what_is_kept_is_exact_in_records_tickets_and_layers(full):
    config, root = full
    for (level, seed, _), row in tiny.records(root).items():
        kept = round(TOTAL * 0.8**level)
        assert (row["kept"], row["prunable"]) == (kept, TOTAL)
        assert row["sparsity"] == (TOTAL - kept) / TOTAL
        in_layers = sum(share * WEIGHTS[name] for name, share in row["layers"].items())
        assert round(in_layers) == kept
        ticket = load_ticket(layout.ticket_path(root, seed, level))
        assert masks_lib.count(ticket.masks) == (kept, TOTAL)


def test_a_level_trains_from_the_rewind_step_on_the_weights_of_it(full):
    config, root = full
    rows = tiny.records(root)
    for seed in config.seeds:
        first, *later = (
            load_ticket(layout.ticket_path(root, seed, level)) for level in range(4)
        )
        assert (first.level, first.step, first.until) == (0, 0, 1)
        moved = jax.tree.map(np.array_equal, later[0].params, first.params)
        assert not all(jax.tree.leaves(moved))
        for level, ticket in enumerate(later, start=1):
            assert (ticket.level, ticket.step, ticket.until) == (level, 1, 4)
            same = jax.tree.map(np.array_equal, ticket.params, later[0].params)
            assert all(jax.tree.leaves(same))
            assert rows[level, seed, "reinit"]["steps"] == 3


def test_the_curve_ends_in_the_record_and_its_best_is_there_too(full):
    _, root = full
    curves = tiny.curves(root)
    for identity, row in tiny.records(root).items():
        parts = [curves[(*identity, 0)]] if row["level"] == 0 else []
        parts.append(curves[(*identity, 1)])
        curve = {n: sum((c[n] for c in parts), []) for n in ("step", *steps.COLUMNS)}
        # Dense, the network trains to the rewind step first, and is validated there.
        assert curve["step"] == ([3, 4] if row["level"] else [1, 3, 4])
        assert row["steps"] == (3 if row["level"] else 4)
        for name in steps.COLUMNS:
            assert row[name] == curve[name][-1]
        best = curve["validation_accuracy"].index(max(curve["validation_accuracy"]))
        assert row["best_step"] == curve["step"][best]
        assert row["best_test_accuracy"] == curve["test_accuracy"][best]


def test_each_training_is_a_sub_run_of_tensorboard_with_its_hyperparameters(full):
    _, root = full
    for level, seed, arm in tiny.records(root):
        folder = root / "tensorboard" / arm / f"seed_{seed}" / f"level_{level:02d}"
        data = b"".join(path.read_bytes() for path in folder.iterdir())
        for tag in (b"validation_accuracy", b"end/test_accuracy", b"hparams"):
            assert tag in data


def test_a_finished_run_leaves_nothing_half_written(full):
    _, root = full
    names = {path.name for path in root.iterdir()} - {".lock"}
    assert names == {
        *("config.json", "results.jsonl", "curves.jsonl", "results.csv", "curve.png"),
        *(
            "layers.png",
            "tickets",
            "search",
            "tensorboard",
            "classes.json",
            "costs.json",
            "run.json",
        ),
        *("report.html", "sittings.jsonl"),
    }
    # Classes in turn: 48 images less 16, and 16 each for validation and test.
    counted = json.loads((root / "classes.json").read_text())
    assert counted["images"]["train"] == [3, 3, 3, 3, 3, 3, 4, 4, 3, 3]
    assert counted["majority"]["test"] == 2 / 16
    assert not [path for path in root.rglob("*") if "tmp" in path.name]


TRACES = []


class Traced(nn.Module):
    """Notes every time that a step on a batch is traced, for a compilation."""

    num_classes: int

    @nn.compact
    def __call__(self, images, train=False):
        """Returns the logits."""
        if train and len(images) == 12:
            TRACES.append(images.shape)
        return nn.Dense(self.num_classes)(images.reshape(len(images), -1))


def test_levels_and_late_rewinding_compile_nothing_and_controls_once(tmp_path):
    changes = {"model.name": f"{__name__}:Traced", "model.options": {}}
    config = tiny.config({**changes, "search.rewind_to": 1, "search.levels": 0})
    experiment.run(config, tmp_path / "dense")
    once = len(TRACES)
    assert once > 0
    experiment.run(tiny.changed(config, {"search.levels": 3}), tmp_path / "levels")
    assert len(TRACES) == once
    more = {"search.levels": 3, "controls": ("shuffle",)}
    experiment.run(tiny.changed(config, more), tmp_path / "controls")
    assert len(TRACES) == 2 * once


RATES = {"search.layer_rates": (("head", 0.1),), "search.rate": 0.2}
LISTED = {"search.sparsities": (0.25, 0.5, 0.905)}
AT_THOSE = [round(TOTAL * 0.75), TOTAL // 2, round(TOTAL * (1 - 0.905))]


def by_layer(level, shares):
    """Returns what a level keeps of each layer, of which each level keeps a share."""
    rows = zip(WEIGHTS.values(), shares, strict=True)
    return [round(size * share**level) for size, share in rows]


@pytest.mark.parametrize(
    "changes, kept",
    rest_slow(
        [
            (RATES, [by_layer(level, (0.8, 0.9)) for level in (1, 2)]),
            (
                {"search.scope": "layer"},
                [by_layer(level, (0.8, 0.8)) for level in (1, 2)],
            ),
            (LISTED, AT_THOSE),
            ({**LISTED, "search.method": "one_shot"}, AT_THOSE),
            (
                {"search.score": "random", "search.exclude": ("head",)},
                [round(WEIGHTS["dense1/kernel"] * 0.8**level) for level in (1, 2)],
            ),
        ],
        (RATES, [by_layer(level, (0.8, 0.9)) for level in (1, 2)]),
    ),
)
def test_every_way_to_say_how_much_keeps_exactly_that(tmp_path, changes, kept):
    config = tiny.config({"seeds": (0,), **changes})
    experiment.run(config, tmp_path)
    rows = tiny.records(tmp_path)
    for level, expected in enumerate(kept, start=1):
        row = rows[level, 0, "ticket"]
        if isinstance(expected, list):
            shares = dict(zip(WEIGHTS, expected, strict=True))
            expected = sum(expected)
            assert row["layers"] == {n: k / WEIGHTS[n] for n, k in shares.items()}
        assert row["kept"] == expected


@pytest.mark.parametrize(
    "restart, step, until",
    rest_slow(
        [("learning_rate", 1, 4), ("fine_tune", 4, 7), ("continue", 0, 4)],
        ("fine_tune", 4, 7),
    ),
)
def test_every_restart_trains_over_its_steps(tmp_path, restart, step, until):
    changes = {"search.restart": restart, "search.rewind_to": 1, "seeds": (0,)}
    experiment.run(tiny.config({**changes, "controls": ("random",)}), tmp_path)
    for (level, seed, _), row in tiny.records(tmp_path).items():
        ticket = load_ticket(layout.ticket_path(tmp_path, seed, level))
        span = (step, until) if level else (0, 4)
        assert (ticket.step, ticket.until) == span
        assert row["steps"] == span[1] - span[0]


@pytest.mark.parametrize("changes", rest_slow([{}, tiny.CONV], {}))
def test_a_population_equals_its_members_run_alone(tmp_path, changes):
    together = tiny.config({**changes, "search.levels": 1})
    experiment.run(together, tmp_path / "both")
    alone = functools.partial(tiny.changed, together)
    for seed in (0, 1):
        experiment.run(alone({"seeds": (seed,)}), tmp_path / str(seed))
    both = tiny.outcome(tmp_path / "both")
    one, other = (tiny.outcome(tmp_path / str(seed)) for seed in (0, 1))
    separate = [a | b for a, b in zip(one, other, strict=True)]
    assert both[2] == separate[2]  # the tickets, bit for bit
    for found, expected in zip(both[:2], separate[:2], strict=True):
        assert found.keys() == expected.keys()
        for identity, name in itertools.product(found, steps.COLUMNS):
            # On a CPU the convolutional ones are mapped one by one: equal bits.
            np.testing.assert_allclose(
                found[identity][name],
                expected[identity][name],
                rtol=0 if changes else 1e-4,
            )


def test_a_layer_that_collapses_is_warned_of_and_recorded(tmp_path, caplog):
    rates = (("head", 0.999),)
    config = tiny.config({"search.layer_rates": rates, "search.levels": 1})
    caplog.set_level(logging.WARNING)
    experiment.run(config, tmp_path)
    assert "no weight of head/kernel is left at level 1 (seed 1)" in caplog.text
    rows = tiny.records(tmp_path)
    assert rows[1, 0, "ticket"]["collapsed"] == ["head/kernel"]
    assert rows[0, 0, "ticket"]["collapsed"] == []


def test_the_config_is_kept_as_json(full):
    config, root = full
    saved = json.loads((root / layout.CONFIG).read_text())
    assert saved["search"]["rewind_to"] == 1
    assert saved["controls"] == list(config.controls)
