"""Runs of the program draw nothing but where the drawing is the matter."""

import pytest

from lthjax.program.report import run_report


@pytest.fixture(autouse=True)
def _blank_figures(request, monkeypatch):
    """Half a second a run: what figures show is tested in `report`, by rows."""
    if "report" not in request.path.parts:
        monkeypatch.setattr(run_report, "save", lambda figure, path: path.touch())
