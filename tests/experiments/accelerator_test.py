"""The accelerator's call: what it tries, how it ends, what lies on the disk."""

import sys
import types

import pytest
from paths import ROOT

EXPERIMENTS = ROOT / "experiments"


@pytest.fixture(scope="module")
def script():
    """The experiment and its measures, imported as its command does."""
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(str(EXPERIMENTS))
        import accelerator  # noqa: PLC0415
        from measures.timed import accelerated, headline  # noqa: PLC0415

        yield accelerator, accelerated, headline
    for name in [n for n in sys.modules if n.startswith(("accelerator", "measures"))]:
        del sys.modules[name]


def line(part, event):
    return {"part": part, "event": event}


def row(what, median, **more):
    numbers = {"median": median, "low": median, "high": median, "n": 1}
    return {"what": what, "unit": "s", **numbers, **more}


def test_every_part_is_measured_by_a_function(script):
    accelerator, accelerated, headline = script
    assert (*accelerated.PARTS, *headline.PARTS) == accelerator.PARTS


def test_what_is_done_is_left_and_what_failed_comes_last(script):
    accelerator, *_ = script
    lines = [line("digits", "done"), line("products", "failed"), line("prune", "begun")]
    found = accelerator.pending([*lines, line("headline", "stopped")])
    assert "digits" not in found
    assert found[0] == "resnet18"
    assert found[-2:] == ["headline", "products"]
    assert accelerator.pending([line(part, "done") for part in accelerator.PARTS]) == []


def test_calls_of_small_networks_and_of_whole_ones_do_not_meet(script, tmp_path):
    accelerator, *_ = script
    smoke, whole = (
        types.SimpleNamespace(smoke=small, workdir=tmp_path) for small in (True, False)
    )
    accelerator.check([], whole)
    lines = [
        {"event": "call", "setup": {"networks": accelerator.networks(smoke)}},
        line("digits", "done"),
    ]
    accelerator.check(lines, smoke)
    with pytest.raises(ValueError, match="all be of --smoke, or none.*are small"):
        accelerator.check(lines, whole)


def test_a_row_is_on_the_disk_at_once_and_a_torn_line_is_none(script, tmp_path):
    ledger = script[0].ledger
    ledger.add(tmp_path, part="prune", row=row("pruning", 2.0, most=1.0))
    path = tmp_path / ledger.LINES
    path.write_text(path.read_text() + '{"part": "sel')
    assert len(ledger.read(tmp_path)) == 1
    ledger.add(tmp_path, part="prune", row=row("pruning", 0.5, most=1.0))
    assert len(ledger.read(tmp_path)) == 2
    # Of what was measured twice the later number counts.
    assert ledger.value(ledger.read(tmp_path), "pruning") == 0.5
    text = (tmp_path / ledger.TABLE).read_text()
    assert "| pruning | s | 0.5 |" in text and "missed" not in text


STAND_IN = """
import json, os, sys, time
parts = [x for x in sys.argv if x.startswith("--parts=")][0][8:].split(",")
with open({path!r}, "a") as file:
    def say(**line):
        print(json.dumps(dict(line, at="")), file=file, flush=True)
    for part in parts:
        say(part=part, event="begun")
        if part == "products":
            os._exit(3)
        if part in {hangs!r}:
            time.sleep(60)
        say(part=part, event="done", seconds=0)
"""


def watched(script, tmp_path, monkeypatch, *, hangs=(), **more):
    """Returns {part: (event, sentence)} after a call of a stand-in that measures."""
    accelerator, *_ = script
    ledger, path = accelerator.ledger, tmp_path / "stand_in.py"
    lines = str(tmp_path / ledger.LINES)
    path.write_text(STAND_IN.format(path=lines, hangs=tuple(hangs)))
    monkeypatch.setattr(sys, "argv", [str(path)])
    monkeypatch.setattr(accelerator, "POLL", 0.01)
    for name, value in more.items():
        monkeypatch.setattr(accelerator, name, value)
    accelerator.call(types.SimpleNamespace(workdir=tmp_path, minutes=1.0, smoke=False))
    found = [x for x in ledger.read(tmp_path) if x["event"] != "begun"]
    return {x["part"]: (x["event"], x.get("sentence", "")) for x in found}


def test_a_part_whose_process_dies_or_hangs_is_written_down_and_the_next_goes_on(
    script, tmp_path, monkeypatch
):
    took = {"hangs": ["select"], "LONGEST": 2.0}
    found = watched(script, tmp_path, monkeypatch, **took)
    assert list(found) == list(script[0].PARTS)
    failed = {part for part, (event, _) in found.items() if event == "failed"}
    assert failed == {"products", "select"}
    assert "status 3" in found["products"][1]
    assert "longer than 2.0 s" in found["select"][1]


