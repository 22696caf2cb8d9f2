"""What `search.basis` asks for, what does not go with it, and what is said of it."""

from collections.abc import Iterator, Sequence
from typing import Any

import jax

from lthjax import registry
from lthjax.program.build import criterion
from lthjax.program.build.parts import Ground
from lthjax.pruning import bases as bases_lib
from lthjax.pruning import basis_names
from lthjax.pruning.bases import Bases, BasisKind

# Studies that take parameters for weights.
OF_WEIGHTS = ("flops", "signs", "barrier", "correlation")


def rules(config: Any) -> list[tuple[str, BasisKind]]:
    """Returns (regular expression, BasisKind) of `search.basis`.

    Args:
      config: A validated config.

    Raises:
      ValueError: A name is unknown, or what a user's own leads to is no
        `bases.BasisKind`.
    """
    found = []
    for pattern, name in config.search.basis:
        kind = registry.resolve(name, basis_names.BASES, "basis")
        if not isinstance(kind, BasisKind):
            raise ValueError(
                "a basis of one's own must be a pruning.bases.BasisKind, got "
                f"search.basis = {name!r}, which is a {type(kind).__name__}"
            )
        found.append((pattern, kind))
    return found


def kinds(ground: Ground) -> dict[str, BasisKind]:
    """Returns {name of a leaf: its BasisKind}.

    Args:
      ground: Whose plan knows the prunable leaves.
    """
    return bases_lib.named(rules(ground.options), list(ground.plan.sizes))


def learnt(ground: Ground) -> Bases:
    """Returns the bases that are learnt.

    Args:
      ground: Of coefficients.
    """
    of = kinds(ground)
    return {n: basis for n, basis in ground.bases.items() if of[n].learnt}


def check(keys: Sequence[str], ground: Ground) -> None:
    """Refuses what does not go together with bases.

    Args:
      keys: That the method reads.
      ground: Of coefficients.

    Raises:
      ValueError: There is anything of the kind.
    """
    _check_units(keys, ground)
    _check_learnt(ground)
    config = ground.options
    if not ground.bases:
        return
    if "search.score" in keys and criterion.resolve(config).flows:
        raise ValueError(
            "the flow of a network goes by magnitudes of weights, not of coefficients, "
            f"got search.score = {config.search.score!r} with search.basis = "
            f"{tuple(config.search.basis)}; give another score"
        )
    if config.retraining.arms:
        raise ValueError(
            "retraining.arms are of tickets of weights, got retraining.arms = "
            f"{tuple(config.retraining.arms)} with search.basis = "
            f"{tuple(config.search.basis)}; give ()"
        )
    _check_studies(config.studies)
    _check_overlap(ground)


def _check_overlap(ground):
    """Refuses an overlap of masks whose places are not of the same basis."""
    config = ground.options
    apart = len(config.seeds) > 1 or config.search.basis_each_level
    if "overlap" not in config.studies or not apart:
        return
    _, state = jax.eval_shape(ground.init_fn, jax.random.key(0))
    if state[bases_lib.COLLECTION].get("arrays"):
        raise ValueError(
            "the study 'overlap' compares masks place by place, and in a basis that is "
            "drawn or learnt a place is another one for each seed and whenever it is "
            f"learnt, got studies = {tuple(config.studies)} with search.basis = "
            f"{tuple(config.search.basis)}; leave it out"
        )


def _check_studies(studies: Sequence[str]):
    for name in studies:
        if name in OF_WEIGHTS:
            raise ValueError(
                f"the study {name!r} takes parameters for weights, which they are not "
                f"with search.basis, got studies = {tuple(studies)}; leave it out, the "
                "records have operations of their own"
            )


def _check_units(keys, ground):
    """Checks that what is pruned by whole rows is: by a pattern, over all leaves."""
    units = [name for name, kind in kinds(ground).items() if kind.units]
    search = ground.options.search
    if not units:
        return
    if "search.pattern" not in keys:
        raise ValueError(
            "a basis that is pruned by whole rows needs a method that chooses by a "
            f"pattern, got search.method = {search.method!r} with one at {units[0]}; "
            "give 'iterative' or 'one_shot'"
        )
    if search.pattern != "channels":
        raise ValueError(
            "a basis that is pruned by whole rows needs search.pattern = 'channels', "
            f"got search.pattern = {search.pattern!r} with one at {units[0]}"
        )


def _check_learnt(ground):
    search, found = ground.options.search, learnt(ground)
    if found and search.method == "at_init":
        raise ValueError(
            "a basis that is learnt is of trained weights, and pruning at "
            f"initialisation has none, got search.basis = {tuple(search.basis)} with "
            "search.method = 'at_init'; give a basis that is not learnt, or 'one_shot'"
        )
    if search.basis_each_level and not (found and search.method == "iterative"):
        raise ValueError(
            "search.basis_each_level goes with search.method = 'iterative' and a basis "
            "that is learnt of trained weights, such as 'pca_spatial', got "
            "search.basis_each_level = True with search.method = "
            f"{search.method!r} and search.basis = "
            f"{tuple(search.basis)}; give False"
        )


def sentences(ground: Ground) -> Iterator[str]:
    """Yields what a reader of the records must know of a run's bases.

    Args:
      ground: Of coefficients.
    """
    for name, basis in ground.bases.items():
        if basis.said:
            yield f"the basis of {name}: {basis.said}"
    config, search = ground.options, ground.options.search
    name = config.optimizer.name
    if ground.bases and name != "sgd":
        yield (
            f"optimizer.name = {name!r} goes by coordinates: with search.basis it is "
            "another training than that of the weights, all coefficients kept or not; "
            "'sgd' is the same in an orthonormal basis"
        )
    own = [name for _, name in search.basis if ":" in name]
    if own and config.optimizer.weight_decay:
        yield (
            "optimizer.weight_decay is of the coefficients: where "
            f"{', '.join(own)} is not orthonormal, another than that of the weights"
        )
    if any(basis.thin for basis in ground.bases.values()) and search.score != "energy":
        yield (
            f"rows of singular vectors are ranked by search.score = {search.score!r}: "
            "'energy' ranks them by their singular values, the best of a rank"
        )
