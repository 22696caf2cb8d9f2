"""The documentation: it names what there is, and its examples do what they say."""

import ast
import collections
import doctest
import importlib
import itertools
import pkgutil
import re
import sys

import jax
import jax.numpy as jnp
import optax
import pytest
import tiny
from paths import ROOT

import lthjax
from lthjax import moved
from lthjax.federated import partitions, policies
from lthjax.program.config import defaults, entries, validate
from lthjax.program.federated import settings
from lthjax.program.run import experiment
from lthjax.saving import safetensors
from lthjax.tickets import Ticket

sys.path.insert(0, str(ROOT / "docs"))
import reference  # noqa: E402

PAGES = [*ROOT.glob("*.md"), *(ROOT / "docs" / "guides").glob("*.md")]
PAGES = sorted(path for path in PAGES if path.name != "keys.md")  # that is made
MADE = ("_build", "api", "results", "guides/keys.md", "papers.md", "changelog.md")
MADE = [ROOT / "docs" / name for name in MADE]  # which a fresh copy has not
EXAMPLES = [path for path in PAGES if "```python\n" in path.read_text()]
CHAPTERS = ("pruning", "dynamic", "gates", "channels", "retraining")
ALONE = ("training.zeros", "forward_selection.neurons")
QUICK = (
    "masks",
    "pattern_names",
    "sparsities",
    "views",
    "soft_threshold",
    "carrying",
    "zeros",
)


def blocks(path):
    """Returns the Python examples of a page, each with its name, or none."""
    found = re.findall(r"```python\n((?:# (\w+)\.py\n)?.*?)```", path.read_text(), re.S)
    return [(name, text) for text, name in found]


def modules():
    """Yields the names of the modules whose docstrings may have examples."""
    for chapter in CHAPTERS:
        folder = str(ROOT / "lthjax" / chapter)
        names = [info.name for info in pkgutil.iter_modules([folder])]
        yield from (f"lthjax.{chapter}.{name}" for name in names)
    yield from (f"lthjax.{name}" for name in ALONE)


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_what_a_page_names_is_there(path):
    text = path.read_text()
    for link in re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", text):
        found = (path.parent / link).resolve()
        assert found.exists() and not {found, *found.parents} & {*MADE}, link
    folders = "lthjax|tests|experiments|configs|docs"
    for name in re.findall(rf"`((?:{folders})/[\w./-]+\.(?:py|md|json))`", text):
        assert (ROOT / name).exists(), name
    if path.name != "CHANGELOG.md":  # which names what there was
        for name in re.findall(r"\blth(?:jax)?((?:\.\w+)+)", text):
            assert name[-3:] in (".md", ".py") or pkgutil.resolve_name(f"lthjax{name}")


def test_every_config_key_says_what_it_is():
    rows = entries.entries()
    assert {key for key, _, _ in rows} == set(validate.flat(defaults.default()))
    silent = [key for key, _, said in rows if not said]
    assert not silent, "put a comment beside each in defaults.py"


NAME = re.compile(r"`([A-Za-z_]\w*)\.([A-Za-z_]\w*(?:\.\w+)*)")
FILES = re.compile(r".*\b(py|md|json|jsonl|csv|html|png|safetensors)")
PLACES = collections.defaultdict(list)  # the modules that are called so
for info in pkgutil.walk_packages(lthjax.__path__, "lthjax."):
    PLACES[info.name.rpartition(".")[2]].append(info.name)


def spoken(source):
    """Returns the dotted names in backticks in the strings of a source, each parted.

    Not what an argument of its functions has: `config.levels` is no module's.
    """
    nodes = [*ast.walk(ast.parse(source))]
    given = {node.arg for node in nodes if isinstance(node, ast.arg)}
    texts = [str(node.value) for node in nodes if isinstance(node, ast.Constant)]
    pairs = {pair for text in texts for pair in NAME.findall(text)}
    return {(first, rest) for first, rest in pairs if first not in given}


def has(module, name):
    """Returns whether a module has what a dotted name says, under this very name."""
    try:
        return pkgutil.resolve_name(f"{module}.{name}") is not None
    except (ImportError, AttributeError, DeprecationWarning):
        return False


def test_names_in_docstrings_and_errors_are_there():
    keys = {*validate.flat(defaults.default()), *federated_keys()}
    keys |= {"config.a.b"} | {f"config.{key.split('.')[0]}" for key in keys}
    paths = sorted((ROOT / "lthjax").rglob("*.py"))
    found = [(path, *pair) for path in paths for pair in spoken(path.read_text())]
    absent = [
        (path, f"{first}.{rest}")
        for path, first, rest in found
        if first in PLACES and not any(has(place, rest) for place in PLACES[first])
    ]
    assert not [
        (path.name, name)
        for path, name in absent
        if name not in keys and not FILES.fullmatch(name)
    ]


