"""Which packages are installed here."""

import importlib.metadata


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
