"""The cells of Seo et al.: which are asked for, and which have ended."""

import json

import pytest
from commands import loaded

seo2021 = loaded("seo2021")


def options(workdir, *words):
    found = seo2021.arguments().parse_args([f"--workdir={workdir}", *words])
    found.workdir = workdir
    return found


def ended(workdir, folder, number):
    (workdir / folder).mkdir()
    text = json.dumps({"round": number})
    (workdir / folder / seo2021.experiment.FINAL).write_text(text)


def test_the_cells_of_the_tables_are_all_of_the_paper_s(tmp_path):
    found = seo2021.asked(options(tmp_path, "--seeds=1"))
    assert len(found) == 5 * 3 * 3 + 3
    assert len({cell.folder for cell in found}) == len(found)


def test_of_what_is_finished_those_cells_alone_are_told(tmp_path):
    with pytest.raises(
        ValueError, match="needs a cell that has ended, got none of 144"
    ):
        seo2021.asked(options(tmp_path, "--finished"))
    ended(tmp_path, "cell_C0.1_n20_seed1", 40)
    ended(tmp_path, "cell_C0.2_n20_seed1", 39)  # asked for fewer rounds before
    cells = seo2021.asked(options(tmp_path, "--finished"))
    assert [tuple(cell) for cell in cells] == [("cell", 0.1, 20, 1)]


@pytest.mark.parametrize("methods", [("fedavg", "standalone"), ("standalone",)])
def test_users_who_train_alone_stand_beside_the_others_in_every_panel(methods):
    row = {"up_bytes": 1, "down_bytes": 1, "masks_bytes": 0, "sparsity": 0.0}
    row |= {"global_accuracy": 0.2, "local_accuracy": 0.5, "printed_bytes": 1}
    rows = [{**row, "round": n} for n in (1, 2)]
    found = {
        seo2021.Cell(method, share, 20, 0): (rows, {})
        for method in methods
        for share in ((0.1, 0.5) if method == "fedavg" else (1.0,))
    }
    drawn = seo2021.federated.figure(found)
    shown = [axes for axes in drawn.axes if axes.get_visible()]
    by_round, by_traffic = shown[::2], shown[1::2]
    assert len(by_round) == (2 if "fedavg" in methods else 1)
    for axes in by_round:
        labels = [line.get_label() for line in axes.lines]
        assert labels == [seo2021.federated.NAMES[name] for name in methods]
    for axes in by_traffic:
        assert len(axes.lines) == len(methods) - 1
