"""A tree of arrays and its metadata to disk and back, atomically and checked."""

import contextlib
import errno
import hashlib
import json
import logging
import pathlib
import re
import shutil
import sys
from typing import Any

import jax
import numpy as np
import orbax.checkpoint as ocp

from lthjax import whole_files
from lthjax.devices import meshes, processes
from lthjax.saving import plain_metadata, plain_paths, savable
from lthjax.saving.plain_paths import check as check_path

log = logging.getLogger(__name__)

# What the system says of a file that is gone or cut short; all else may pass.
_GONE = {errno.ENOENT, errno.ENOTDIR, errno.EISDIR, errno.ELOOP}
_NUMBER = re.compile(r"(?:OS error |Errno )(\d+)")
_STAND_IN = "lthjax-checkpoint-"


class DamagedError(ValueError):
    """A checkpoint that cannot be read, or that holds other leaves than were saved."""


def save(path: str | pathlib.Path, tree: Any, metadata: dict | None = None) -> None:
    """Writes a tree and JSON metadata to a new folder `path`, whole or not at all.

    Orbax writes to a temporary folder and renames it. A checksum of the leaves and of
    the metadata goes with them: orbax restores flipped bits without a word. All is read
    back before it counts as saved. What stands at `path` is replaced. Of several
    processes all call this: each writes what it has of an array that lies on all of
    them, the first one the rest.

    Args:
      path: The folder.
      tree: A tree of arrays, the same in all processes or on their mesh; `None` leaves
        are allowed.
      metadata: What JSON can hold; numbers of arrays are saved as Python's.

    Raises:
      OSError: It could not be written, or not be read back; what stood at `path` may be
        gone.
      ValueError: As `check_path`, `savable.check` and `plain_metadata.plain`. What
        stands at `path` is left.
    """
    check_path(path)
    metadata = plain_metadata.plain(metadata or {})
    path = pathlib.Path(path).absolute()
    savable.check(tree)
    tree = savable.native(tree)
    whole = jax.device_get(meshes.collected(tree))
    metadata = {"metadata": metadata, "checksum": checksum(whole, metadata)}
    tree = whole if processes.alone() else jax.tree.map(_kept, tree, whole)
    arguments = ocp.args.Composite(
        tree=ocp.args.PyTreeSave(tree), metadata=ocp.args.JsonSave(metadata)
    )
    try:
        _write(path, arguments)
    except ValueError as error:  # of tensorstore, for what the system refused to write
        raise OSError(f"{path} cannot be written: {error}") from error
    _check_written(path, whole, metadata["checksum"])


def _write(path, arguments):
    """Lets orbax write to a path, of whatever characters."""
    if not plain_paths.plain(path):
        path.parent.mkdir(parents=True, exist_ok=True)
    name = path.name
    if not plain_paths.plain(name):
        whole_files.sweep(path.parent, _STAND_IN)
        name = f"{_STAND_IN}{whole_files.own()}"
    with plain_paths.named(path.parent) as folder, _checkpointer() as writer:
        writer.save(folder / name, args=arguments, force=True)
        if name != path.name:
            shutil.rmtree(path, ignore_errors=True)
            (folder / name).rename(path)


def _check_written(path, like, expected):
    """Checks that what was written can be read; else it is removed.

    The checksum that is expected is the first process's, whose metadata were written.
    """
    try:
        _, _, found = _read(path, like)
        wrong = processes.first() and found != expected
    except DamagedError as error:
        found, wrong = error, True
    (wrong,) = processes.largest(wrong)
    if wrong:
        _remove(path)
        raise OSError(
            f"what was written to {path} must be read back as it was, got {found}; its "
            "disk is at fault"
        )


@processes.by_first
def _remove(path):
    shutil.rmtree(path, ignore_errors=True)


def _kept(leaf, whole):
    """Returns what orbax is to write of a leaf: that on all processes, or the array."""
    local = not isinstance(leaf, jax.Array) or leaf.is_fully_addressable
    return whole if local else leaf


def restore(path: str | pathlib.Path, like: Any = None) -> tuple[Any, dict]:
    """Returns (tree, metadata) of a folder that `save` wrote, as numpy arrays.

    Args:
      path: The folder.
      like: A tree with the structure to restore (its leaves do not matter), or a
        function of the metadata that returns it. Without it NamedTuples come back as
        dicts.

    Raises:
      DamagedError: A file is missing or broken, or the checksum differs.
      OSError: The system would not read it now: no memory, or too many open files.
      Exception: What `like` raises.
    """
    tree, metadata, _ = _read(pathlib.Path(path).absolute(), like)
    return tree, metadata


def _read(path, like) -> tuple[Any, dict, str]:
    """Returns what `restore` does, and the checksum, which is that of the leaves."""
    if callable(like):
        with _reading(path) as (reader, folder):
            metadata = _metadata(reader, folder)["metadata"]
        like = like(metadata)
    with _reading(path) as (reader, folder):
        restored = reader.restore(folder, args=_arguments(like))
        metadata = restored.metadata["metadata"]
        expected = restored.metadata["checksum"]
        found = checksum(restored.tree, metadata)
    if found != expected:
        raise DamagedError(
            f"the checksum of {path} must be {expected}, got checksum = {found}"
        )
    return restored.tree, metadata, found


def _hush():
    """Drops what tensorstore says of reads that end when orbax has closed its loop.

    Where one file of a checkpoint is damaged, every other read ends so, with a
    traceback that says nothing of it.
    """
    earlier = sys.unraisablehook
    if getattr(earlier, "hushed", False):
        return

    def hook(found):
        if str(found.exc_value) != "Event loop is closed":
            earlier(found)

    hook.hushed = True
    sys.unraisablehook = hook


