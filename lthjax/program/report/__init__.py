"""Records become tables and figures."""
