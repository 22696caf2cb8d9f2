"""Everything that knows a config or a workdir."""
