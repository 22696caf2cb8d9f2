"""What a workdir is of: its config, kept twice, and a fingerprint of its data."""

import json
import logging
import os
import pathlib
from collections.abc import Collection

from lthjax.program.config import checksums, files
from lthjax.program.workdir import jax_settings

log = logging.getLogger(__name__)

CONFIG, COPY = "config.json", "run.json"


def document(path: str | os.PathLike) -> dict | None:
    """Returns the JSON object of a file with a checksum; `None` if it is not whole."""
    try:
        found, run = checksums.opened(pathlib.Path(path).read_bytes())
    except (FileNotFoundError, IsADirectoryError, ValueError):
        return None
    return None if run is None else found


def copy(root: str | os.PathLike) -> dict:
    """Returns the checked copy of a workdir's config, {} where there is no whole one.

    Its keys are `run`, the digest that the records are marked with, the `config`, the
    fingerprint of the `data`, what the records are of, `measures.Measures`, and the
    settings of `jax` that their numbers depend on.
    """
    found = document(pathlib.Path(root) / COPY) or {}
    whole = isinstance(found.get("config"), dict)
    return found | {"config": _dated(found["config"])} if whole else {}


def config(root: str | os.PathLike) -> dict:
    """Returns the config of a workdir, from its checked copy where that is needed.

    Args:
      root: The workdir.

    Returns:
      Nested dicts, as `config.json` holds them; {} where there is none.

    Raises:
      ValueError: `config.json` is damaged, and there is no whole copy.
    """
    root = pathlib.Path(root)
    shown, checked = _shown(root), copy(root).get("config")
    if checked and shown != checked:
        log.warning(
            "%s is not what the run wrote; its copy in %s is taken", root / CONFIG, COPY
        )
    if not checked and shown is None:
        raise ValueError(
            f"the config of a workdir must be whole JSON, got a damaged {root / CONFIG}"
            "; put it back as it was"
        )
    return checked or shown


def check(
    root: pathlib.Path,
    asked,
    data: dict | None,
    *,
    begun: bool,
    marks,
    measures: dict | None = None,
) -> str:
    """Checks that a workdir is of a config and of some data; returns both copies' text.

    Args:
      root: The workdir.
      asked: The config.
      data: The fingerprint of the data, `None` where it is not known.
      begun: Whether something has been trained in it.
      marks: The digests of the runs that its records are marked with.
      measures: What its records measure, to be noted.

    Returns:
      The text of the copy, `COPY`, to be written.

    Raises:
      ValueError: It is of another config (the differing keys are listed where a whole
        config is left), of other data, or no whole config is left; or it was begun with
        other settings of JAX; or what lies there is no run's, and would be lost.
    """
    held, own = copy(root), files.digest(asked)
    checked, shown = held.get("config"), _shown(root)
    if not checked:
        _check_ours(root / COPY, begun=begun or bool(shown))
    if checked:
        _check_keys(root, checked, asked)
        _say(begun and (not shown or files.changed(shown, asked)), root / CONFIG)
    elif own in marks:
        _check_sparsities(root, shown, asked)
        log.warning("%s is not whole; its records are of this config", root / COPY)
    else:
        _check_shown(root, shown, asked, begun=begun, marks=marks)
    if data and held.get("data"):
        _check_data(root, held["data"], data)
    found = {"run": held.get("run") or own, "config": plain(asked)}
    found["data"] = joined(held.get("data") or {}, data or {}) or None
    found["measures"] = measures or held.get("measures")
    before = held.get(jax_settings.KEY)
    found[jax_settings.KEY] = jax_settings.noted(root, before, begun=begun)
    return json.dumps(checksums.sealed(found), indent=2) + "\n"


def joined(old: dict, new: dict) -> dict:
    """Returns what is known of the data, of what a narrower command leaves out too.

    Args:
      old: A fingerprint, as a workdir holds it.
      new: That of the data there are.
    """
    return {
        part: (old.get(part) or {}) | (new.get(part) or {})
        for part in dict.fromkeys([*old, *new])
    }


def plain(asked) -> dict:
    """Returns a config as JSON holds it."""
    return json.loads(files.to_json(asked))


def _shown(root):
    """Returns what `config.json` holds, {} without one, `None` where it is damaged."""
    try:
        found = json.loads((root / CONFIG).read_bytes())
    except FileNotFoundError:
        return {}
    except ValueError:
        return None
    whole = isinstance(found, dict) and isinstance(found.get("data", {}), dict)
    return _dated(found) if whole else None


def _dated(config):
    """Returns a config with what keys that it lacks meant at its time."""
    return config and config | {"data": {"cut": "first", **config.get("data", {})}}


def _check_shown(root, shown, asked, *, begun: bool, marks: Collection[str]):
    """Checks what there is without a whole copy."""
    if shown:
        _check_keys(root, shown, asked)
    if marks:
        raise ValueError(
            f"the records of a workdir must be of its config, got workdir = {root}, "
            f"whose records are of another one, and no whole {COPY} to say of which; "
            "give the config that it was made with, or take another workdir"
        )
    if begun and not shown:
        why = "none" if shown == {} else "a damaged one"
        raise ValueError(
            f"a workdir with tickets or records must hold its {CONFIG}, got {why} in "
            f"{root}; put it back as it was, or take another workdir"
        )
    if shown is None:
        raise _others(root / CONFIG)


def _check_ours(path, *, begun: bool):
    """Refuses what is no damaged copy: it is whole, or nothing else is of a run."""
    if path.exists() and (not begun or path.is_dir() or _whole(path)):
        raise _others(path)


def _whole(path):
    try:
        return bool(checksums.opened(path.read_bytes()))
    except ValueError:
        return False


def _others(path):
    return ValueError(
        f"a workdir must be new or of a run, got workdir = {path.parent} with a "
        f"{path.name} that no run wrote; take another workdir"
    )


def _say(damaged, path):
    if damaged:
        log.warning("%s is not what the run wrote; it is written again", path)


def _check_keys(root, old, asked):
    rows = files.changed(old, asked)
    if rows:
        listing = "; ".join(
            f"{k}: {before!r} -> {now!r}" for k, (before, now) in rows.items()
        )
        raise ValueError(
            f"the config of an existing workdir must stay what it was, got workdir = "
            f"{root} with other values: {listing}; take another workdir, or "
            "give the old values"
        )


def _check_sparsities(root, shown, asked):
    """Checks what the digest of a run leaves out, where `config.json` still says it."""
    name, found = "sparsities", (shown or {}).get("search", {})
    if found.get(name) is not None:
        now = plain(asked)
        _check_keys(root, now | {"search": now["search"] | {name: found[name]}}, asked)


def apart(old: dict, now: dict) -> list[str]:
    """Returns which data differ, "train size (8, now 9)", of what is known of both.

    Args:
      old: As for `joined`.
      now: Likewise.
    """
    return [
        f"{split} {name}{_told(old[split][name], value)}"
        for split, rows in now.items()
        for name, value in rows.items()
        if old.get(split, {}).get(name, value) != value
    ]


def _check_data(root, old, now):
    if names := apart(old, now):
        raise ValueError(
            "the data of an existing workdir, and what it has from elsewhere, must "
            f"stay what they were, got workdir = {root} with other {', '.join(names)}; "
            "take another workdir, or bring back what there was"
        )


def _told(before, now):
    """Returns two numbers; of digests nothing can be read."""
    numbers = isinstance(before, int) and isinstance(now, int)
    return f" ({before}, now {now})" if numbers else ""
