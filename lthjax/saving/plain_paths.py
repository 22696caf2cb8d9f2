"""Names of folders that mean nothing but themselves to what saves in them."""

import contextlib
import pathlib
import re
import tempfile
from collections.abc import Iterator

from lthjax.devices import processes

# What means nothing but itself to orbax, which globs in the paths that it is given and
# takes some for addresses.
_MARKS = " ./+,=@%~_-"
_ADDRESS = re.compile(r"[a-z][a-z0-9+.-]+:")  # of a store that is no file system
_PLAIN = re.compile(rf"[a-zA-Z0-9{_MARKS}]*")


def check(path: str | pathlib.Path) -> None:
    """Checks that checkpoints can lie in a folder, whatever characters its path has.

    Raises:
      ValueError: The path is an address, such as gs://bucket/run; or it is not plain,
        and there are several processes, or the folder for temporary files is not plain
        either, where the path gets another name.
    """
    first, *others = pathlib.Path(path).parts or ("",)
    if others and _ADDRESS.fullmatch(first) and not pathlib.Path(first).exists():
        raise ValueError(
            "a folder must be one of a file system that is mounted here, got the "
            f"address {first}//{'/'.join(others)}; mount it, or take another folder"
        )
    path = pathlib.Path(path).absolute()
    if plain(path):
        return
    if not processes.alone():
        raise ValueError(
            "a path that several processes write to must be of letters, digits and any "
            f"of '{_MARKS}', got {str(path)!r}; take another one"
        )
    if not plain(tempfile.gettempdir()):
        raise ValueError(
            "the path of what is saved must be of letters, digits and any of "
            f"'{_MARKS}', or else TMPDIR must be, which lends it another name, got "
            f"{str(path)!r} with TMPDIR = {tempfile.gettempdir()!r}"
        )


@contextlib.contextmanager
def named(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """Yields a path of a folder that means nothing but itself: a link's, if need be."""
    if plain(folder):
        yield folder
        return
    with tempfile.TemporaryDirectory(prefix="lthjax-") as place:
        link = pathlib.Path(place) / "folder"
        link.symlink_to(folder, target_is_directory=True)
        yield link


def plain(path: str | pathlib.Path) -> bool:
    """Says whether a path means nothing but itself."""
    return _PLAIN.fullmatch(str(path)) is not None
