"""Runs of the program draw nothing but where the drawing is the matter."""

import pytest
import tiny

from lthjax.program.build import assemble
from lthjax.program.report import run_report


@pytest.fixture(autouse=True)
def _blank_figures(request, monkeypatch):
    """Half a second a run: what figures show is tested in `report`, by rows."""
    if "report" not in request.path.parts:
        monkeypatch.setattr(run_report, "save", lambda figure, path: path.touch())


@pytest.fixture
def compiled_once(monkeypatch):
    """Runs that compute the same share what they compile."""
    monkeypatch.setattr(assemble, "build", tiny.build)
