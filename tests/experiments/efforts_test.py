"""The comparison of searches by effort, on a few records."""

import sys
import types

import pytest
from paths import ROOT

from lthjax.program.build import unread

EXPERIMENTS = ROOT / "experiments"


@pytest.fixture(scope="module")
def paper():
    """The experiment and its tables, imported as its command does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        import savarese2020  # noqa: PLC0415

        yield savarese2020
    for name in [n for n in sys.modules if n.startswith(("savarese2020", "measures"))]:
        del sys.modules[name]


def row(level, arm, kept, accuracy, **more):
    numbers = {"steps": 10, "seconds": 1.0, "seed": 0, "prunable": 100}
    head = {"level": level, "arm": arm, "kept": kept, "validation_accuracy": accuracy}
    head |= {"test_accuracy": accuracy - 0.1, "sparsity": 1 - kept / 100}
    return numbers | head | more


GATES = {"hard_test_accuracy": 0.5, "undecided": 0.0}
ROUNDS = [
    row(0, "ticket", 100, 0.90),
    row(1, "search", 40, 0.89, **GATES),
    row(1, "ticket", 40, 0.95),
    row(2, "search", 10, 0.88, **GATES),
    row(2, "ticket", 10, 0.90),
]
LEVELS = [row(n, "ticket", 100 - 20 * n, 0.9 - 0.01 * n) for n in range(3)]
LOST = [row(0, "ticket", 100, 0.9), row(1, "search", 0, 0.1, **GATES)]


def test_a_ticket_costs_the_trainings_before_it_and_its_own(paper):
    def costs(method, rows):
        found = paper.efforts.points(method, rows)
        return [(p["left"], p["rounds"], p["steps"]) for p in found]

    # A round and its ticket; two rounds and a ticket.
    assert costs("IMP continued", ROUNDS) == [([40], [1], [20]), ([10], [2], [30])]
    # Every level below, the dense network the first of them.
    assert costs("IMP", LEVELS) == [([80], [1], [20]), ([60], [2], [30])]
    assert costs("one-shot magnitude", LEVELS) == [([80], [1], [20]), ([60], [1], [20])]
    assert costs("gradual magnitude", LEVELS) == [([80], [0], [10]), ([60], [0], [10])]


@pytest.mark.parametrize("network", ["lenet", "conv6", "resnet20", "vgg16"])
@pytest.mark.parametrize("steps", [0, 500])
def test_no_run_of_a_table_sets_what_it_does_not_read(paper, network, steps):
    given = {"network": network, "steps": steps, "levels": 0, "seeds": 0, "set": ()}
    given |= {"tables": paper.TABLES, "methods": paper.METHODS, "logits": paper.LOGITS}
    options = types.SimpleNamespace(**given, data_dir="", smoke=False)
    works = paper.works(options, paper.config(options))
    assert len(works) > 10
    for name, config in works.items():
        assert unread.unread(config) == {}, name


def test_the_sparsest_matching_ticket_is_as_good_as_the_dense_network(paper):
    found = paper.efforts.points("IMP continued", ROUNDS)
    rows = paper.efforts.best(found, 90.0)
    assert [point["left"] for point in rows.values()] == [[10], [10], [40]]
    strict = paper.efforts.best(found, 94.0)
    assert [point["left"] for point in strict.values()] == [[40], [40], [40]]
    none = paper.efforts.best(found, 99.0)
    assert [point and point["left"] for point in none.values()] == [None, None, [40]]


def test_the_test_set_chooses_no_ticket(paper):
    # The test set likes the sparser one better, and above the dense network.
    rows = [
        row(0, "ticket", 100, 0.90, test_accuracy=0.80),
        row(1, "ticket", 50, 0.91, test_accuracy=0.70),
        row(2, "ticket", 25, 0.89, test_accuracy=0.99),
    ]
    text = paper.efforts.table("tickets", {"IMP": [rows]})
    dense = "Dense: 80.00 % (n = 1); 90.00 % on the validation set"
    assert dense in text
    for what in ("sparsest matching, within 0 points", "best"):
        assert f"| IMP | {what} | 50.00 | 91.00 | 70.00 |" in text


def test_a_table_shows_a_run_that_lost_everything_beside_the_others(paper):
    text = paper.efforts.table("tickets", {"IMP": [LEVELS], "l0": [LOST]})
    assert "Dense: 80.00 % (n = 1); 90.00 % on the validation" in text
    effort = "89.00 | 79.00 | 1 | 20 | 2.0 | 1 |"
    assert f"| IMP | best | 80.00 | {effort}" in text
    assert "| l0 | best | none | | | | | | |\n" in text  # a cell a column
    assert "| l0 | 1 |  | 0.00 | 0.00 |" in paper.efforts.gates({"l0": [LOST]})


def options(paper, **more):
    given = {"network": "lenet", "data_dir": "", "steps": 0, "seeds": 0, "levels": 0}
    given |= {"logits": paper.LOGITS, "set": (), "tables": list(paper.TABLES)}
    return types.SimpleNamespace(**given | {"methods": list(paper.METHODS)} | more)


def test_a_table_without_a_method_is_left_out_and_a_run_without_a_table_refused(paper):
    only = options(paper, methods=["IMP"])
    found = paper.config(only)
    assert {name: list(rows) for name, rows in paper.chosen(only, found).items()} == {
        "tickets": ["IMP"]
    }
    assert list(paper.chosen(options(paper), found)) == ["tickets", "pruning"]
    with pytest.raises(SystemExit, match="must have a method, got none of network sl"):
        paper.chosen(options(paper, methods=["network slimming"]), found)


def test_a_shorter_training_keeps_the_shape_of_its_schedules(paper):
    whole = paper.config(options(paper, network="resnet20"))
    short = paper.config(options(paper, network="resnet20", steps=850))
    # 45,000 images are 352 batches of 128: 85 epochs.
    shares = [drop / (85 * 352 / 352) for drop in whole.schedule.drops]
    found = [drop * 352 / 850 for drop in short.schedule.drops]
    assert found == pytest.approx(shares)
    assert (short.train.steps, short.train.epochs) == (850, 0)
    # 50 periods; two epochs of 85 are 20 steps of 850, as of conv6's 40 they are 50.
    assert (short.search.gates.period, short.search.rewind_to) == (17, 20)
    conv6 = paper.config(options(paper, network="conv6", steps=1000))
    assert conv6.search.rewind_to == 50
    assert paper.config(options(paper, steps=20)).search.gates.period == 1
