"""A disk that flips bits, loses the end of a file, or is full."""

import contextlib
import os
import resource


def flip(path):
    """Flips one bit in the middle of a file."""
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def halve(path):
    """Cuts a file in the middle."""
    os.truncate(path, path.stat().st_size // 2)


@contextlib.contextmanager
def files_of_at_most(size):
    """Lets the system refuse larger files, as a full disk would."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)
