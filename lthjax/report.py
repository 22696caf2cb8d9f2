"""The command: `python -m lthjax.report WORKDIR` draws a run's table and figures."""

from lthjax.program.report.command import main

if __name__ == "__main__":
    main()
