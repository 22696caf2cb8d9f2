"""A federated run: config in, workdir out."""
