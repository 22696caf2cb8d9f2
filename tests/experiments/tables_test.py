"""A table of an experiment, as Markdown."""

import importlib

import pytest

pytestmark = pytest.mark.usefixtures("beside")


def markdown(*given, **more):
    return importlib.import_module("measures.tables").markdown(*given, **more)


def test_a_table_is_its_titles_a_rule_and_a_line_a_row():
    rows = iter([("a", 0.5, 3), ["b", "", 0]])
    assert markdown(["what", "mean", "n"], rows) == (
        "| what | mean | n |\n|---|---|---|\n| a | 0.5 | 3 |\n| b |  | 0 |"
    )


def test_a_cell_that_is_none_is_empty_and_a_table_may_have_no_row():
    assert markdown(["what", None], [(None, 1)]) == "| what | |\n|---|---|\n| | 1 |"
    assert markdown(["what", "n"], [], rule=" --- ") == "| what | n |\n| --- | --- |"
