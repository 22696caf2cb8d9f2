"""Records become a table and figures, again at any time."""

import re
import runpy
import sys

import numpy as np
import pytest
import rich.console
from PIL import Image
from rows import NAMES, ROWS, record

from lthjax.program.report import (
    command,
    learning_rates,
    page_figures,
    run_report,
    start_points,
)
from lthjax.program.workdir import results, runs
from lthjax.program.workdir.measures import ACCURACY


@pytest.fixture
def root(tmp_path):
    results.append(tmp_path / results.RESULTS, ROWS)
    return tmp_path


def test_the_curve_has_a_line_an_arm_the_dense_line_and_its_spread():
    (axes,) = run_report.curve(ROWS).axes
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"dense", "ticket", "random"}
    x, y = lines["ticket"].get_data()
    np.testing.assert_allclose(x, [100, 80, 64])
    np.testing.assert_allclose(y, [90.5] * 3)
    np.testing.assert_allclose(lines["dense"].get_ydata(), [90.5] * 2)
    # A control starts from the dense network it shares with the ticket.
    np.testing.assert_allclose(lines["random"].get_ydata(), [90.5, 50, 50])
    assert axes.get_xscale() == "log"
    assert axes.get_xlim()[0] > axes.get_xlim()[1]
    assert len(axes.collections) == 2
    assert "n = 2" in axes.get_title()


def test_the_layers_figure_has_every_layer_and_level():
    axes, _ = run_report.layers(ROWS).axes
    assert [label.get_text() for label in axes.get_yticklabels()] == list(NAMES)
    assert [label.get_text() for label in axes.get_xticklabels()] == ["0", "1", "2"]
    np.testing.assert_allclose(axes.images[0].get_array(), [[100, 80, 64]] * 2)


def test_table_and_figures_are_written_and_can_be_read(root):
    assert not run_report.current(root)
    assert run_report.write(root) == ROWS
    assert run_report.current(root)
    for name in (run_report.CURVE, run_report.LAYERS):
        with Image.open(root / name) as image:
            assert image.format == "PNG"
            assert np.ptp(np.asarray(image.convert("L"))) > 0
    assert (root / run_report.TABLE).read_text() == results.to_csv(ROWS)
    written = {run_report.CURVE, run_report.LAYERS, run_report.TABLE, results.RESULTS}
    assert {path.name for path in root.iterdir()} == written


def test_new_records_make_what_is_written_old(root):
    run_report.write(root)
    results.append(root / results.RESULTS, [record(3, 0)])
    assert not run_report.current(root)


def test_without_records_nothing_is_written(tmp_path):
    assert run_report.write(tmp_path) == []
    assert not list(tmp_path.iterdir())


def test_the_printed_table_has_mean_spread_and_n():
    console = rich.console.Console(width=120)
    with console.capture() as capture:
        console.print(run_report.table(ROWS))
    lines = capture.get().splitlines()
    # 90 and 91 %: their sample deviation is half the square root of two.
    dense = next(line for line in lines if " dense " in line)
    assert "90.50 ± 0.71" in dense
    last = next(line for line in lines if re.search("2 .* ticket ", line))
    assert re.fullmatch(r"\W+2 \W+ticket\W+640\W+64.00\W+.*\W2\W+", last)
    assert [line for line in lines if " random " in line]


def test_n_counts_the_records_that_have_the_measure():
    rows = [r | {"test_accuracy": None} if r["seed"] else r for r in ROWS]
    (column,) = run_report.table(rows).columns[-1:]
    assert set(column.cells) == {"1"}


def test_the_report_is_drawn_again_by_its_command(root, monkeypatch, capsys):
    monkeypatch.setattr(sys, "argv", ["report", str(root)])
    monkeypatch.delitem(sys.modules, "lthjax.report", raising=False)
    runpy.run_module("lthjax.report", run_name="__main__")
    assert f"figure: {root / run_report.CURVE}" in capsys.readouterr().out
    assert run_report.current(root)


@pytest.mark.parametrize("share", [0.45, 0.7143, 1.0])
def test_the_share_of_the_largest_class_stands_beside_the_accuracies(share):
    console = rich.console.Console(width=100)
    with console.capture() as capture:
        console.print(run_report.table(ROWS, majority=share))
    line = f"always the largest class: test accuracy {100 * share:.2f}"
    assert line in capture.get()
    (axes,) = run_report.curve(ROWS, majority=share).axes
    label = f"always the largest class: {100 * share:.2f} %"
    assert label in [line.get_label() for line in axes.lines]
    low, high = axes.get_ylim()
    assert low <= 100 * share <= high


def test_a_share_far_below_the_accuracies_is_named_and_does_not_squeeze_them():
    (axes,) = run_report.curve(ROWS[:6], majority=0.1).axes
    assert axes.get_ylim()[0] > 80
    assert axes.lines[-1].get_label() == "always the largest class: 10.00 %"


def test_the_share_is_what_the_run_counted(root):
    assert run_report.majority(root) is None
    (root / run_report.CLASSES).write_text('{"majority": {"test": 0.25}}')
    assert run_report.majority(root) == 0.25
    for text in ("{}", '{"majority": {"te', '{"majority": null}', ""):
        (root / run_report.CLASSES).write_text(text)
        assert run_report.majority(root) is None


