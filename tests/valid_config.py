"""A config that nothing refuses, for the tests of configs."""

from lthjax.program.config import files


def valid(**changes):
    """Returns the default config with an end, and with changes by dotted key.

    Args:
      **changes: By key, two underscores for each dot.
    """
    found = files.default()
    found.train.epochs = 2
    with found.ignore_type():
        for key, value in changes.items():
            found.update_from_flattened_dict({key.replace("__", "."): value})
    return found
