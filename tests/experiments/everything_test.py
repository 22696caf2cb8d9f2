"""Sizes, rows, verdicts, the page, and what fits into the hours of all experiments."""

import argparse
import ast
import importlib
import json
import os
import pathlib
import sys
import time
import types

import pytest
from paths import ROOT

from lthjax.program.workdir import spreads

EXPERIMENTS = ROOT / "experiments"
RESULTS = EXPERIMENTS / "results"


@pytest.fixture(scope="module")
def ours():
    """The experiments' own modules, and the command, as it imports them."""
    names = ("measures.sizes", "measures.claims", "measures.overview")
    names += ("measures.hours", "everything")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        found = {n.split(".")[-1]: importlib.import_module(n) for n in names}
        yield types.SimpleNamespace(**found)
    for name in [n for n in sys.modules if n.startswith(("measures", "everything"))]:
        del sys.modules[name]


def parser():
    """A parser with the options of a small experiment."""
    found = argparse.ArgumentParser()
    for name, default in {"steps": 0, "levels": 0, "seeds": 0}.items():
        found.add_argument(f"--{name}", type=int, default=default)
    found.add_argument("--smoke", action="store_true")
    return found


def test_a_smoke_run_compiles_cheaply_and_own_flags_of_xla_win(ours, monkeypatch):
    own = "--xla_backend_optimization_level=3"
    monkeypatch.setenv("XLA_FLAGS", own)
    ours.sizes.parse(parser(), "frankle2019", [])
    assert os.environ["XLA_FLAGS"] == own
    ours.sizes.parse(parser(), "frankle2019", ["--smoke"])
    given = os.environ["XLA_FLAGS"].split()
    assert given[0] == "--xla_backend_optimization_level=1"
    assert given[-1] == own


def test_a_size_sets_what_is_not_typed(ours):
    toy = ours.sizes.OPTIONS["frankle2019"]["toy"]
    words = ["--size=toy", "--seeds=7"]
    options = ours.sizes.parse(parser(), "frankle2019", words)
    assert options.size == "toy"
    assert (options.steps, options.levels) == (toy["steps"], toy["levels"])
    assert options.seeds == 7


def test_without_a_size_the_defaults_stand_and_the_options_are_recognised(ours):
    options = ours.sizes.parse(parser(), "frankle2019", [])
    assert (options.steps, options.size) == (0, ours.sizes.SHORTENED)
    words = [
        f"--{k}={v}" for k, v in ours.sizes.OPTIONS["frankle2019"]["paper"].items()
    ]
    assert ours.sizes.parse(parser(), "frankle2019", words).size == "paper"


def test_what_is_typed_beside_a_size_makes_it_another_one(ours):
    words = ["--size=paper", "--steps=100"]
    options = ours.sizes.parse(parser(), "frankle2019", words)
    assert (options.steps, options.size) == (100, ours.sizes.SHORTENED)
    paper = ours.sizes.OPTIONS["frankle2019"]["paper"]
    words = ["--size=toy", *(f"--{k}={v}" for k, v in paper.items())]
    assert ours.sizes.parse(parser(), "frankle2019", words).size == "paper"
    assert ours.sizes.parse(parser(), "frankle2019", ["--size=cpu"]).size == "paper"
    words = ["--size=paper", "--seeds=1"]
    assert ours.sizes.parse(parser(), "frankle2019", words).size == "paper"


def test_a_size_of_an_option_that_is_none_is_refused(ours):
    with pytest.raises(ValueError, match="a size must set options of its experiment"):
        ours.sizes.parse(parser(), "renda2020", ["--size=toy"])


def strings(path):
    """All texts in a file, also those within."""
    tree = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    return {node.value for node in tree if isinstance(node, ast.Constant)}


def test_every_experiment_of_the_list_has_its_sizes_and_each_sets_its_options(ours):
    assert set(ours.everything.ORDER) == set(ours.sizes.OPTIONS)
    for name, by_size in ours.sizes.OPTIONS.items():
        assert list(by_size) == list(ours.sizes.SIZES)
        known = strings(EXPERIMENTS / f"{name}.py")
        known |= {text.removeprefix("--") for text in known if isinstance(text, str)}
        assert set().union(*by_size.values()) <= known, name


