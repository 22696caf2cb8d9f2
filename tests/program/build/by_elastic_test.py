"""Elastic tickets in the program: another run's tickets, at another depth."""

import itertools
import shutil

import jax
import jax.numpy as jnp
import numpy as np
import pytest
import tiny

from lthjax.program.build import by_elastic
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.run import check, dry_run, experiment
from lthjax.program.workdir import layout, results
from lthjax.pruning import masks as masks_lib

CONTROLS = ("reinit", "shuffle", "random", "shuffle_reinit", "copies")
SHALLOW = {"model.options": {"hidden": (8, 8)}, "search.rewind_to": 1}


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, SHALLOW)[1]


def deep(source, **changes):
    return tiny.config(
        {
            "model.options": {"hidden": (8, 8, 8)},
            "search.method": "elastic",
            "elastic.source": str(source),
            "controls": CONTROLS,
            **changes,
        }
    )


@pytest.fixture(scope="module")
def whole(source, tmp_path_factory):
    root = tmp_path_factory.mktemp("deep")
    return root, experiment.run(deep(source), root)


@pytest.mark.parametrize("seed", [0, 1])
@pytest.mark.parametrize("level", [1, 2])
def test_every_level_is_the_sources_ticket_with_its_layer_copied(
    whole, source, seed, level
):
    root, rows = whole
    own, there = (layout.load_ticket(r, seed, level) for r in (root, source))
    assert (own.step, own.until) == (1, 4)
    pairs = [(own.params, there.params), (own.masks, there.masks)]
    for (tree, other), name in itertools.product(pairs, ("dense3", "dense2")):
        np.testing.assert_array_equal(tree[name]["kernel"], other["dense2"]["kernel"])
    kept, prunable = masks_lib.count(own.masks)
    found = {(r["seed"], r["level"], r["arm"]): r for r in rows}
    row = found[seed, level, "ticket"]
    assert (row["kept"], row["prunable"]) == (int(kept), prunable)
    arms = {row["arm"] for row in rows if row["level"] == level}
    assert arms == {"ticket", *CONTROLS}


def test_controls_differ_from_the_ticket_where_they_say(whole, source):
    root, _ = whole
    ground = plan_lib.of(deep(source), source_lib.load(deep(source)))
    ticket = layout.load_ticket(root, 0, 1)
    control = by_elastic.controls(ground)["copies"]
    found = control(jax.random.key(3), ticket, ground.init_fn)
    same = {
        name: jnp.array_equal(found.masks[name]["kernel"], ticket.masks[name]["kernel"])
        for name in ticket.masks
    }
    assert same == {"dense1": True, "dense2": True, "dense3": False, "head": True}
    assert masks_lib.layers(found.masks) == masks_lib.layers(ticket.masks)


