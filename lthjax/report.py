"""The command: `python -m lthjax.report WORKDIR` draws a run's table and figures.

In a notebook, with `rows = results.read(WORKDIR / "results.jsonl")` or what a run has
returned, `lthjax.report.curve(rows)` and `lthjax.report.layers(rows)` are its figures.
"""

from lthjax.program.report.command import main
from lthjax.program.report.run_report import curve as curve
from lthjax.program.report.run_report import layers as layers

if __name__ == "__main__":
    main()
