"""A federated run: rounds, records, evaluations, checkpoints; it resumes by itself."""

import json
import logging
import pathlib
import time
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from ml_collections import ConfigDict

from lthjax.data import fingerprints
from lthjax.data.splits import Source
from lthjax.federated import states, traffic
from lthjax.program import progress
from lthjax.program.federated import assembly
from lthjax.program.federated.assembly import Parts
from lthjax.program.federated.ownership import (
    ROUNDS,
    STATE,
    check_data,
    claimed,
    keep,
    records,
    start_over,
)
from lthjax.program.workdir import claim, results, text_files
from lthjax.saving import checkpoints

log = logging.getLogger(__name__)

FINAL = "final.json"
SECONDS = 30.0  # of work are lost to a kill, at most, and a round


def run(
    config: ConfigDict, root: pathlib.Path, source: Source | None = None
) -> tuple[list[dict], dict]:
    """Runs all rounds that are missing, and returns the records and the final one.

    A run that is cut anywhere and started again ends with the same bits.

    Args:
      config: A config, as `settings.default` has it.
      root: The workdir.
      source: Its data set, `assembly.load(config)`, where several runs share it.

    Raises:
      ValueError: Something in the config is wrong, or the workdir is of another run,
        or of other data.
      Interrupted: The run was asked to stop, and has saved where it stands.
    """
    root = claim.folder(root, claim.FEDERATED)
    source = assembly.load(config) if source is None else source
    parts, data = assembly.assemble(config, source), fingerprints.fingerprint(source)
    with claimed(root, config) as mark, progress.interruption() as asked:
        check_data(root, data)
        stand = _resumed(root, parts, config.rounds, mark)
        state, local = _through(root, parts, config, stand, (mark, asked))
        return _finished(root, parts, state, local, mark)


def _through(root, parts: Parts, config, stand, marks):
    """Returns (state, local accuracies) after the last round, each recorded."""
    (state, local, at), (mark, asked), saved = stand, marks, time.monotonic()
    for number in range(at + 1, config.rounds + 1):
        state, local, row = _round(parts, config, state, local, number)
        results.append(root / ROUNDS, [row], ("round",), mark)
        log.info("%s", _told(row, config.rounds))
        late = time.monotonic() - saved > SECONDS
        if late or asked.is_set() or number == config.rounds:
            _save(root, state, local, number)
            saved = time.monotonic()
        _heed(asked, number, config.rounds)
    return state, local


def _round(parts: Parts, config, state, local, number: int):
    """Returns (state, local accuracies, record) after the round of a number from 1."""
    key = assembly.round_key(config, number - 1)
    server, clients, record = parts.round(key, *state, parts.examples)
    row = _row(parts, number, jax.device_get(record), clients)
    local = _marked(local, record)
    if number % config.eval_every == 0 or number == config.rounds:
        local = _refreshed(parts, clients, local)
        row |= _evaluated(parts, server, local)
    return (server, clients), local, row


def _heed(asked, number, rounds):
    """Ends the run where it was asked to stop."""
    if asked.is_set() and number < rounds:
        raise progress.Interrupted(
            f"stopped after round {number}; the same command goes on from there"
        )


def _finished(root, parts, state, local, mark):
    """Returns all records, and writes what the networks are worth at the end."""
    rows = records(root, mark)
    final = {"round": len(rows), **_final(parts, *state, local)}
    text_files.write(root / FINAL, json.dumps(final, indent=1) + "\n")
    return rows, final


def _resumed(root, parts: Parts, wanted: int, mark: str):
    """Returns (state, local accuracies, round) of where the run stands."""
    first = np.asarray(parts.everywhere(parts.start[0].params))
    local = {"accuracy": first, "stale": np.zeros(len(first), bool)}
    like = {"server": parts.start[0], "clients": parts.start[1], "local": local}
    saved = checkpoints.newest(root / STATE, like)
    rows = records(root, mark)
    if saved is None:
        start_over(root, rows)
        return parts.start, local, 0
    tree, metadata = saved
    at = metadata["round"]
    if [row["round"] for row in rows[:at]] != list(range(1, at + 1)):
        raise ValueError(
            f"there must be a record of each of the {at} rounds that were saved, got "
            f"{root / ROUNDS} with {len(rows)} whole ones; take another workdir"
        )
    if at > wanted:
        raise ValueError(
            f"rounds must be at least the {at} that the workdir has, got rounds = "
            f"{wanted}"
        )
    keep(root, rows[:at], mark)
    state = jax.tree.map(jnp.asarray, (tree["server"], tree["clients"]))
    return state, jax.tree.map(np.asarray, tree["local"]), at


