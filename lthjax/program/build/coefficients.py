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
from lthjax.gates.gated import GatedState
from lthjax.program.build import basis_counts, basis_rules
from lthjax.program.build import network as network_lib
from lthjax.program.build.method import Method
from lthjax.program.build.parts import Ground
from lthjax.pruning import bases as bases_lib
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.bases import Bases
from lthjax.tickets import Search
from lthjax.tickets.controls import CONTROLS

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
        search=own(_search, method),
        controls=own(_controls, method),
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
    wanted, found = (bases_lib.leaves(t) for t in (shapes, tree))
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
        kept = _kept(state, arrays)
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


def weights(params: Any, model_state: Any, found: Bases) -> Any:
    """Returns the weights that a network with these coefficients computes with.

    Args:
      params: Its parameters, the pruned coefficients zero.
      model_state: Its model state, the arrays of the bases in it.
      found: The bases of the leaves.
    """
    return bases_lib.from_basis(params, found, _arrays(model_state))


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
        masks=_full(network.masks, found),
    )


def plain(model_state: Any) -> Any:
    """Returns a model state without what bases keep in it."""
    return {
        name: value
        for name, value in model_state.items()
        if name != bases_lib.COLLECTION
    }


def _arrays(model_state):
    return model_state[bases_lib.COLLECTION].get("arrays", {})


def _kept(model_state, arrays):
    """Returns a model state that says that its parameters are coefficients."""
    own = {"of_coefficients": jnp.ones((), bool)} | (
        {"arrays": arrays} if arrays else {}
    )
    return {**plain(model_state), bases_lib.COLLECTION: own}


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
    back = bases_lib.leaves(weights(*ground.init_fn(key), ground.bases))
    for name in ground.bases:
        w, found = bases_lib.leaves(given)[name], back[name]
        apart = float(jnp.linalg.norm(found - w) / jnp.linalg.norm(w))
        if not apart < INVERSE:
            raise ValueError(
                "from_basis of a basis must be the inverse of its to_basis, got "
                f"weights that come back {apart:.2g} of their length apart at {name}"
            )


def _search(method, ground, optimizer, prune_fn) -> Search:
    """Returns the search; what is learnt is learnt at the end of the dense training."""
    inner, learnt = (
        method.search(ground, optimizer, prune_fn),
        basis_rules.learnt(ground),
    )
    if not learnt:
        return inner
    each, steps = ground.options.search.basis_each_level, ground.plan.steps
    learn = jax.jit(functools.partial(_learn, learnt))
    turn = functools.partial(_turn, jax.jit(functools.partial(_turn_weights, learnt)))

    def step(key, state, ticket, trained):
        whole = not ticket.searching and ticket.until >= steps
        if whole and (each or ticket.level == 0):
            arrays = learn(trained.params, trained.model_state)
            state, trained = (_turned(x, turn, arrays) for x in (state, trained))
        if whole and each:
            trained = trained._replace(masks=_full(trained.masks, learnt))
        return inner.step(key, state, ticket, trained)

    return inner._replace(step=step)


def _learn(learnt, params, model_state):
    """Returns the arrays of all bases, those learnt anew from trained weights."""
    before = _arrays(model_state)
    trained = bases_lib.from_basis(params, learnt, before)
    found = bases_lib.init(jax.random.key(0), trained, learnt, trained)
    return _merged(before, found)


def _merged(one, other):
    """Returns a tree of dicts with the leaves of another one in their places."""
    if not isinstance(other, dict):
        return other
    more = {name: _merged(one.get(name, {}), value) for name, value in other.items()}
    return {**one, **more}


def _turn_weights(learnt, params, model_state, arrays):
    found = bases_lib.from_basis(params, learnt, _arrays(model_state))
    return bases_lib.to_basis(found, learnt, arrays)


def _turn(weights_fn, params, model_state, arrays):
    """Returns parameters in another basis, with the model state that says so."""
    if isinstance(model_state, GatedState):
        inner = _turn(weights_fn, params.weights, model_state.network, arrays)
        return params._replace(weights=inner[0]), model_state._replace(network=inner[1])
    return weights_fn(params, model_state, arrays), _kept(model_state, arrays)


def _turned(state, turn, arrays):
    """Returns what a search remembers, every network in it in another basis."""
    if state is None:
        return None
    inner = {n: getattr(state, n) for n in ("dense", "round") if hasattr(state, n)}
    inner = {name: _turned(one, turn, arrays) for name, one in inner.items()}
    params, model_state = turn(state.params, state.model_state, arrays)
    return state._replace(params=params, model_state=model_state, **inner)


def _full(masks, names):
    """Returns masks that keep all of the leaves of some names."""
    return jax.tree_util.tree_map_with_path(
        lambda path, mask: (
            jnp.ones_like(mask) if masks_lib.path_name(path) in names else mask
        ),
        masks,
    )


def _controls(method, ground):
    """Returns all controls, whose weights are turned into the ticket's basis."""
    own = method.controls(ground)
    if not ground.bases:
        return own
    given = {**CONTROLS, **own}.items()
    return {
        name: functools.partial(_in_its_basis, control, ground.bases)
        for name, control in given
    }


def _in_its_basis(control, found, key, ticket, init_fn):
    arrays = _arrays(ticket.model_state)

    def init(key):
        params, state = init_fn(key)
        drawn = weights(params, state, found)
        return bases_lib.to_basis(drawn, found, arrays), _kept(state, arrays)

    return control(key, ticket, init)