def row(ours, published, values, **more):
    claim = ours.claims.Claim("what", published, **more)
    return ours.claims.row(claim, values, "cpu", "python experiments/x.py")


def test_the_verdict_is_by_the_band_or_the_interval_whichever_is_more(ours):
    verdict = ours.claims.verdict
    assert verdict(row(ours, 90.0, [])) == "not run"
    assert verdict(row(ours, 90.0, [91.0])) == "within"
    assert verdict(row(ours, 90.0, [91.1])) == "outside"
    # t(2, 0.975) = 4.303 times 1 / sqrt(3) is 2.48.
    three = [91.4, 92.4, 93.4]
    assert ours.claims.allowed(row(ours, 90.0, three)) == pytest.approx(2.484, abs=1e-3)
    assert verdict(row(ours, 90.0, three)) == "within"
    assert verdict(row(ours, 89.9, three)) == "outside"


def test_a_lower_bound_is_broken_from_below_only_and_other_data_judge_nothing(ours):
    verdict = ours.claims.verdict
    assert verdict(row(ours, 1.0, [9.0], relation="above")) == "within"
    assert verdict(row(ours, 1.0, [0.5], band=0.2, relation="above")) == "outside"
    assert verdict(row(ours, 1.0, [1.0], relation="order")) == "order only"


def test_rows_are_read_as_they_were_written_and_a_smoke_run_writes_no_number(
    ours, tmp_path
):
    found = [(ours.claims.Claim("a", 1.0), [1.0, 2.0])]
    for smoke, number in ((False, 1.5), (True, None)):
        options = types.SimpleNamespace(workdir=tmp_path, smoke=smoke, size="toy")
        ours.claims.write(options, "name", found)
        (read,) = ours.claims.read(tmp_path / "name.json")
        assert (read.what, read.ours) == ("a", number)
    (tmp_path / "name.json").write_text('[{"what": 1}]')
    with pytest.raises(ValueError, match=r"name\.json must hold rows"):
        ours.claims.read(tmp_path / "name.json")


def test_a_spread_is_rounded_once(ours):
    found = row(ours, 92.26, [97.21, 97.50, 97.63])  # of 0.215019
    assert spreads.shown(spreads.Spread(*found[2:5])) == "97.45 ± 0.22"


def test_the_page_names_every_row_and_says_what_is_a_toy(ours):
    rows = [row(ours, 90.0, [20.0])._replace(size="toy"), row(ours, 80.0, [])]
    text = ours.overview.page({"some2020": rows})
    assert "## some2020 (toy)" in text
    assert "| what | 90 % | 20.00 | 1 | -70.00 | 1 | toy | outside (toy) |" in text
    assert "not run |" in text
    assert "2 rows: 0 within, 1 outside, 0 order only, 1 not run." in text


def test_the_page_in_the_tree_is_made_from_the_rows_that_lie_beside_it(ours):
    found = ours.overview.read(RESULTS, ours.everything.ORDER)
    assert (RESULTS / "index.md").read_text(encoding="utf-8") == ours.overview.page(
        found
    )
    assert (RESULTS / "index.png").exists()


def test_the_readme_quotes_no_row_of_a_toy(ours):
    quoted = (ROOT / "README.md").read_text(encoding="utf-8")
    for rows in ours.overview.read(RESULTS).values():
        toys = [r for r in rows if r.size == "toy" and r.n > 1]
        assert not [r for r in toys if f"{r.ours:.2f} ± {r.spread:.2f}" in quoted]


def test_what_fits_is_taken_in_order_and_the_rest_goes_to_the_first_that_does_not(ours):
    cost = ours.hours.Cost
    costs = [cost("a", seconds=3000), cost("b", seconds=9000), cost("c", error="no")]
    costs += [cost("d", seconds=500), cost("e", seconds=200), cost("f", done=1.0)]
    words = ours.hours.fits(costs, 1.0)
    assert words == ["yes", "in part", "failed", "yes", "no", "yes"]
    names = [one.name for one in costs]
    assert ours.hours.order(names, words) == ["a", "d", "f", "b"]
    shown = ours.hours.table(costs, words, "cpu")
    assert "| b | cpu | 0.00e+00 | 2.50 | 0 | in part |" in shown
    assert "failed: no" in shown


