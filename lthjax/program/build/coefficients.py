"""A method in other bases: Method -> Method, whose parameters are coefficients.

Masks, scores, schedules, optimizers and restarts see coefficients and nothing else; the
network that is applied computes its weights from them, `where(mask, z, 0)` turned back.
What a basis draws or learns is in the collection "basis" of the model state, so that it
is saved, restored and mapped with the parameters that it belongs to.
"""

import functools
import logging
from typing import Any

import jax
import jax.numpy as jnp

from lthjax import registry
from lthjax.callables import ApplyFn, InitFn
from lthjax.program.build import basis_counts, basis_rules, basis_turns
from lthjax.program.build import network as network_lib
from lthjax.program.build.basis_turns import plain, weights
from lthjax.program.build.method import Method
from lthjax.program.build.parts import Ground
from lthjax.pruning import bases as bases_lib
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.bases import Bases

log = logging.getLogger(__name__)

INVERSE = 1e-3  # of a leaf's length, float32: what a basis may give back otherwise
STREAM = 0x62617369  # of the key that a network is initialised with


def in_basis(method: Method) -> Method:
    """Returns the method whose masks are of coefficients, as `search.basis` has them.

    Args:
      method: Any that reads `search.basis`.
    """
    own = functools.partial
    return method._replace(
        ground=based,
        check=own(_check, method),
        rehearse=own(_rehearse, method),
        network=lambda ground, apply_fn: method.network(
            ground, through(apply_fn, ground.bases)
        ),
        search=own(basis_turns.search, method),
        controls=own(basis_turns.controls, method),
        started=basis_turns.started,
        counts=basis_counts.counts,
    )


def based(ground: Ground) -> Ground:
    """Returns the ground whose functions are of coefficients.

    Args:
      ground: Of weights; the prunable leaves of its plan are known.

    Raises:
      ValueError: As `basis_rules.rules` and `bases.choose`, or a user's own basis does
        not turn a leaf into coefficients of its shape and back.
    """
    plan, names = ground.plan, list(ground.plan.sizes)
    given = ground.options, ground.facts, ground.shapes, names
    found = _chosen(*given, plan.views)
    if not found:
        return ground
    init_fn = initialiser(ground.init_fn, found)
    with registry.calling("basis", str(tuple(ground.options.search.basis))):
        shapes, state = jax.eval_shape(init_fn, jax.random.key(0))
        back = jax.eval_shape(lambda z, s: weights(z, s, found), shapes, state)
    for tree in (shapes, back):
        _check_shapes(ground.shapes, tree)
    beside = sum(leaf.size for leaf in jax.tree.leaves(state[bases_lib.COLLECTION]))
    return ground._replace(
        init_fn=jax.jit(init_fn),
        apply_fn=through(ground.apply_fn, found),
        plan=plan._replace(beside=beside),
        bases=found,
    )


def _chosen(config, facts, shapes, names, views):
    """Returns the bases of the leaves that are turned."""
    chosen = bases_lib.choose(
        shapes,
        basis_rules.rules(config),
        prunable=names,
        image_shape=facts.image_shape,
        views=views,
    )
    return {n: basis for n, basis in chosen.items() if basis != bases_lib.IDENTITY}


def _check_shapes(shapes, tree):
    wanted, found = (masks_lib.by_name(t) for t in (shapes, tree))
    for name, leaf in found.items():
        if leaf.shape != wanted[name].shape:
            raise ValueError(
                "a basis must turn a leaf into coefficients of its shape and back, got "
                f"{list(leaf.shape)} for {list(wanted[name].shape)} at {name}"
            )


def initialiser(init_fn: InitFn, found: Bases) -> InitFn:
    """Returns key -> (coefficients, model_state) of key -> (params, model_state).

    Args:
      init_fn: Of the weights.
      found: The bases of their leaves.

    Raises:
      ValueError: In a call: the network has a collection "basis" of its own.
    """

    def init(key):
        params, state = init_fn(key)
        if bases_lib.COLLECTION in state:
            raise ValueError(
                "a network in another basis must not have a collection of variables "
                f"called {bases_lib.COLLECTION!r}, got model_state = {sorted(state)}; "
                "rename it"
            )
        own = jax.random.fold_in(key, STREAM)
        arrays = bases_lib.init(own, params, found)
        kept = basis_turns.kept(state, arrays)
        return bases_lib.to_basis(params, found, arrays), kept

    return init


def through(apply_fn: ApplyFn, found: Bases) -> ApplyFn:
    """Returns apply_fn, of coefficients in place of weights.

    Args:
      apply_fn: (params, model_state, images, train) -> (outputs, model_state).
      found: The bases of the leaves.
    """
    if not found:
        return apply_fn

    def apply(params, model_state, images, train):
        given = weights(params, model_state, found), plain(model_state)
        outputs, after = apply_fn(*given, images, train)
        return outputs, {
            **after,
            bases_lib.COLLECTION: model_state[bases_lib.COLLECTION],
        }

    return apply


def materialised(network: Any, config: Any, facts: Any) -> Any:
    """Returns a ticket, or a trained network, of plain weights.

    What was turned has no zeros of its masks any more: its masks keep all.

    Args:
      network: Of coefficients, or of weights, which stays as it is.
      config: Of its run.
      facts: Of its data set.

    Raises:
      ValueError: As `basis_rules.rules` and `bases.choose`.
    """
    if bases_lib.COLLECTION not in network.model_state:
        return network
    names, views = masks_lib.names(network.masks), network_lib.views(config, facts)[1]
    found = _chosen(config, facts, network.params, names, views)
    kept = masks_lib.apply(network.params, network.masks)
    return network._replace(
        params=weights(kept, network.model_state, found),
        model_state=plain(network.model_state),
        masks=basis_turns.full(network.masks, found),
    )


def _check(method, ground):
    method.check(ground)
    basis_rules.check(method.keys, ground)


def _rehearse(method, ground, masks_fn, prune_fn):
    """Rehearses the method, and says what a reader of the records must know.

    Raises:
      ValueError: A basis, which may be a user's own, does not give back what it is
        given.
    """
    method.rehearse(ground, masks_fn, prune_fn)
    if any(":" in name for _, name in ground.options.search.basis):
        _check_back(ground)
    for text in basis_rules.sentences(ground):
        log.info("%s", text)


def _check_back(ground):
    key = jax.random.key(0)
    given, _ = jax.jit(network_lib.initialiser(ground.options, ground.facts))(key)
    back = masks_lib.by_name(weights(*ground.init_fn(key), ground.bases))
    for name in ground.bases:
        w, found = masks_lib.by_name(given)[name], back[name]
        apart = float(jnp.linalg.norm(found - w) / jnp.linalg.norm(w))
        if not apart < INVERSE:
            raise ValueError(
                "from_basis of a basis must be the inverse of its to_basis, got "
                f"weights that come back {apart:.2g} of their length apart at {name}"
            )
