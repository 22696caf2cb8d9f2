"""The keys of a federated run, their defaults, and what their values must be."""

from collections.abc import Collection
from typing import Any

from ml_collections import ConfigDict

from lthjax import registry, values
from lthjax.federated import partitions, policies
from lthjax.federated.policies import Policy
from lthjax.program.config.validate import flat
from lthjax.values import LARGEST, Range

SIZE, COUNT = Range(1, LARGEST), Range(0, LARGEST)
SHARE, PART = Range(0, 1, "[]"), Range(0, 1)
POSITIVE, AMOUNT = Range(0, ends="()"), Range(0)
RANGES = {
    "seed": Range(0, 2**32),
    "rounds": SIZE,
    "participation": SHARE,
    "drop": SHARE,
    "data.limit": COUNT,
    "clients.count": SIZE,
    "clients.each": SIZE,
    "clients.samples": COUNT,
    "clients.balance": Range(0, 1, "(]"),
    "clients.alpha": POSITIVE,
    "local.epochs": SIZE,
    "local.batch_size": SIZE,
    "local.learning_rate": POSITIVE,
    "local.momentum": PART,
    "local.weight_decay": AMOUNT,
    "model.width": POSITIVE,
    "policy.threshold": SHARE,
    "policy.decay": SHARE,
    "policy.rate": Range(0, 1, "()"),
    "policy.limit": PART,
    "eval_every": SIZE,
    "eval_batch": SIZE,
    "mesh.ticket": Range(-1, LARGEST),
}
# What may differ when a workdir goes on.
FREE = ("rounds", "data.dir", "eval_batch", "mesh.ticket")
PARTITION_KEYS = {
    "shards": ("each", "samples"),
    "classes": ("each", "samples", "balance"),
    "dirichlet": ("alpha",),
}
RATES = {"lottery_fl": (0.2, 0.7), "cell": (0.2, 0.8)}


def default(method: str = "cell", partition: str = "shards") -> ConfigDict:
    """Returns the config of a method, that of the CELL paper with n = 20.

    Its `policy` has the keys that the method reads, and no other.

    Args:
      method: A name in `policies.POLICIES`.
      partition: A name in `partitions.PARTITIONS`, whose keys `clients` has.

    Raises:
      ValueError: There is no such method or partition.
    """
    _check_known("method", method, policies.POLICIES)
    _check_known("clients.partition", partition, partitions.PARTITIONS)
    own = {"each": 3, "samples": 20, "balance": 1.0, "alpha": 0.5}
    dealt = {key: own[key] for key in PARTITION_KEYS[partition]}
    return ConfigDict(
        {
            "method": method,
            "seed": 0,  # of the partition, the first weights and all that is drawn
            "rounds": 40,
            "participation": 0.1,  # C; 0 is one client
            "drop": 0.0,  # the probability that a client is lost in a round
            "validation": "held_out",  # train, test: what a client validates on
            "data": {"name": "cifar10", "dir": "", "limit": 0, "options": {}},
            "clients": {"partition": partition, "count": 40, **dealt},
            "local": {
                "epochs": 10,
                "batch_size": 32,
                "learning_rate": 0.01,
                "momentum": 0.9,
                "weight_decay": 0.0,
            },
            "model": {"name": "lenet_tutorial", "width": 1.0, "options": {}},
            "policy": _policy_keys(method),
            "eval_every": 1,  # rounds between two evaluations on the test set
            "eval_batch": 500,
            "mesh": {"ticket": 1},  # devices that clients are spread over; -1: all
        }
    )


def _check_known(key, name, choices):
    """Refuses a name that is none of ours: there are no others."""
    if name not in choices:
        raise ValueError(
            f"{key} must be one of {', '.join(sorted(choices))}, got {key} = {name!r}"
            f"{registry.suggestion(name, choices)}"
        )


def _policy_keys(method):
    """Returns the keys that a method reads, at its own values."""
    found = policies.POLICIES[method]()._asdict()
    del found["sparsities"]
    if method == "standalone":
        return {}
    if method == "fedavg":
        return {"aggregation": found["aggregation"]}
    rate, limit = RATES[method]
    return {"rate": rate, "limit": limit, **found}


def policy(config: ConfigDict) -> Policy:
    """Returns the policy of a config.

    Raises:
      ValueError: It cannot be followed.
    """
    found = policies.POLICIES[config.method](**config.policy.to_dict())
    policies.check(found)
    return found


def check(config: ConfigDict) -> None:
    """Refuses keys that there are not, and values that cannot be.

    Raises:
      ValueError: One is wrong; it is named.
    """
    known = flat(default(config.method, config.clients.partition))
    found = flat(config)
    open_keys = ("data.options", "model.options")
    for key in open_keys:
        section, name = key.split(".")
        if not isinstance(given := config[section][name], ConfigDict):
            raise ValueError(f"{key} must be a dict, got {key} = {given!r}")
    for key, value in found.items():
        if key.startswith(open_keys):
            continue
        check_key(config, key, known)
        _check_value(key, value, known[key])
    policy(config)


def check_key(config: ConfigDict, key: str, known: Collection[str]) -> None:
    """Refuses a key that the method and the partition of a config do not read.

    Raises:
      ValueError: It is none of those, with the nearest of them.
    """
    if key not in known:
        raise ValueError(
            f"every key must be one that method = {config.method!r} and partition = "
            f"{config.clients.partition!r} read, got "
            f"{key}{registry.suggestion(key, known)}"
        )


def _check_value(key, value, example):
    if not values.like(value, example):
        raise ValueError(
            f"{key} must be like its default {example!r}, got {key} = {value!r}"
        )
    limits = RANGES.get(key)
    if limits is not None and not values.inside(value, limits):
        raise ValueError(f"{key} must be in {limits.text}, got {key} = {value!r}")


def shrunk(config: ConfigDict) -> ConfigDict:
    """Returns a config that takes the same path in seconds: for tests and `--smoke`."""
    small = config.copy_and_resolve_references()
    options: dict[str, Any] = {"like": small.data.name, "train": 96, "test": 40}
    with small.unlocked(), small.ignore_type():
        small.data.update(name="synthetic", options=ConfigDict(options), limit=0)
        small.clients.update(count=4)
        if "samples" in small.clients:
            small.clients.samples = 4
            small.clients.each = min(small.clients.each, 2)
        if "balance" in small.clients:
            small.clients.balance = 1.0
        small.local.update(epochs=1, batch_size=4)
        small.rounds, small.eval_every, small.eval_batch = 2, 1, 20
    return small
