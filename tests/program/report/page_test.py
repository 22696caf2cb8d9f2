"""One file for a browser: what a run was, what came out, and several runs in one."""

import html
import html.parser
import re
import time

import numpy as np
import pytest
from matplotlib.figure import Figure
from rows import NAMES, ROWS, record

from lthjax import compare, report
from lthjax.data import balance
from lthjax.program.config import files
from lthjax.program.report import axes, page, page_figures, run_report
from lthjax.program.workdir import notes, origin, results, text_files
from lthjax.program.workdir.measures import ACCURACY

CURVES = [
    {
        "level": row["level"],
        "seed": row["seed"],
        "arm": row["arm"],
        "start": 0,
        "step": [10, 20],
        "test_accuracy": [0.4, row["test_accuracy"]],
    }
    for row in ROWS
]


def workdir(root, rows=ROWS):
    root.mkdir(parents=True)
    results.append(root / results.RESULTS, rows)
    results.append(root / results.CURVES, CURVES, results.KEYS[results.CURVES])
    config = files.default()
    config.data.validation = 297
    config.search.exclude = ("<b>",)
    text_files.write(root / origin.CONFIG, files.to_json(config))
    return root


def test_a_class_of_another_script_is_left_to_the_browser():
    figure = Figure()
    figure.text(0.5, 0.5, "日本")
    assert "日本" in page.svg(figure)  # a warning would be an error


class Whole(html.parser.HTMLParser):
    """Checks that what is opened is closed, and lists the cells of tables."""

    def __init__(self):
        super().__init__()
        self.open, self.cells, self.count = [], [], {}

    def handle_starttag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1
        if tag not in ("meta", "link", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.count[tag] = self.count.get(tag, 0) + 1

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] == "td":
            self.cells.append(data)


def parsed(text):
    found = Whole()
    found.feed(text)
    assert found.open == []
    return found


def test_a_page_has_every_level_and_arm_and_what_the_config_has_otherwise(tmp_path):
    path = page.write(workdir(tmp_path / "a <i>run</i> & more"))
    text = path.read_text(encoding="utf-8")
    found = parsed(text)
    assert found.count["svg"] == found.count["figcaption"] == 4
    cells = " ".join(found.cells)
    assert "0 dense 1,000 100.00 90.50 6.35 2" in cells  # t(1, 97.5 %) = 12.7
    assert "1 random 800 80.00 50.00 0.00 2" in cells
    assert "data.validation 297 0" in cells
    assert 'search.exclude ["<b>"] []' in cells
    assert "a <i>run" not in text  # names open no elements
    assert "a &lt;i&gt;run&lt;/i&gt; &amp; more" in text
    assert not re.search(r"""(src|href)=["']?https?:""", text)  # no network is needed
    assert len(text) < 3e6


def test_what_makes_a_run_doubtful_comes_first(tmp_path):
    collapsed = {**record(3, 0), "collapsed": [NAMES[0]]}
    root = workdir(tmp_path / "run", [*ROWS, collapsed])
    counts = {"train": np.array([3, 0, 5])}
    notes.write(root / run_report.CLASSES, balance.noted(counts))
    assert page.warnings(page.read(root)) == [
        f"level 3, ticket, seed 0: no weight is left in {NAMES[0]}",
        "the train split has no image of class 1 of 3: nothing is learnt of it",
    ]


def test_the_report_command_writes_the_page_too(tmp_path, capsys):
    root = workdir(tmp_path / "run")
    report.main([str(root)])
    assert f"page: {root / page.PAGE}" in capsys.readouterr().out
    parsed((root / page.PAGE).read_text(encoding="utf-8"))


def test_a_page_of_a_damaged_config_is_refused_and_the_next_one_drawn(tmp_path, capsys):
    roots = [workdir(tmp_path / name) for name in ("a", "b")]
    (roots[0] / origin.COPY).unlink(missing_ok=True)
    (roots[0] / "config.json").write_text("{")
    with pytest.raises(SystemExit) as ended:
        report.main([*map(str, roots)])
    assert str(roots[0]) in str(ended.value)
    assert (roots[1] / page.PAGE).exists()


