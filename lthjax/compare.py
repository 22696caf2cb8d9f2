"""The command: `python -m lthjax.compare A B` puts runs into one page."""

from lthjax.program.report.command import compare as main

if __name__ == "__main__":
    main()
