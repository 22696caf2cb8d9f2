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
