"""Whose a federated workdir is: its config, its data, and the records that it holds."""

import contextlib
import json
import logging
import pathlib
from collections.abc import Iterator, Sequence

from ml_collections import ConfigDict

from lthjax import whole_files
from lthjax.program.config import checksums
from lthjax.program.config.validate import flat
from lthjax.program.federated import settings
from lthjax.program.workdir import (
    claim,
    jax_settings,
    origin,
    results,
    text_files,
)
from lthjax.saving import checkpoints

log = logging.getLogger(__name__)

CONFIG, ROUNDS = claim.MARKS[claim.FEDERATED]
STATE = "state"
DATA = "data.json"  # what the data set is: its fingerprint; and JAX's settings


@contextlib.contextmanager
def claimed(root: pathlib.Path, config: ConfigDict) -> Iterator[str]:
    """Creates the folder or checks that it is of this config, and locks it.

    Args:
      root: The folder.
      config: The config.

    Yields:
      The digest that records are marked with.

    Raises:
      ValueError: It was made with another config, is of no federated run, or another
        process writes to it.
    """
    claim.folder(root, claim.FEDERATED)
    checkpoints.check_path(root)
    root.mkdir(parents=True, exist_ok=True)
    with claim.locked(root / ".lock"):
        now = json.loads(json.dumps(config.to_dict()))
        before, mark = _check_same(root, now), _mark(now)
        _mark_again(root, before, mark)
        text = json.dumps(checksums.sealed(now), indent=1) + "\n"
        text_files.write(root / CONFIG, text)
        yield mark


def _settled(found):
    """Returns the keys that results depend on."""
    return {
        key: value for key, value in flat(found).items() if key not in settings.FREE
    }


def _known(now):
    """Returns the defaults of a config's method and partition, as JSON holds them."""
    found = settings.default(now["method"], now["clients"]["partition"])
    return json.loads(json.dumps(found.to_dict()))


def _filled(found, known):
    """Returns a config, what it lacks at the default."""
    rows = {
        key: _filled(found[key], value)
        if isinstance(value, dict) and isinstance(found.get(key), dict)
        else found.get(key, value)
        for key, value in known.items()
    }
    return found | rows


def _mark(now):
    """Returns the digest of what differs from the defaults, and of what these go by."""
    known, own = flat(_known(now)), ("method", "clients.partition")
    rows = {
        key: value
        for key, value in _settled(now).items()
        if key in own or key not in known or known[key] != value
    }
    return checksums.digest(rows)


def _mark_again(root, before, mark):
    """Marks the records of an earlier version, whose mark was of all its keys."""
    former = checksums.digest(_settled(before))
    if former in results.scan(root / ROUNDS, former).runs:
        keep(root, records(root, former), mark)


def _check_same(root, now):
    """Returns the config that a workdir has, {} of a new one; refuses another one."""
    path = root / CONFIG
    if not path.exists():
        others = [name for name in (ROUNDS, STATE, DATA) if (root / name).exists()]
        if others:
            raise ValueError(
                f"a workdir must be new or of a federated run, got workdir = {root} "
                f"with {others[0]} and no {CONFIG}; take another workdir"
            )
        return {}
    try:
        before, _ = checksums.opened(path.read_bytes())
    except ValueError as error:
        raise ValueError(
            f"the config of a workdir must be whole, got {path}, which {error}; put it "
            "back as it was, or take another workdir"
        ) from error
    old, new = _settled(_filled(before, _known(now))), _settled(now)
    apart = [k for k in sorted({*old, *new}) if old.get(k) != new.get(k)]
    if apart:
        rows = ", ".join(f"{k} = {new.get(k)!r} (was {old.get(k)!r})" for k in apart)
        raise ValueError(
            f"a workdir must go on with its own config, got {rows} in workdir = {root}"
            "; take another workdir"
        )
    return before


def check_data(root: pathlib.Path, data: dict) -> None:
    """Notes what the data are, or checks that they are those of the rounds before.

    The settings of JAX that numbers depend on are noted beside them.

    Args:
      root: The workdir.
      data: Their fingerprint.

    Raises:
      ValueError: They are others, or nothing says which they were; or the settings are
        others.
    """
    path, data = root / DATA, json.loads(json.dumps(data))
    try:
        known = checksums.opened(path.read_bytes())[0] if path.exists() else None
    except ValueError as error:
        if (root / ROUNDS).exists():
            raise ValueError(
                f"{path} {error}, and nothing else says of which data the rounds are; "
                "put it back as it was, or take another workdir"
            ) from error
        log.warning("%s %s; it is written again", path, error)
        known = None
    known = known or {}
    held, begun = known.pop(jax_settings.KEY, None), (root / ROUNDS).exists()
    own = jax_settings.noted(root, held, begun=begun)
    if names := origin.apart(known, data):
        raise ValueError(
            "the data of an existing workdir must stay what they were, got workdir = "
            f"{root} with other data than {DATA} says, {', '.join(names)}; take "
            "another workdir, or bring the old data back"
        )
    noted = origin.joined(known, data) | {jax_settings.KEY: own}
    sealed = checksums.sealed(noted)
    text_files.write(path, json.dumps(sealed, indent=1) + "\n")


def records(root: pathlib.Path, mark: str) -> list[dict]:
    """Returns the whole records of a run, by round; what is damaged is said.

    Args:
      root: Its workdir.
      mark: As `claimed` yields it.
    """
    found = results.scan(root / ROUNDS, mark)
    if found.damaged:
        log.warning("%s", results.told(root / ROUNDS, found.damaged))
    return sorted(found.records.values(), key=lambda row: row["round"])


def keep(root: pathlib.Path, rows: Sequence[dict], mark: str = "") -> None:
    """Keeps those records alone: rounds after the checkpoint are done again.

    Args:
      root: The workdir.
      rows: The records.
      mark: As `claimed` yields it.
    """
    sealed = (json.dumps(checksums.sealed(row, mark)) + "\n" for row in rows)
    if (root / ROUNDS).exists():
        text_files.write(root / ROUNDS, "".join(sealed))


def start_over(root: pathlib.Path, rows: Sequence[dict]) -> None:
    """Puts aside the records of rounds that no checkpoint goes on from, and says so.

    The file as it was stays beside it, with the ending `.outdated`.

    Args:
      root: The workdir.
      rows: Its whole records.
    """
    path = root / ROUNDS
    if not path.exists() or not path.stat().st_size:
        return
    aside = path.rename(whole_files.aside(path, "outdated"))
    log.warning(
        "%s holds no checkpoint, and the %d rounds that there are records of are "
        "trained again; these are put aside in %s",
        root / STATE,
        len(rows),
        aside,
    )