def test_a_dotted_name_is_seen_where_no_argument_is_called_so():
    source = 'def f(config):\n  "`a.b`, `config.x` and `lth.c.d`"\n  g(f"{1} `e.f()`")'
    assert spoken(source) == {("a", "b"), ("lth", "c.d"), ("e", "f")}
    assert has("lthjax.pruning", "masks.apply") and not has("lthjax.pruning", "nothing")


def federated_keys():
    """Returns the keys of all methods and partitions of a federated run."""
    pairs = itertools.product(policies.POLICIES, partitions.PARTITIONS)
    return {key for pair in pairs for key in validate.flat(settings.default(*pair))}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_keys_that_a_page_sets_are_known(path):
    known = set(validate.flat(defaults.default())) | federated_keys()
    for key in re.findall(r"--config\.([\w.]+)=", path.read_text()):
        assert key == "key" or key == "a.b" or key in known, key


def test_every_paper_in_a_docstring_is_listed():
    paths = [p for f in ("lthjax", "configs") for p in (ROOT / f).rglob("*.py")]
    paths += (ROOT / "experiments").glob("*.py")
    text = "".join(path.read_text() for path in paths)
    listed = set(re.findall(r"\d{4}\.\d{4,5}", (ROOT / "PAPERS.md").read_text()))
    assert set(re.findall(r"arXiv:(\d{4}\.\d{4,5})", text)) <= listed
    for cell in re.findall(
        r"`((?:\w+/)+(?:\w+\.py)?)`", (ROOT / "PAPERS.md").read_text()
    ):
        assert (ROOT / cell).exists() or (ROOT / "lthjax" / cell).exists(), cell


def test_a_paper_is_cited_in_a_file_that_its_row_names():
    for row in (ROOT / "PAPERS.md").read_text().splitlines():
        cells = re.findall(r"`((?:\w+/)+(?:\w+\.py)?)`", row)
        found = [ROOT / f for cell in cells for f in (f"lthjax/{cell}", cell)]
        found = [p for path in found for p in (path, *path.glob("*.py"))]
        text = "".join(path.read_text() for path in found if path.is_file())
        for number in re.findall(r"\d{4}\.\d{4,5}", row) if cells else ():
            assert number in text, row


def test_the_changelog_lists_what_moved():
    text = (ROOT / "CHANGELOG.md").read_text()
    assert text == reference.moved(), "run `python docs/reference.py`"
    assert len(reference.places()) >= sum(map(len, moved.PLACES.values()))


def test_the_readme_is_short():
    assert len((ROOT / "README.md").read_text().splitlines()) <= 200


def marked(name):
    quick = name.rpartition(".")[2] in QUICK
    return name if quick else pytest.param(name, marks=pytest.mark.slow)


@pytest.mark.parametrize("name", [marked(name) for name in sorted(modules())])
def test_examples_in_docstrings(name):
    module = importlib.import_module(name)
    given = {"jax": jax, "jnp": jnp, "optax": optax, "lth": lthjax}
    failed, _ = doctest.testmod(module, extraglobs=given)
    assert not failed


@pytest.mark.slow
@pytest.mark.parametrize("path", EXAMPLES, ids=lambda path: path.name)
def test_examples_of_a_page(path, tmp_path, monkeypatch):
    if path.name == "equinox.md":
        pytest.importorskip("equinox")
    monkeypatch.chdir(tmp_path)
    ticket = Ticket(0, 0, 1, {"dense/kernel": jnp.ones(2)}, {}, {"dense/kernel": None})
    safetensors.write("ticket.safetensors", ticket, config={})
    names = {}
    for name, text in blocks(path):
        if not name and "load_state_dict" not in text:  # that is PyTorch's
            exec(compile(text, path.name, "exec"), names)


OWN = {
    "own_network": {"model.name": "own_network:Net", "model.options": {"hidden": 4}},
    "own_data": {"data.name": "own_data:stripes", "data.options": {"size": 80}},
    "own_augmentation": {"data.augment": "own_augmentation:noisy"},
    "own_score": {"search.score": "own_score:gradient"},
}


@pytest.mark.slow
def test_parts_of_your_own_make_a_run(tmp_path, monkeypatch):
    for name in OWN:
        ((_, text),) = blocks(ROOT / "docs" / "guides" / f"{name}.md")
        (tmp_path / f"{name}.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    changes = {key: value for own in OWN.values() for key, value in own.items()}
    found = tiny.config({**changes, "seeds": (0,), "search.levels": 1})
    rows = experiment.run(found, tmp_path / "run")
    assert len(rows) == 2
    assert OWN.keys() <= sys.modules.keys()


def test_pages_have_a_place_in_the_contents():
    index = (ROOT / "docs" / "index.md").read_text()
    for path in (ROOT / "docs" / "guides").glob("*.md"):
        orphan = path.read_text().startswith("---\norphan: true")
        assert orphan or f"guides/{path.stem}\n" in index, path


def test_nothing_of_the_documentation_is_kept_that_is_made():
    ignored = (ROOT / ".gitignore").read_text()
    for name in ("_build/", "api/", "results/", "guides/keys.md", "papers.md"):
        assert f"/docs/{name}\n" in ignored