@contextlib.contextmanager
def _reading(path):
    """Yields (reader, folder), whatever the path; what it raises is of damage.

    But for what the system has no room for: that is an OSError, and passes.
    """
    check_path(path)
    _hush()
    try:
        with plain_paths.named(path) as folder, _checkpointer() as reader:
            yield reader, folder
    except PermissionError:
        raise
    except Exception as error:  # orbax and tensorstore raise a dozen different ones
        reason = " ".join(str(error).split())[:200]
        if _passes(error):
            raise OSError(
                f"{path} cannot be read now: {reason}; it is left as it is, run again"
            ) from error
        raise DamagedError(f"{path} cannot be read: {reason}") from error


def _passes(error):
    """Says whether an error tells of the system's state, not of what was saved."""
    told = re.search("RESOURCE_EXHAUSTED", str(error)) or isinstance(error, MemoryError)
    numbers = {int(number) for number in _NUMBER.findall(str(error))}
    if isinstance(error, OSError) and error.errno is not None:
        numbers |= {error.errno}
    return bool(told or numbers - _GONE)


def _metadata(reader, path):
    """Returns {"metadata", "checksum"} of what was saved, reading nothing else."""
    arguments = ocp.args.Composite(metadata=ocp.args.JsonRestore())
    return reader.restore(path, args=arguments).metadata


def seal(path: str | pathlib.Path) -> str:
    """Returns the checksum that a folder which `save` wrote says of itself, unchecked.

    Raises:
      DamagedError: It says none.
    """
    with _reading(pathlib.Path(path).absolute()) as (reader, folder):
        return _metadata(reader, folder)["checksum"]


def _arguments(like):
    types = _as_numpy(like) if like is not None else None
    tree = ocp.args.PyTreeRestore(item=like, restore_args=types)
    return ocp.args.Composite(tree=tree, metadata=ocp.args.JsonRestore())


def checksum(tree: Any, metadata: dict) -> str:
    """Returns a hash of every leaf's name, type, shape and bytes, and of the metadata.

    Of the metadata as they come back from JSON: tuples as lists, keys as text.
    """
    digest = hashlib.blake2b(digest_size=16)
    plain = json.loads(json.dumps(metadata))
    digest.update(json.dumps(plain, sort_keys=True).encode())
    rows = [(_name(p), x) for p, x in jax.tree_util.tree_leaves_with_path(tree)]
    for name, leaf in sorted(rows, key=lambda row: row[0]):
        array = np.asarray(leaf)
        digest.update(f"{name} {array.dtype} {array.shape}".encode())
        digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()


def _name(path):
    """Returns the name of a leaf as all checksums so far have it."""
    return "/".join(str(getattr(k, "key", getattr(k, "name", k))) for k in path)


def roll(directory: str | pathlib.Path, tree: Any, metadata: dict | None = None):
    """Saves as the next number in `directory` and removes all but the two newest."""
    directory = pathlib.Path(directory)
    numbers = _numbers(directory)
    save(directory / str(numbers[-1] + 1 if numbers else 0), tree, metadata)
    _trim(directory)


@processes.by_first
def _trim(directory):
    stays = {str(n) for n in _numbers(directory)[-2:]}
    for old in directory.iterdir():
        ours = old.name.partition(".")[0].isdecimal()  # "5", "5.damaged", "5.orbax-..."
        if old.is_dir() and ours and old.name not in stays:
            shutil.rmtree(old)


def newest(directory: str | pathlib.Path, like: Any = None) -> tuple[Any, dict] | None:
    """Returns the newest undamaged checkpoint that `roll` left, `None` without one.

    A damaged one is reported and set aside, and the one before it is taken; where there
    was only one, that is the start.

    Args:
      directory: The folder that `roll` wrote to.
      like: As for `restore`.

    Raises:
      DamagedError: There are two, and neither can be read.
    """
    directory, damaged, found = pathlib.Path(directory), [], None
    for number in reversed(_numbers(directory)):
        try:
            found = restore(directory / str(number), like)
            break
        except DamagedError as error:
            log.warning("%s; falling back to what was saved before it", error)
            damaged.append(directory / str(number))
    if found is None and len(damaged) > 1:
        raise DamagedError(
            f"one of the checkpoints in {directory} must be readable, got none of "
            f"{len(damaged)}; remove the folder to start over what it holds"
        )
    processes.meet("the newest checkpoint is found")
    _set_aside(damaged)
    return found


def noted(directory: str | pathlib.Path) -> dict | None:
    """Returns the metadata of the newest checkpoint that `roll` left, unchecked.

    `None` where there is none, or it is damaged: `newest` checks them.

    Raises:
      OSError: As `restore`.
    """
    directory = pathlib.Path(directory).absolute()
    numbers = _numbers(directory)
    if not numbers:
        return None
    try:
        with _reading(directory / str(numbers[-1])) as (reader, folder):
            return _metadata(reader, folder)["metadata"]
    except DamagedError:
        return None


@processes.by_first
def _set_aside(damaged):
    for path in damaged:
        path.rename(whole_files.aside(path, "damaged"))


def _numbers(directory):
    """Returns the numbers of the finished checkpoints, in order."""
    if not directory.is_dir():
        return []
    return sorted(int(p.name) for p in directory.iterdir() if p.name.isdigit())


def _as_numpy(like):
    return jax.tree.map(lambda _: ocp.RestoreArgs(restore_type=np.ndarray), like)


def _checkpointer():
    return ocp.Checkpointer(ocp.CompositeCheckpointHandler())
