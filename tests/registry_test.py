"""A name becomes one of ours or a user's own, or an error that says what would."""

import math

import pytest

from lthjax import packages, registry
from lthjax.data import pixels

CHOICES = {"magnitude": abs, "random": min}


def test_a_known_name_is_looked_up():
    assert registry.resolve("magnitude", CHOICES, "score") is abs


def test_a_name_with_a_colon_is_imported():
    assert registry.resolve("math:hypot", CHOICES, "score") is math.hypot


def test_a_name_of_ours_comes_before_an_import():
    assert registry.resolve("math:hypot", {"math:hypot": abs}, "score") is abs


def test_an_unknown_name_is_refused_with_the_choices_and_the_nearest():
    expected = "score must be one of magnitude, random.*'magnitud', did you mean 'magn"
    with pytest.raises(ValueError, match=expected):
        registry.resolve("magnitud", CHOICES, "score")


def test_nothing_is_suggested_for_what_is_like_nothing():
    with pytest.raises(ValueError, match="got score = 'xyz'$"):
        registry.resolve("xyz", CHOICES, "score")
    assert registry.suggestion("xyz", CHOICES) == ""


@pytest.mark.parametrize("name", ["no_such_module:Net", "math:Net", ":Net", "math:"])
def test_what_cannot_be_imported_is_refused_by_its_name(name):
    with pytest.raises(ValueError, match=f"importable from here, got model = '{name}'"):
        registry.resolve(name, CHOICES, "model")


def test_what_a_users_function_raises_becomes_a_sentence_with_their_lines():
    def faulty():
        return {}["nothing"]

    expected = pytest.raises(ValueError, match="'my:f', which raised KeyError")
    with expected as e, registry.calling("score", "my:f"):
        faulty()
    text = registry.own_traceback(e.value.__cause__)
    assert "in faulty" in text and text.endswith("KeyError: 'nothing'")
    assert registry.is_ours(e.value) and not registry.is_ours(e.value.__cause__)
    assert registry.own_traceback(None) == ""


def test_a_module_or_a_function_that_ends_the_process_is_named(tmp_path, monkeypatch):
    (tmp_path / "ending.py").write_text("import sys\nsys.exit('no arguments')\n")
    monkeypatch.syspath_prepend(tmp_path)
    expected = r"got score = 'ending:f' \(no arguments\)"
    with pytest.raises(ValueError, match=expected):
        registry.resolve("ending:f", CHOICES, "score")
    expected = pytest.raises(ValueError, match="which raised SystemExit: no arguments")
    with expected, registry.calling("score", "my:f"):
        raise SystemExit("no arguments")


def test_what_a_library_that_we_call_raises_is_no_user_s_function():
    with pytest.raises(ValueError, match="a damaged one in x.png") as e:
        pixels.image(b"no image", "x.png", grey=False)
    assert e.value.__cause__ and registry.own_traceback(e.value.__cause__) == ""


def test_libraries_are_those_that_this_package_is_installed_with():
    found = packages.modules_with("lthjax")
    own = {"jax", "flax", "PIL", "absl", "ml_collections", "orbax", "filelock", "rich"}
    assert own | {"lthjax", "matplotlib", "jinja2", "tensorstore"} <= found
    assert packages.modules_with("pillow") >= {"PIL"}
    assert not {"jax", "lthjax"} & packages.modules_with("filelock")
    assert packages.modules_with("no-such-package") == frozenset()


def test_a_sentence_of_ours_stays_as_it_is():
    expected = pytest.raises(ValueError, match="^the model must be one of")
    with expected, registry.calling("model", "my:f"):
        registry.resolve("x", {}, "model")
