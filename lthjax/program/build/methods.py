"""Every search method by its name, and what a config may say to it."""

import shlex

from lthjax import registry
from lthjax.program.build import (
    by_admm,
    by_channels,
    by_dynamics,
    by_elastic,
    by_gates,
    by_rounds,
    by_score,
    by_transplant,
    coefficients,
)
from lthjax.program.build.method import SECTIONS, Method
from lthjax.program.config import defaults, shrink
from lthjax.program.config.validate import flat
from lthjax.retraining import arms

# The keys that are read of every method, or of a user's own.
ALWAYS = ("search.method",)
OWN = ("search.options",)

METHODS: dict[str, Method] = {
    **by_score.METHODS,
    **by_dynamics.METHODS,
    **by_gates.METHODS,
    **by_rounds.METHODS,
    **by_channels.METHODS,
    **by_elastic.METHODS,
    **by_admm.METHODS,
    **by_transplant.METHODS,
}


def resolve(name: str) -> Method:
    """Returns a method, ours or a user's own.

    Args:
      name: A key of `METHODS`, or "package.module:name" of a `Method`.

    Raises:
      ValueError: There is none of that name, or what is there is no `Method`.
    """
    found = registry.resolve(name, METHODS, "search method")
    if not isinstance(found, Method):
        raise ValueError(
            "a search method of one's own must be a program.build.method.Method, got "
            f"search.method = {name!r}, which is a {type(found).__name__}"
        )
    return found


def of(config) -> Method:
    """Returns the method of a config, in the bases that it asks for.

    Args:
      config: A validated config.

    Raises:
      ValueError: As `resolve`.
    """
    found, search = resolve(config.search.method), config.search
    asked = search.basis or search.basis_each_level
    return coefficients.in_basis(found) if asked else found


def reads(name: str, key: str) -> bool:
    """Says whether a method reads a config key.

    Args:
      name: Of the method.
      key: A dotted config key.

    Raises:
      ValueError: As `resolve`.
    """
    if key.partition(".")[0] not in SECTIONS:
        return True
    own = () if name in METHODS else OWN
    known = (*ALWAYS, *own, *resolve(name).keys)
    return any(key == one or key.startswith(f"{one}.") for one in known)


def unread(config) -> dict:
    """Returns {key: its default} of what is set that the method does not read.

    Args:
      config: A validated config.

    Raises:
      ValueError: As `resolve`.
    """
    known, found = _flat(defaults.default()), _flat(config)
    different = [key for key in known if found[key] != known[key]]
    name = config.search.method
    return {key: known[key] for key in different if not reads(name, key)}


def _flat(config):
    """Returns {dotted key: value}; the options of a method are one value."""
    (own,), found = OWN, flat(config)
    rows = {key: x for key, x in found.items() if key.partition(".")[0] in SECTIONS}
    rows = {key: x for key, x in rows.items() if not key.startswith(own)}
    return {**rows, own: config.search.options.to_dict()}


def check_keys(config) -> None:
    """Refuses what is set that the method would pass over in silence.

    Args:
      config: A validated config.

    Raises:
      ValueError: There is any such key.
    """
    found, wrong = _flat(config), unread(config)
    for key, default in wrong.items():
        flags = " ".join(_flag(*pair) for pair in wrong.items())
        raise ValueError(
            f"{key} is not read by search.method = {config.search.method!r}, and must "
            f"be its default, {default!r}, got {key} = {found[key]!r}; what sets all "
            f"that is not read to its default: {flags}"
        )


def _flag(key, default):
    """Returns the word of a command that sets a key."""
    value = default if isinstance(default, str) else repr(default)
    return f"--config.{key}={shlex.quote(value)}"


def cleared(config):
    """Returns a config with what its method does not read at its default.

    Args:
      config: A validated config; it is not changed.
    """
    return shrink.changed(config, unread(config))


def shrunk(config, *, steps: int = 4):
    """Returns a config that takes the same path in seconds: for tests and `--smoke`.

    Args:
      config: Any config; it is not changed.
      steps: Of the dense training.
    """
    own = resolve(config.search.method).shrink
    small = shrink.shrunk(config, own, steps=steps)
    if arms.have(config.retraining.arms, "rescaling"):
        small.retraining.rescaling.iterations = 2
    return small
