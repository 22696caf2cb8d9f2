"""The folder of a run: what is in it, and its records."""
