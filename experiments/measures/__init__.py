"""What `speed.py` measures: a file for each kind of work, each with its `PARTS`."""
