"""What is measured: for `speed.py`, a file for each kind of work, with its `PARTS`."""