def _save(root, state, local, number):
    tree = {"server": state[0], "clients": state[1], "local": local}
    checkpoints.roll(root / STATE, tree, {"round": number})


def _row(parts: Parts, number: int, record: states.Record, clients) -> dict:
    """Returns the record of a round, without what is evaluated."""
    found = traffic.of_round(record, parts.policy, parts.full, parts.start[0].params)
    there = ~record.dropped & record.finite
    own = assembly.sparsities(clients.masks)

    def who(chosen):
        return sorted(int(k) for k in record.client[chosen])

    return {
        "round": number,
        "asked": who(slice(None)),
        "dropped": who(record.dropped),
        "not_finite": who(~record.finite & ~record.dropped),
        "passed": who(record.passed),
        "validation_accuracy": _mean(record.accuracy[there]),
        "train_loss": _mean(record.loss[there]),
        "sparsity": float(np.mean(own)),
        "sparsity_by_client": own,
        "stage_by_client": np.asarray(clients.stage).tolist(),
        "threshold_by_client": np.asarray(clients.threshold).tolist(),
        **{f"{name}_bytes": value for name, value in found._asdict().items()},
    }


def _mean(values) -> float | None:
    return float(np.mean(values)) if len(values) else None


def _marked(local, record):
    """Notes whose accuracies are of a network that they no longer have."""
    stale = local["stale"].copy()
    stale[np.asarray(record.client)[~np.asarray(record.dropped)]] = True
    return {**local, "stale": stale}


def _refreshed(parts: Parts, clients, local) -> dict:
    """Returns the accuracies of all clients' networks, of those that changed anew."""
    found, who = local["accuracy"].copy(), np.flatnonzero(local["stale"])
    for group in _groups(who, parts.count):
        own = jax.tree.map(lambda leaf, at=group: leaf[at], clients.params)
        found[group] = np.asarray(parts.each(own, group))
    return {"accuracy": found, "stale": np.zeros_like(local["stale"])}


def _groups(who, size):
    """Yields numbers in groups of one size, the last one filled with its last."""
    for at in range(0, len(who), size):
        own = who[at : at + size]
        yield np.pad(own, (0, size - len(own)), mode="edge")


def _evaluated(parts: Parts, server, local) -> dict:
    """Returns the accuracies of the global network and of each client's own."""
    everywhere = np.asarray(parts.everywhere(server.params))
    found = {}
    for name, values in (("global", everywhere), ("local", local["accuracy"])):
        found[f"{name}_accuracy"] = float(values.mean())
        found[f"{name}_spread"] = float(values.std())
        found[f"{name}_by_client"] = values.astype(float).tolist()
    return found


def _final(parts: Parts, server, clients, local) -> dict[str, Any]:
    """Returns three accuracies: global, global with a client's mask, its own."""
    found, who = _evaluated(parts, server, local), np.arange(len(local["stale"]))
    masked = np.zeros(len(who), np.float32)
    for group in _groups(who, parts.count):
        own = jax.tree.map(lambda leaf, at=group: leaf[at], clients.masks)
        masked[group] = np.asarray(parts.masked(server.params, own, group))
    found |= {"masked_accuracy": float(masked.mean())}
    return found | {"masked_by_client": masked.astype(float).tolist()}


def _told(row, rounds) -> str:
    """Returns a sentence on a round; who was left out is named."""
    text = f"round {row['round']} of {rounds}"
    if "global_accuracy" in row:
        shares = (100 * row[f"{name}_accuracy"] for name in ("global", "local"))
        text += ", {:.1f} % the global network, {:.1f} % clients' own".format(*shares)
    text += f", sparsity {row['sparsity']:.2f}"
    if row["dropped"]:
        text += f"; lost: clients {', '.join(map(str, row['dropped']))}"
    if row["not_finite"]:
        names = ", ".join(map(str, row["not_finite"]))
        text += f"; left out, as their weights are not finite: clients {names}"
    return text
