"""A config is complete, refuses what nobody reads, and knows what may change later."""

import json
import re

import pytest
from valid_config import valid

from lthjax.program.config import files, validate


def saved(found):
    return json.loads(files.to_json(found))


def test_a_config_is_unchanged_by_json():
    found = valid(search__layer_rates=(("head", 0.1),), controls=("shuffle",))
    assert files.changed(saved(found), found) == {}


@pytest.mark.parametrize(
    "change",
    [
        {"seeds": (0, 1, 2)},
        {"controls": ("shuffle",)},
        {"search__levels": 9},
        {"data_dir": "elsewhere"},
        {"logging__line_seconds": 1.0},
        {"search__sparsities": (0.5, 0.9)},
    ],
)
def test_what_is_trained_next_or_how_it_is_shown_may_change(change):
    old = saved(valid(search__sparsities=(0.5,)))
    new = valid(**{"search__sparsities": (0.5,)} | change)
    assert files.changed(old, new) == {}


@pytest.mark.parametrize(
    "key, now",
    [
        ("train.epochs", 3),
        ("optimizer.learning_rate", 0.2),
        ("search.rate", 0.3),
        ("search.sparsities", [0.4, 0.9]),
        ("search.sparsities", []),
        ("seeds_of_old", None),
    ],
)
def test_what_was_trained_may_not_and_is_named_with_both_values(key, now):
    new = valid(search__sparsities=(0.5,))
    old = saved(new)
    if key == "seeds_of_old":
        old[key] = 1
    else:
        new = valid(**{"search__sparsities": (0.5,), key.replace(".", "__"): now})
    before = validate.flat(old).get(key)
    assert files.changed(old, new) == {key: (before, now)}


def test_a_key_the_old_run_did_not_know_must_be_at_its_default():
    old = saved(valid())
    del old["optimizer"]["clip"]
    assert files.changed(old, valid()) == {}
    changed = files.changed(old, valid(optimizer__clip=1.0))
    assert changed == {"optimizer.clip": (0.0, 1.0)}


def test_options_are_compared_like_everything_else():
    new = valid()
    old = saved(new)
    with new.unlocked():
        new.model.options.hidden = (8,)
    assert files.changed(old, new)["model.options.hidden"] == (None, [8])


def test_options_where_there_were_none_are_told_by_their_names():
    new = valid(optimizer__options={"b1": 0.8})
    rows = {"optimizer.options.b1": (None, 0.8)}
    assert files.changed(saved(valid()), new) == rows
    assert files.changed(saved(new), valid()) == {"optimizer.options.b1": (0.8, None)}


def test_a_schedule_by_rate_is_not_exchanged_for_a_list_in_an_old_workdir():
    old = json.loads(files.to_json(files.default()))
    new = files.default()
    new.search.sparsities = (0.5, 0.9)
    assert list(files.changed(old, new)) == ["search.sparsities"]
    longer = files.default()
    longer.search.sparsities = (0.5, 0.9, 0.95)
    assert not files.changed(json.loads(files.to_json(new)), longer)


FILES = {
    "raises": ("1 / 0", "ZeroDivisionError: .*'{}' stopped at line 1"),
    "torn": ("def get_config(:", "SyntaxError: .*'{}' stopped at line 1"),
    "leaves": ("\nraise SystemExit(3)", "SystemExit: 3; .* stopped at line 2"),
    "lacks": ("x = 1", r"must define get_config\(\), .* get_config = None"),
    "names": ("get_config = 1", r"must define get_config\(\), .* get_config = 1"),
    "inside": ("def get_config():\n  return y", "NameError: .* stopped at line 2"),
    "none": ("def get_config(): pass", "must return a config, .* got None from '{}'"),
    "dict": ("def get_config(): return {{}}", r"must return a config, .* got \{{\}}"),
    "refuses": (
        "raise ValueError('no')",
        "^no; the config file '{}' stopped at line 1",
    ),
    "more": ("def get_config(a): pass", "variant after the colon .* variant = None"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_config_file_that_gives_none_is_named(tmp_path, name):
    text, message = FILES[name]
    path = tmp_path / f"{name}.py"
    path.write_text(text.format())
    with pytest.raises(ValueError, match=message.format(path)):
        files.load(path)


def test_a_config_has_its_variants_and_no_others(tmp_path):
    path = tmp_path / "variants.py"
    head = "from lthjax.program.config import files\ndef get_config(name='one'):\n"
    refuse = "  files.variant(name, ('one', 'other'))\n"
    path.write_text(head + refuse + "  return files.default()\n")
    files.named(str(path)), files.named(f"{path}:one")
    for wrong, near in (("two", ""), ("", ""), ("othr", ", did you mean 'other'?")):
        said = f"the variant must be one of one, other, got '{wrong}'{near}"
        with pytest.raises(ValueError, match=f"^{re.escape(said)}$") as error:
            files.named(f"{path}:{wrong}")
        assert error.value.__cause__ is None  # whose lines would be shown before it


def test_a_config_that_is_no_file_is_told_where_it_may_be(tmp_path):
    (tmp_path / "mine.py").touch()
    for path, remedy in (
        ("nowhere.py", "; `lthjax run NAME` takes those of the package"),
        (str(tmp_path / "mine"), f", did you mean '{tmp_path}/mine.py'?"),
    ):
        said = f"read from a file, got {path!r}, no file{remedy}"
        with pytest.raises(ValueError, match=re.escape(said)):
            files.named(f"{path}:one")


def test_accuracy_chose_the_best_step_before_there_were_objectives():
    old = saved(valid(best_by="accuracy"))
    del old["objective"]
    assert files.changed(old, valid()) == {}
    assert files.digest(valid(best_by="accuracy")) == files.digest(valid())
    assert files.changed(old, valid(best_by="loss")).keys() == {"best_by"}
    text = valid(objective="next_token", best_by="accuracy")
    assert files.changed(saved(text), valid(objective="next_token"))


def test_settings_are_what_is_not_by_default_in_one_form():
    given = {"search__sparsities": (0, 0.5), "search__rate": 0.2, "train__epochs": 3}
    found = files.settings(valid(**given))
    other = valid(**given | {"search__sparsities": [0.0, 0.5], "best_by": "accuracy"})
    assert found == files.settings(other)
    assert found["search.sparsities"] == [0.0, 0.5] and "best_by" not in found
    assert json.dumps(found) == json.dumps(files.settings(other))
    rows = [files.settings(valid(model__options={"n": 2**53 + n})) for n in (0, 1)]
    assert rows[0] != rows[1]  # no float is the second
