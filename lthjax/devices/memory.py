"""How much memory a run has needed, at its most."""

import math
import os
import sys

import jax

try:
    import resource
except ImportError:  # on Windows
    resource = None

UNIT = 1 if sys.platform == "darwin" else 1024  # bytes of what getrusage counts


def peak() -> int:
    """Returns the most bytes in use at once so far.

    Of the device that needed most, where devices have a memory of their own; else of
    this process, 0 where the system does not say.
    """
    found = [device.memory_stats() or {} for device in jax.local_devices()]
    on_device = max(stats.get("peak_bytes_in_use", 0) for stats in found)
    if on_device or resource is None:
        return on_device
    return UNIT * resource.getrusage(resource.RUSAGE_SELF).ru_maxrss


def installed() -> float:
    """Returns the bytes of memory of this machine, infinity where it does not say."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (AttributeError, ValueError, OSError):  # the first on Windows
        return math.inf


def text() -> str:
    """Returns "peak memory 1.23 GB of the device", or "of the process"."""
    own = (jax.local_devices()[0].memory_stats() or {}).get("peak_bytes_in_use")
    return f"peak memory {peak() / 1e9:.2f} GB of the {'device' if own else 'process'}"