def test_a_run_goes_on_where_it_stood(whole, source, tmp_path):
    root, _ = whole
    experiment.run(deep(source, **{"search.levels": 1}), tmp_path)
    experiment.run(deep(source), tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_a_run_goes_on_with_the_tickets_of_its_source_alone(tmp_path):
    source, root = tmp_path / "source", tmp_path / "run"
    experiment.run(tiny.config(SHALLOW), source)
    changes = {"search.levels": 1, "controls": ()}
    experiment.run(deep(source, **changes), root)
    shutil.rmtree(source)
    other = {**SHALLOW, "optimizer.learning_rate": 0.05}
    experiment.run(tiny.config(other), source)
    with pytest.raises(ValueError, match="with other source level 1 of seed 1"):
        experiment.run(deep(source, **{**changes, "seeds": (1,)}), root)
    with pytest.raises(ValueError, match="with other source level 1 of seed 0, source"):
        experiment.run(deep(source, **{**changes, "search.levels": 2}), root)


def test_a_source_of_other_data_is_told(source, caplog):
    for options, told in (({"train": 48, "test": 16}, 0), ({"train": 56}, 1)):
        config = deep(source, **{"data.options": {"test": 16, **options}})
        ground = plan_lib.of(config, source_lib.load(config))
        by_elastic.search(ground, None, None)
        sentences = [text for text in caplog.messages if "one set of data" in text]
        assert len(sentences) == told
    assert f"got elastic.source = {str(source)!r}, which was trained" in sentences[0]
    assert "train size (32, now 40)" in sentences[0]


def test_a_sparsity_is_matched_and_a_seed_may_be_named(source):
    config = deep(source, **{"elastic.match": True, "elastic.seed": 1})
    ground = plan_lib.of(config, source_lib.load(config))
    found = by_elastic.ticket(ground, by_elastic.way(ground), 0, 2)
    kept, prunable = map(int, masks_lib.count(found.masks))
    own = layout.load_ticket(source, 1, 2)
    there = tuple(map(int, masks_lib.count(own.masks)))
    assert kept == round(prunable * there[0] / there[1])
    np.testing.assert_array_equal(
        found.params["head"]["kernel"], own.params["head"]["kernel"]
    )


def test_levels_of_the_source_may_be_named(source, tmp_path):
    config = deep(source, **{"elastic.levels": (2,), "controls": (), "seeds": (1,)})
    rows = experiment.run(config, tmp_path)
    assert [row.get("source_level") for row in rows] == [None, 2]
    assert rows[1]["source_seed"] == 1
    assert layout.ticket_path(tmp_path, 1, 1).exists()


def test_it_is_planned_without_numbers_that_only_the_tickets_know(source, capsys):
    dry_run.show(deep(source))
    assert "learnt" in capsys.readouterr().out


def test_a_network_of_ones_own_goes_by_an_expression(source):
    config = deep(source, **{"elastic.unit": r"dense()(\d+)"})
    with pytest.raises(ValueError, match="two groups that are whole numbers"):
        check.check(config)
    with pytest.raises(ValueError, match="elastic.unit must hold regular expressions"):
        check.check(deep(source, **{"elastic.unit": "("}))
    config = deep(source, **{"elastic.unit": r"dense(?=(\d))(\d)"})
    with pytest.raises(ValueError, match="equally many stages"):
        check.check(config)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"elastic.source": ""}, "workdir of a run .* got elastic.source = ''"),
        ({"elastic.source": "nowhere"}, "which holds no results.jsonl"),
        ({"search.levels": 3}, "no level 3 of seed 0 in .*; give elastic.levels"),
        ({"seeds": (0, 7)}, "no level 1 of seed 7 in"),
        ({"elastic.levels": (1, 9)}, "no level 9 of seed 0 in"),
        ({"search.levels": 0}, "must take a ticket, got search.levels = 0 and el"),
        ({"elastic.levels": (1, 1)}, "elastic.levels must all be different"),
        ({"elastic.order": "interval"}, "nowhere deeper, got 2 blocks for 3"),
        ({"elastic.order": "sideways"}, "must be one of append"),
        ({"elastic.map": "0:0;1:1|0:0"}, "one part for each of the 1 stages"),
        ({"elastic.map": "0:0;1:1"}, "each of the blocks 0 to 2"),
        ({"model.name": "lenet5", "model.options": {}}, "LeNet|at least 16x16"),
        ({"model.options": {"hidden": (9, 9, 9)}}, r"must fit the network .* 'dense1"),
        ({"search.exclude": ("head",)}, "never pruned must be the same .* head/kernel"),
        ({"train.steps": 1}, "from before the last step, got a ticket of step 1"),
        ({"search.rate": 0.3}, "search.rate is not read by"),
        ({"search.method": "iterative"}, "elastic.source is not read by"),
        ({"controls": ("copy",)}, "controls must be among .* did you mean 'copies'"),
    ],
)
def test_what_cannot_be_carried_over_is_refused_before_training(
    changes, message, source
):
    with pytest.raises(ValueError, match=message):
        check.check(deep(source, **changes))


def test_a_source_that_names_foreign_code_runs_none(source, tmp_path):
    root = tmp_path / "foreign"
    root.mkdir()
    (root / results.RESULTS).write_bytes((source / results.RESULTS).read_bytes())
    text = (source / layout.CONFIG).read_text()
    (root / layout.CONFIG).write_text(text.replace('"mlp"', '"os:system"'))
    (root / "tickets").symlink_to(source / "tickets")
    with pytest.raises(ValueError, match="must name built-in parts only"):
        check.check(deep(root))
