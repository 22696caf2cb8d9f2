"""A writer of a user's own is told of every point and record, in every sitting."""

import json

import pytest
import tiny
from paths import ROOT

from lthjax.program.run import check, experiment, writers
from lthjax.program.workdir import results

TOLD: list = []


class Recorder:
    def __init__(self, root):
        TOLD.append(("opened", root))

    def points(self, where, step, values):
        TOLD.append(("points", where, step, values))

    def finished(self, where, record):
        TOLD.append(("finished", where, record))

    def close(self):
        TOLD.append(("closed",))


def halved(root):
    return type("Halved", (), {"points": lambda *_: None, "close": lambda _: None})()


def config(name="Recorder", **changes):
    own = {"logging.writer": f"{__name__}:{name}", "search.levels": 1, **changes}
    return tiny.config(own)


def test_a_writer_is_told_of_all_that_the_records_and_curves_hold(tmp_path):
    TOLD.clear()
    experiment.run(config(), tmp_path)
    assert TOLD[0] == ("opened", tmp_path) and TOLD[-1] == ("closed",)
    ended = {where: record for kind, where, record in _of("finished")}
    for row in results.read(tmp_path / results.RESULTS):
        where = f"{row['arm']}/seed_{row['seed']}/level_{row['level']:02d}"
        assert json.loads(json.dumps(ended.pop(where))) == row
    assert not ended
    points = {(where, step): values for _, where, step, values in _of("points")}
    for curve in results.read(tmp_path / results.CURVES):
        where = f"{curve['arm']}/seed_{curve['seed']}/level_{curve['level']:02d}"
        for i, step in enumerate(curve["step"]):
            values = points.pop((where, step))
            assert {k: round(v, 6) for k, v in values.items()} == {
                name: curve[name][i] for name in values
            }
    assert not points


def _of(kind):
    return [one for one in TOLD if one[0] == kind]


def test_a_writer_without_a_method_is_refused_before_training(tmp_path):
    with pytest.raises(ValueError, match="without finished"):
        experiment.run(config("halved"), tmp_path)
    assert not (tmp_path / results.RESULTS).exists()


def short(root):
    return type("Short", (Recorder,), {"finished": lambda self: None})(root)


def long(root):
    return type("Long", (Recorder,), {"points": lambda self, *, where: None})(root)


def open_ended(root):
    return type("Open", (Recorder,), {n: _taking for n in writers.METHODS})(root)


def _taking(self, *told, **more):
    del self, told, more


@pytest.mark.parametrize(
    "name, taken",
    [
        ("short", r"finished\(where, record\)"),
        ("long", r"points\(where, step, values\)"),
    ],
)
def test_a_method_of_other_arguments_is_refused_before_training(tmp_path, name, taken):
    with pytest.raises(ValueError, match=f"the writer must take {taken}, got .*{name}"):
        experiment.run(config(name), tmp_path)
    assert not (tmp_path / results.RESULTS).exists()


def test_a_method_that_takes_anything_will_do(tmp_path):
    with writers.opened(tmp_path, config("open_ended").logging) as found:
        found[-1].points("", 1, {})


def test_a_writer_that_is_not_there_is_refused():
    with pytest.raises(ValueError, match="nowhere"):
        check.check(config("nowhere"))


class Failing:
    def __init__(self, root):
        del root

    def fail(self, *told):
        raise RuntimeError("no service")

    points = finished = close = fail


@pytest.mark.parametrize(
    ("method", "told"), [("points", ("", 1, {})), ("finished", ("", {})), ("close", ())]
)
def test_what_a_writer_raises_while_it_is_told_becomes_one_sentence(method, told):
    own = writers.Own(Failing(None), "mine:writer")
    expected = f"the writer must .*{method}.*got writer = 'mine:writer', which rai"
    with pytest.raises(ValueError, match=expected) as error:
        getattr(own, method)(*told)
    assert isinstance(error.value.__cause__, RuntimeError)


def test_a_failing_writer_ends_a_run_with_a_sentence(tmp_path):
    with pytest.raises(ValueError, match="the writer must"):
        experiment.run(config("Failing"), tmp_path)


def test_a_writer_is_closed_when_a_run_fails(tmp_path):
    TOLD.clear()
    options = config().logging
    with pytest.raises(OSError), writers.opened(tmp_path, options):
        raise OSError
    assert TOLD[-1] == ("closed",)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
def test_the_guides_writer_for_mlflow_fills_a_local_store(tmp_path, monkeypatch):
    mlflow = pytest.importorskip("mlflow")
    text = (ROOT / "docs" / "guides" / "own_writer.md").read_text()
    block = text.split("```python\n# mlflow_writer.py\n")[1].split("```")[0]
    (tmp_path / "mlflow_writer.py").write_text(block)
    monkeypatch.syspath_prepend(tmp_path)
    own = tiny.config({"logging.writer": "mlflow_writer:writer", "seeds": (0,)})
    root = tmp_path / "run"
    rows = experiment.run(own, root)
    store = mlflow.MlflowClient(tracking_uri=f"sqlite:///{root}/mlflow.db")
    (found,) = (e for e in store.search_experiments() if e.name == "run")
    runs = {r.info.run_name: r for r in store.search_runs([found.experiment_id])}
    assert len(runs) == len(rows)
    for row in rows:
        run = runs[f"{row['arm']}/seed_{row['seed']}/level_{row['level']:02d}"]
        assert run.data.params["kept"] == str(row["kept"])
        assert run.data.metrics["test_accuracy"] == pytest.approx(row["test_accuracy"])
        assert run.info.status == "FINISHED"
