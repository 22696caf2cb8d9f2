"""A grid: what is one run, where it lies, and what is refused."""

import itertools

import pytest
import tiny
from swept import LOGITS, RATE, base

from lthjax.program.config import files, ranges, validate
from lthjax.program.sweep import grid as grid_lib


def test_combinations_that_differ_in_seeds_are_one_run():
    grid = grid_lib.axes(base(), ["seeds=2,0,1", f"{RATE}=0.1,0.2"])
    found = grid_lib.cells(base(), grid)
    members = [(c.config.optimizer.learning_rate, c.config.seeds) for c in found]
    assert members == [(0.1, (0, 1, 2)), (0.2, (0, 1, 2))]


def test_first_logits_are_one_run_where_there_are_gates_and_nothing_elsewhere():
    grid = {"search.method": ["iterative", "continuous"], LOGITS: [(0.3,), (-0.1,)]}
    plain, gated = (cell.config for cell in grid_lib.cells(base(), grid))
    assert (plain.search.method, gated.search.method) == ("iterative", "continuous")
    assert gated.search.gates.initial == (-0.1, 0.3)
    assert plain.search.gates.initial == files.default().search.gates.initial


def test_what_becomes_of_logits_that_only_some_methods_read_is_said_once(caplog):
    grid = {"search.method": ["iterative", "continuous", "one_shot"]}
    grid_lib.cells(base(), grid | {LOGITS: [(0.3,), (-0.1,)]})
    (record,) = caplog.records
    said = f"{LOGITS} is not read by search.method = 'iterative', 'one_shot': "
    assert record.getMessage().startswith(said)
    grid = {"search.method": ["continuous"], LOGITS: [(0.3,), (-0.1,)]}
    grid_lib.cells(base(), grid)
    assert len(caplog.records) == 1


@pytest.mark.parametrize(
    "changes, grid",
    [
        ({}, {LOGITS: [(-0.1,), (0.1,)]}),
        ({LOGITS: (0.5,)}, {RATE: [0.1]}),
        ({LOGITS: (0.5,)}, {"search.method": ["iterative", "continuous"]}),
    ],
)
def test_logits_of_a_method_without_gates_are_refused_as_a_run_refuses_them(
    changes, grid
):
    sentence = f"{LOGITS} is not read by search.method = 'iterative', and must be its"
    with pytest.raises(ValueError, match=sentence):
        grid_lib.cells(base(changes), grid)


def test_a_grid_of_nothing_is_the_config_itself():
    (only,) = grid_lib.cells(base(), {})
    assert only.config.to_dict() == base().to_dict()


SAME = [
    {"seeds": (1, 2)},
    {"data_dir": "elsewhere"},
    {"logging.tensorboard": True},
    {"mesh.data": 4},
    {RATE: 1},
    {"search.sparsities": []},
]
OTHER = [
    {RATE: 0.5},
    {"controls": ("reinit",)},
    {"search.levels": 2},
    {"model.options": {"hidden": (9,)}},
    {"model.options": {"hidden": (8, 8)}},
    {"data.options": {"train": 48, "test": 17}},
    {"deterministic": True},
]


def test_a_run_lies_where_its_config_says_and_seeds_share_a_folder():
    config = base({RATE: 1.0})
    folders = [grid_lib.folder(tiny.changed(config, changes)) for changes in SAME]
    assert set(folders) == {grid_lib.folder(config)}
    others = [grid_lib.folder(tiny.changed(config, changes)) for changes in OTHER]
    assert len({*others, *folders}) == len(OTHER) + 1
    assert all(name.startswith("synthetic_mlp_iterative-") for name in others)


def test_a_run_is_found_again_whatever_the_grid_it_is_in_and_after_json():
    (first,) = grid_lib.cells(base(), {RATE: [0.2]})
    grid = {"seeds": [(3,)], "search.rate": [0.1, 0.2], RATE: [0.1, 0.2]}
    again = [cell.folder for cell in grid_lib.cells(base(), grid)]
    assert again.count(first.folder) == 1
    text = files.to_json(first.config)
    assert grid_lib.folder(files.from_json(text)) == first.folder


SPELLED = [
    ("schedule.drops", [(1,), (1.0,)]),
    ("train.class_weights", [(1, 2) * 5, (1.0, 2.0) * 5]),
    ("optimizer.options", [{"b1": 0}, {"b1": 0.0}]),
]


@pytest.mark.parametrize("key, values", SPELLED)
def test_equal_numbers_are_one_run_however_they_are_spelled(tmp_path, key, values):
    own = {"schedule.name": "piecewise"} if key == "schedule.drops" else {}
    own |= {"optimizer.name": "adam"} if key == "optimizer.options" else {}
    config = base(own)
    (only,) = grid_lib.cells(config, {key: values})
    folders = []
    for value in values:
        (cell,) = grid_lib.cells(config, {key: [value]}, tmp_path)
        grid_lib.write(tmp_path, [key], [cell])
        folders.append(cell.folder)
    assert folders == [only.folder] * 2
    (other,) = grid_lib.cells(config, {key: [values[1]]})
    assert other.folder != only.folder  # of a sweep before it is spelled so
    grid_lib.write(tmp_path, [key], [other])
    (cell,) = grid_lib.cells(config, {key: [values[1]]}, tmp_path)
    assert cell.folder == other.folder


