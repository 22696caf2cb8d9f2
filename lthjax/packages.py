"""Which packages are installed here."""

import functools
import importlib.metadata
import re


def version(name: str, absent: str = "not installed") -> str:
    """Returns the version of a package.

    Args:
      name: Of the distribution, "jax".
      absent: What is returned where it is not installed, or is run from its source.
    """
    try:
        return importlib.metadata.version(name)
    except importlib.metadata.PackageNotFoundError:
        return absent


@functools.cache
def modules_with(name: str) -> frozenset[str]:
    """Returns what can be imported of a package, and of all that it is installed with.

    What it needs is followed to the end, extras too, as far as it is installed.

    Args:
      name: Of the distribution, "lthjax".
    """
    left, seen = [name], set()
    while left:
        package = _normal(left.pop())
        if package not in seen:
            seen.add(package)
            left += _needed(package)
    found = importlib.metadata.packages_distributions().items()
    return frozenset(
        module
        for module, owners in found
        if seen & {_normal(owner) for owner in owners}
    )


def _needed(name):
    """Returns the names in what a package requires, none where it is not installed."""
    try:
        rows = importlib.metadata.requires(name) or []
    except importlib.metadata.PackageNotFoundError:
        return []
    return [found.group() for row in rows if (found := re.match(r"[\w.-]+", row))]


def _normal(name):
    return re.sub(r"[-_.]+", "-", name).lower()
