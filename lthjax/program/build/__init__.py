"""A config becomes functions."""