def test_when_the_hours_are_over_nothing_more_is_begun(ours):
    now, begun = [0.0], []

    def launch(name, left):
        begun.append((name, left))
        now[0] += 2000.0
        return "failed" if name == "a" else "finished"

    ends = ours.hours.through(list("abc"), 1.0, launch, lambda: now[0])
    assert begun == [("a", 3600.0), ("b", 1600.0)]
    assert ends == {"a": "failed", "b": "finished", "c": "stopped"}


def test_a_command_is_watched_to_its_end_its_failure_or_its_time(ours, tmp_path):
    log, python = tmp_path / "log", sys.executable
    for code, seconds, state in (
        ("print('here')", 20, "finished"),
        ("raise SystemExit(3)", 20, "failed"),
        ("import time; time.sleep(60)", 0.05, "stopped"),
    ):
        began = time.monotonic()
        assert ours.hours.watched([python, "-S", "-c", code], log, seconds) == state
        assert time.monotonic() - began < 30
    assert log.read_text() == "here\n"


def test_what_an_experiment_says_it_costs_is_read_and_its_error_kept(ours):
    line = {"flops": 1.0, "seconds": 2.0, "done": 0.5, "rows": {}}
    python = [sys.executable, "-S", "-c"]
    told = ours.hours.asked(
        "a", [*python, f"print('more'); print({json.dumps(line)!r})"]
    )
    assert told == ours.hours.Cost("a", 1.0, 2.0, 0.5, {})
    assert ours.hours.asked("b", [*python, "raise SystemExit('error: so')"]).error == (
        "error: so"
    )


def test_an_experiment_that_does_not_exist_and_no_hours_are_refused(ours):
    def options(**changes):
        known = {"only": "", "workdir": pathlib.Path("W"), "hours": 1.0}
        return types.SimpleNamespace(**known | {"dry_run": False} | changes)

    chosen = ours.everything.chosen
    assert chosen(options(only="renda2020,frankle2019")) == ["frankle2019", "renda2020"]
    for changes, text in (
        ({"only": "none"}, "only must be different ones of"),
        ({"hours": 0.0}, "hours must be above 0"),
        ({"workdir": None}, "workdir must be given"),
    ):
        with pytest.raises(ValueError, match=text):
            chosen(options(**changes))


def test_the_page_has_what_earlier_calls_left_and_what_is_missing(ours, tmp_path):
    options = types.SimpleNamespace(workdir=tmp_path, smoke=False, size="cpu")
    place, claims = ours.everything.place, ours.claims
    for name, table in (("renda2020", "renda2020"), ("chen2021", "chen2021_mnist")):
        place(options, name).mkdir(parents=True)
        rows = [row(ours, 90.0, [90.5])]
        (place(options, name) / f"{table}.json").write_text(claims.text(rows))
    missing = {"chen2021_mnist": [row(ours, 90.0, [])]}
    missing |= {"chen2021_cifar10": [row(ours, 50.0, [])]}
    costs = [
        ours.hours.Cost("frankle2019", error="it failed"),
        ours.hours.Cost("chen2021", rows=missing),
    ]
    found = ours.everything.rows(options, costs)
    assert list(found) == ["renda2020", "chen2021_mnist", "chen2021_cifar10"]
    ours_of = {name: [one.ours for one in rows] for name, rows in found.items()}
    assert ours_of == {
        **{"renda2020": [90.5], "chen2021_mnist": [90.5]},
        "chen2021_cifar10": [None],
    }


def test_the_page_of_the_tree_is_asked_for_alone(ours):
    parser = ours.everything.arguments()
    ours.everything.check_alone(parser, parser.parse_args(["--page"]))
    words = ["--page", "--workdir=W", "--only=renda2020"]
    with pytest.raises(ValueError, match="got --workdir, --only beside it"):
        ours.everything.check_alone(parser, parser.parse_args(words))