def test_a_key_that_a_later_version_adds_moves_no_folder(monkeypatch):
    before, default = grid_lib.folder(base()), files.default()
    with default.unlocked():
        default.search.more = 1
    monkeypatch.setattr(files, "default", lambda: default)
    later = base()
    assert later.search.more == 1 and grid_lib.folder(later) == before


@pytest.mark.parametrize(
    "text, values",
    [
        (f"{RATE}=0.1,1e-2,1", [0.1, 0.01, 1.0]),
        ("seeds=0,1", [(0,), (1,)]),
        ("seeds=(0,1),(2,)", [(0, 1), (2,)]),
        ("controls=reinit,shuffle", [("reinit",), ("shuffle",)]),
        ("controls=()", [()]),
        ("search.pattern=4x4,2:4", ["4x4", "2:4"]),
        ("search.invert=True,False", [True, False]),
        ("model.options.hidden=(8,),(4,4)", [(8,), (4, 4)]),
        ("model.options.new=1", [1]),
    ],
)
def test_values_are_read_as_their_key_holds_them(text, values):
    key, found = grid_lib.axis(base(), text)
    assert key == text.partition("=")[0]
    assert found == values and list(map(type, found)) == list(map(type, values))


@pytest.mark.parametrize(
    "text, value",
    [
        ("seeds=0,1", (0, 1)),
        ("seeds=4", (4,)),
        ("controls=()", ()),
        ("search.layer_rates=(('^head/', 0.1),)", (("^head/", 0.1),)),
        ("data_dir=/a,b", "/a,b"),
        ("train.steps=7", 7),
    ],
)
def test_a_key_of_all_runs_is_set(text, value):
    found = grid_lib.changed(base(), text)
    assert validate.flat(found)[text.partition("=")[0]] == value


@pytest.mark.parametrize(
    "text, value",
    [
        ("search.exclude=conv[0-9]{1,2}/kernel$", ("conv[0-9]{1,2}/kernel$",)),
        ("search.exclude=(a|b){1,2},head", ("(a|b){1,2}", "head")),
        ("search.include=", ""),
        ("data_dir=", ""),
    ],
)
def test_a_key_is_set_as_the_command_of_a_run_sets_it(text, value):
    found = validate.flat(grid_lib.changed(files.default(), text))
    assert found[text.partition("=")[0]] == value


def test_a_regular_expression_of_an_axis_is_one_run():
    key, found = grid_lib.axis(files.default(), "search.include=conv[0-9]{1,2},head")
    assert (key, found) == ("search.include", ["conv[0-9]{1,2}", "head"])


def test_all_keys_that_are_wrong_are_named():
    texts = ["optimizer.learning_rat=1", "seeds=0", "seeds=1", "train.steps="]
    expected = r"did you mean 'optimizer.*seeds twice.*steps=.*depend.* got mesh.data"
    with pytest.raises(ValueError, match=expected):
        grid_lib.axes(base(), [*texts, "mesh.data=1,2"])
    with pytest.raises(ValueError, match="one value, got 'train.steps=1,2'"):
        grid_lib.changed(base(), "train.steps=1,2")


def test_all_combinations_that_are_impossible_are_listed():
    grid = {"train.batch_size": [12, 0, 99], "search.method": ["iterative", "imp"]}
    with pytest.raises(ValueError) as error:
        grid_lib.cells(base(), grid)
    text = str(error.value)
    assert "got 5 that are not; nothing was started" in text
    for size, method in itertools.product(*grid.values()):
        label = f"train.batch_size={size}, search.method={method}:"
        assert (label in text) == ((size, method) != (12, "iterative"))
    assert "32 images, got train.batch_size = 99" in text


@pytest.mark.parametrize("name", ranges.OPTIONS)
def test_every_key_of_options_may_be_an_axis(name):
    assert grid_lib.axis(base(), f"{name}.some=1,2") == (f"{name}.some", [1, 2])


def test_options_as_a_whole_are_shown():
    config, key = tiny.config(), "model.options"
    grid_of = grid_lib.axes(config, [f"{key}={{'hidden': (10,)}},{{'hidden': (20,)}}"])
    found = [
        grid_lib.shown(cell.config, [key]) for cell in grid_lib.cells(config, grid_of)
    ]
    assert [x[key] for x in found] == [{"hidden": (10,)}, {"hidden": (20,)}]


def test_a_run_is_found_whatever_reads_its_batches():
    one, other = (tiny.config({"data.workers": n}) for n in (0, 4))
    assert grid_lib.folder(one) == grid_lib.folder(other)


def test_results_depend_on_the_devices_that_norms_are_over():
    apart = [
        tiny.config({"model.norms": "device", "mesh.data": n, "train.batch_size": 12})
        for n in (1, 2)
    ]
    assert len({grid_lib.folder(config) for config in apart}) == 2
    assert grid_lib.axes(apart[0], ["mesh.data=1,2"]) == {"mesh.data": [1, 2]}
    with pytest.raises(ValueError, match="results must depend on .* got mesh.data"):
        grid_lib.axes(tiny.config(), ["mesh.data=1,2"])


def test_options_within_options_are_made_and_sections_are_asked_for():
    found = grid_lib.changed(tiny.config(), "model.options.a.b=3")
    assert found.model.options.a.b == 3
    with pytest.raises(ValueError, match="must lie in sections, got model.options.hi"):
        grid_lib.changed(tiny.config(), "model.options.hidden.b=3")
