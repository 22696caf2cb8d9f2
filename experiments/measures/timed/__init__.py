"""What `speed.py` and `accelerator.py` time, a file a kind of work with its `PARTS`."""