def test_the_headline_keeps_its_share_of_the_minutes(script, tmp_path, monkeypatch):
    short = {"hangs": ["digits"], "BEFORE": 0.005}
    found = watched(script, tmp_path, monkeypatch, **short)
    assert found["digits"] == ("stopped", "the rest of the minutes is the headline's")
    assert found["headline"][0] == "done"


def test_epochs_and_seeds_fit_the_seconds_left(script):
    *_, headline = script
    # An epoch has 352 steps; a seed has seven trainings of 20 epochs, 1 ms a step.
    one = 7 * 20 * 352 * 1e-3 / headline.SHARE
    assert headline.plan(1e-3, one / 3) == {"epochs": 20, "seeds": 1}
    assert headline.plan(1e-3, 1.5 * one) == {"epochs": 30, "seeds": 1}
    assert headline.plan(1e-3, 2.01 * one) == {"epochs": 20, "seeds": 2}
    assert headline.plan(1e-3, 100 * one) == {"epochs": 60, "seeds": 3}
    assert headline.plan(1e-3, -1.0) == {"epochs": 20, "seeds": 1}


def test_the_headline_reads_the_packed_set_where_that_lies(script, tmp_path):
    *_, headline = script
    options = types.SimpleNamespace(data_dir=str(tmp_path), smoke=False)
    found = headline.config(options, epochs=20, seeds=2)
    assert (found.data.name, found.seeds) == ("cifar100", (0, 1))
    (tmp_path / "cifar100.packed-00000-of-00001.npz").touch()
    found = headline.config(options, epochs=20, seeds=2)
    assert (found.data.name, found.data.options.set) == ("packed", "cifar100")
    assert found.schedule.drops == (10, 15)


def test_a_gain_has_an_interval_from_two_pairs_on(script):
    *_, headline = script

    def record(seed, level, arm, accuracy):
        more = {"retrained": True} if arm != "ticket" else {}
        shared = {"seed": seed, "level": level, "arm": arm, "sparsity": 0.95}
        return {**shared, "test_accuracy": accuracy, **more}

    records = [record(0, 1, "ticket", 0.5), record(0, 1, "tost_paper", 0.6)]
    (gain,) = [r for r in headline.rows(records) if r.unit == "points"]
    assert gain.median == pytest.approx(10) and gain.low == gain.high == gain.median
    records += [record(1, 1, "ticket", 0.5), record(1, 1, "tost_paper", 0.7)]
    (gain,) = [r for r in headline.rows(records) if r.unit == "points"]
    # t(1, 0.975) = 12.706, and the deviation of (10, 20) by sqrt(2) is 5.
    assert (gain.n, gain.high - gain.median) == (2, pytest.approx(63.5, rel=1e-3))


def test_the_kept_table_of_the_digits_is_read_by_arm_and_level(script):
    _, accelerated, _ = script
    text = (EXPERIMENTS / "results" / "digits.md").read_text()
    kept = accelerated.kept_means(text)
    assert list(kept) == ["ticket", "reinit", "shuffle", "random"]
    assert len(kept["ticket"]) == 9 and sorted(kept["random"]) == list(range(1, 9))
    assert kept["ticket"][0] == 96.78 and kept["random"][8] == 15.33
    records = [{"arm": "ticket", "level": 8, "test_accuracy": 0.9111}]
    found = accelerated.differences(records, "ticket", kept["ticket"])
    assert found == pytest.approx([1.0])


@pytest.mark.parametrize("there", [True, False])
def test_pytorch_is_asked_line_by_line_where_it_is(
    script, tmp_path, monkeypatch, there
):
    pytorch = sys.modules["measures.timed.pytorch"]
    monkeypatch.setattr(pytorch, "PEERS", tmp_path)
    spec = object() if there else None
    monkeypatch.setattr(pytorch.importlib.util, "find_spec", lambda name: spec)
    (tmp_path / "echo.py").write_text("print(input(), flush=True); input()")
    with pytorch.asked("echo.py") as ask:
        assert bool(ask) == there
        if there:
            assert ask({"steps": 2}) == {"steps": 2}
            assert ask({}) == {"failed": "it ended"}


def test_photographs_are_read_from_folders_of_classes(script, tmp_path):
    from measures.timed import feeding  # noqa: PLC0415

    options = types.SimpleNamespace(smoke=True, rounds=1, seconds=0.001)
    (found,) = feeding.reading(tmp_path, options)
    assert found.unit == "images/s" and found.median > 0


def test_an_error_is_one_line(script):
    accelerator, *_ = script
    assert accelerator.sentence(ValueError("a\n  b")) == "ValueError: a b"