def test_what_a_run_measures_must_be_known_for_its_page(tmp_path):
    root = workdir(tmp_path / "run")
    rows = [{"level": 0, "seed": 0, "arm": "ticket", "test_mse": 0.5, "kept": 1}]
    (root / results.RESULTS).unlink()
    results.append(root / results.RESULTS, rows)
    with pytest.raises(ValueError, match="must say what its records measure, got none"):
        page.read(root)


def test_runs_are_compared_in_one_page(tmp_path, capsys):
    roots = [workdir(tmp_path / name / "run") for name in ("a", "b")]
    out = tmp_path / "both.html"
    compare.main([*map(str, roots), f"--page={out}"])
    assert f"page: {out}" in capsys.readouterr().out
    found = parsed(out.read_text(encoding="utf-8"))
    assert found.count["svg"] == 2 * 4 + 1
    assert found.count["section"] == 2
    assert "a/run beside b/run" in out.read_text(encoding="utf-8")


def test_what_cannot_be_compared_is_refused(tmp_path, capsys):
    root = workdir(tmp_path / "run")
    other = workdir(tmp_path / "other")
    (tmp_path / "link").symlink_to(root, target_is_directory=True)
    for again in (root, tmp_path / "link", other / ".." / "run"):
        with pytest.raises(SystemExit):  # of argparse, which says why
            compare.main([str(root), str(again)])
        assert "two different runs or more, got" in capsys.readouterr().err
    for place in (tmp_path / "no" / "page.html", tmp_path):
        with pytest.raises(SystemExit, match="--page must be a file in a folder that"):
            compare.main([str(root), str(other), f"--page={place}"])
    with pytest.raises(SystemExit, match="must hold the records of a run, got"):
        compare.main([str(root), str(tmp_path / "none")])
    run = page.read(root)
    other = run._replace(measures=ACCURACY._replace(shown="loss"))
    assert list(page_figures.together({"a": run, "b": other})) == []


def test_a_page_says_what_its_runs_have_not_in_common(tmp_path):
    run = page.read(workdir(tmp_path / "run"))
    assert page.apart([run, run]) == []
    lost = run._replace(measures=ACCURACY._replace(shown="loss"))
    (measured,) = page.apart([run, lost])
    assert measured.startswith("No figure of all: the runs measure ")
    named = {**run.config, "data": {**run.config["data"], "name": "mnist"}}
    other = run._replace(root=tmp_path / "mine", config=named)
    (different,) = page.apart([run, other])
    assert different == (
        "The runs are of different data: mine differs from run in data.name."
    )
    assert different in html.unescape(page.of([run, other]))


def test_a_measure_less_the_dense_one_is_paired_by_seed():
    (axes,) = page_figures.against_dense(ROWS, ACCURACY).axes
    lines = {c.get_label(): c for c in axes.containers}
    x, y = lines["ticket"].lines[0].get_data()
    assert [round(value) for value in x] == [80, 64]
    assert [round(value, 6) for value in y] == [0, 0]
    _, y = lines["random"].lines[0].get_data()
    assert [round(value, 6) for value in y] == [-40.5, -40.5]


def test_a_learning_curve_is_the_mean_of_its_level():
    (axes,) = page_figures.learning(CURVES, ACCURACY).axes
    labels = [line.get_label() for line in axes.lines]
    assert labels == ["dense", "level 1", "level 2"]
    assert axes.get_title() == "tickets, mean over seeds, n = 2"
    assert axes.lines[0].get_ydata() == pytest.approx([40, 90.5])


@pytest.mark.slow
def test_a_page_of_three_seeds_nine_levels_and_four_arms_takes_five_seconds(tmp_path):
    arms = ("ticket", "reinit", "shuffle", "random")
    rows = [
        record(level, seed, arm, 0.9)
        for level in range(9)
        for seed in range(3)
        for arm in arms[: None if level else 1]
    ]
    root = workdir(tmp_path / "run", rows)
    page.write(root)  # fonts are looked up once
    began = time.process_time()
    path = page.write(root)
    assert time.process_time() - began <= 5
    assert path.stat().st_size < 3e6