def test_names_and_paths_are_shown_as_they_are(tmp_path, capsys):
    root = tmp_path / "[red]a:smile:"
    root.mkdir()
    names = {r"$\frac{$/kernel": 0.5, "[b]/kernel": 0.2}
    rows = [{**row, "layers": names} for row in ROWS[:-1]]
    rows += [{**ROWS[-1], "layers": names, "arm": r"[a]$\frac{$"}]
    results.append(root / results.RESULTS, rows)
    command.main([str(root)])
    printed = capsys.readouterr().out
    assert f"figure: {root / run_report.CURVE}" in printed
    assert r"[a]$\frac{$" in printed and "[red]a:smile:\n" in printed.replace(" ", "")
    assert (root / run_report.CURVE).exists() and (root / run_report.LAYERS).exists()


def test_a_folder_without_records_is_an_error(tmp_path):
    with pytest.raises(SystemExit, match="^error: .* must hold the records .*nowhere"):
        command.main([str(tmp_path / "nowhere")])
    assert not list(tmp_path.iterdir())


def test_a_folder_that_cannot_be_written_to_has_a_table_all_the_same(
    root, capsys, monkeypatch
):
    def refuse(*_):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr(run_report, "save", refuse)
    with pytest.raises(SystemExit, match="writable for its figures, got .* denied"):
        command.main([str(root)])
    assert "90.50 ± 0.71" in capsys.readouterr().out


def test_what_has_no_record_is_said(root, caplog):
    for level in range(4):  # the last one may still be in its training
        (root / "tickets" / "seed_0" / f"level_{level:02d}").mkdir(parents=True)
        (root / "tickets" / "seed_2" / f"level_{level:02d}").mkdir(parents=True)
    runs.warn_of_lacking(root, ROWS)
    lacking = ", ".join(f"level {level} of seed_2" for level in range(3))
    assert f"lacks {lacking}, whose training was over" in caplog.text


def test_what_else_was_trained_is_no_record_of_the_ticket(root, caplog):
    for level in range(4):
        (root / "tickets" / "seed_0" / f"level_{level:02d}").mkdir(parents=True)
    others = [row for row in ROWS if (row["level"], row["arm"]) != (1, "ticket")]
    assert {row["arm"] for row in others if row["level"] == 1 and not row["seed"]}
    runs.warn_of_lacking(root, others)
    assert "lacks level 1 of seed_0, whose training was over" in caplog.text


def of_two_logits():
    """Returns records of two seeds with two first logits: the dense network is one."""
    accuracy = {-0.1: 0.8, -0.3: 0.6}
    return [
        {**record(level, seed, accuracy=accuracy[logit] if level else 0.9), **own}
        for level in (0, 1)
        for seed in (0, 1)
        for logit in accuracy
        for own in ({"initial": logit},)
    ]


def test_first_logits_are_not_averaged_as_if_they_were_seeds():
    rows = of_two_logits()
    shown = run_report.table(rows)
    cells = [list(column.cells) for column in shown.columns]
    labels = ["ticket, first logit -0.1", "ticket, first logit -0.3"]
    assert cells[1] == ["dense", *labels]
    assert cells[4] == ["90.00 ± 0.00", "80.00 ± 0.00", "60.00 ± 0.00"]
    assert cells[-1] == ["2", "2", "2"]
    axes = run_report.curve(rows).axes[0]
    lines = {line.get_label(): line for line in axes.lines}
    assert set(lines) == {"dense", *labels}
    np.testing.assert_allclose(lines[labels[0]].get_ydata(), [90, 80])
    np.testing.assert_allclose(lines[labels[1]].get_ydata(), [90, 60])
    assert lines[labels[0]].get_linestyle() != lines[labels[1]].get_linestyle()
    assert axes.get_title().endswith("n = 2")
    axes = run_report.layers(rows).axes[0]
    ticks = [label.get_text() for label in axes.get_xticklabels()]
    assert ticks == ["0", "1\n-0.1", "1\n-0.3"]
    assert axes.get_xlabel() == "level, first logit"


def test_the_dense_network_of_several_first_logits_counts_once_a_seed(tmp_path):
    origin = tmp_path / "config.json"
    origin.write_text('{"optimizer": {"learning_rate": 0.1}}')
    rows = of_two_logits()
    said = learning_rates.sentence(tmp_path, rows, ACCURACY)
    assert "test accuracy 90.00 ± 0.00 (n = 2)" in said
    rows += [{**row, "arm": "reinit"} for row in rows if row["level"]]
    starts = start_points.start_point_study(rows)
    assert [start.arm for start in starts] == [
        "ticket, first logit -0.1",
        "ticket, first logit -0.3",
    ]
    assert [round(start.below) for start in starts] == [10, 30]
    assert all(start.value.n == start.ahead.n == 2 for start in starts)


def test_differences_to_dense_are_of_one_first_logit():
    axes = page_figures.against_dense(of_two_logits(), ACCURACY).axes[0]
    heights = [box.lines[0].get_ydata() for box in axes.containers]
    np.testing.assert_allclose(np.array(heights, float), [[-10], [-30]])
