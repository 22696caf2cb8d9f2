"""Many runs as one: their grid, their jobs, their table."""