def test_a_missing_class_and_the_share_of_the_largest_stand_on_the_page(tmp_path):
    root = workdir(tmp_path / "run")
    counts = {"train": [9, 1], "validation": [2, 1], "test": [3, 0]}
    found = {part: np.array(n) for part, n in counts.items()}
    notes.write(root / run_report.CLASSES, balance.noted(found, ("cat", "eel")))
    assert ("always the largest class", "100.00 %") in page._facts(page.read(root))
    (sentence,) = page.warnings(page.read(root))
    assert sentence.startswith("the test split has no image of class 'eel' of 2")
    text_files.write(root / run_report.CLASSES, '{"images": [3')
    assert page.warnings(page.read(root)) == []


DAMAGES = {
    "has another checksum": lambda text: text.replace(b"3", b"4", 1),
    "is no UTF-8": lambda text: text[:3] + b"\xff" + text[4:],
    "is no whole JSON": lambda text: text[:-9],
}


@pytest.mark.parametrize("name", [run_report.CLASSES, run_report.COSTS])
@pytest.mark.parametrize("why", DAMAGES)
def test_a_damaged_note_is_said_once_and_not_shown(tmp_path, name, why, caplog):
    root = workdir(tmp_path / "run")
    counts = {part: np.array([3, 0]) for part in ("train", "test")}
    notes.write(root / run_report.CLASSES, balance.noted(counts))
    leaves = {leaf: [33, 1.0] for leaf in ROWS[0]["layers"]}
    notes.write(root / run_report.COSTS, leaves)
    whole = page.of([page.read(root)])
    (root / name).write_bytes(DAMAGES[why]((root / name).read_bytes()))
    report.main([str(root)])
    said = f"{root / name} is damaged: it {why}"
    assert caplog.text.count(said) == 1 and "writes it again" in caplog.text
    shown = "no image of class 1", "operations and parameters"
    lost = shown[name == run_report.COSTS]
    text = (root / page.PAGE).read_text(encoding="utf-8")
    assert all(one in whole for one in shown)
    assert [one for one in shown if one not in text] == [lost]


def test_runs_of_several_first_logits_are_compared_by_logit():
    accuracy = {0.3: 0.9, -0.3: 0.5}
    rows = [
        {**record(level, seed, accuracy=accuracy[logit]), "initial": logit}
        for level in (0, 1)
        for seed in (0, 1)
        for logit in accuracy
    ]
    run = page.Run(None, rows, [], ACCURACY, {})
    one = page.Run(None, ROWS, [], ACCURACY, {})
    ((_, figure),) = page_figures.together({"A": run, "B": one})
    lines = {line.get_label(): line for line in figure.axes[0].lines}
    assert set(lines) == {"A, first logit 0.3", "A, first logit -0.3", "B"}
    np.testing.assert_allclose(lines["A, first logit -0.3"].get_ydata(), [50, 50])
    assert axes.size(rows, "seeds") == "n = 2 seeds"


def test_a_training_that_stopped_early_stays_where_it_ended():
    curves = [
        {
            "level": 1,
            "seed": 0,
            "arm": "ticket",
            "step": [1, 2],
            "test_accuracy": [0.5, 0.9],
        },
        {
            "level": 1,
            "seed": 1,
            "arm": "ticket",
            "step": [1, 2],
            "test_accuracy": [0.5, 0.5],
        },
        {"level": 1, "seed": 1, "arm": "ticket", "step": [3], "test_accuracy": [0.5]},
    ]
    (line,) = page_figures.learning(curves, ACCURACY).axes[0].lines
    np.testing.assert_allclose(line.get_xdata(), [1, 2, 3])
    np.testing.assert_allclose(line.get_ydata(), [50, 70, 70])


def test_a_report_of_records_whose_tickets_are_lost_has_no_figure_of_layers(tmp_path):
    left = [row for row in ROWS if row["arm"] != "ticket"]
    assert left
    root = workdir(tmp_path / "run", left)
    report.main([str(root)])
    assert (root / "curve.png").exists() and not (root / "layers.png").exists()


def test_a_page_that_cannot_be_written_is_said_at_the_end(tmp_path):
    roots = [workdir(tmp_path / name) for name in ("one", "two")]
    (roots[0] / "report.html").mkdir()
    with pytest.raises(SystemExit, match="report.html"):
        report.main([str(root) for root in roots])
    assert (roots[1] / "report.html").is_file()
