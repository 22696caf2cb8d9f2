"""What one run of a sweep holds as a population: seeds, and first logits of gates."""

import logging
from collections.abc import Sequence

from ml_collections import ConfigDict

from lthjax.program.build import methods
from lthjax.program.config import files, shrink, validate

log = logging.getLogger(__name__)

SEEDS, LOGITS = "seeds", "search.gates.initial"


def keys(config: ConfigDict) -> tuple[str, ...]:
    """Returns the keys whose values a run holds as a population."""
    return (SEEDS, LOGITS) if gated(config) else (SEEDS,)


def gated(config: ConfigDict) -> bool:
    """Says whether a config's method has gates, which begin at several logits.

    A user's own method is not imported for it: it has gates if their logits are set.
    """
    if config.search.method in methods.METHODS:
        return methods.reads(config.search.method, LOGITS)
    return validate.flat(config)[LOGITS] != _default()


def settled(configs: Sequence[ConfigDict]) -> list[ConfigDict]:
    """Returns configs of a grid of logits, those without gates at the default one.

    Of such there is one run, which is said. Where none has gates they are left as they
    are, as a run refuses them.

    Args:
      configs: One for each combination of the grid.
    """
    if not any(map(gated, configs)):
        return list(configs)
    found = [one if gated(one) else _without_logits(one) for one in configs]
    pairs = zip(configs, found, strict=True)
    plain = sorted({one.search.method for one, other in pairs if one is not other})
    if plain:
        log.warning(
            "%s is not read by search.method = %s: combinations that differ in it "
            "alone are one run there",
            LOGITS,
            ", ".join(map(repr, plain)),
        )
    return found


def merged(group: Sequence[ConfigDict]) -> ConfigDict:
    """Returns one config with all the members of some that differ in nothing else."""
    flats = [validate.flat(config) for config in group]
    union = {
        key: tuple(sorted({x for f in flats for x in f[key]})) for key in keys(group[0])
    }
    return shrink.changed(group[0], union)


def _default():
    return validate.flat(files.default())[LOGITS]


def _without_logits(config):
    return shrink.changed(config, {LOGITS: _default()})
