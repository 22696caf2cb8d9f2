"""What a basis draws or learns, and networks that are turned into it from another one.

A network of coefficients has the arrays of its bases in the collection "basis" of its
model state. Those that are learnt change once the dense network is trained; whatever is
then compared under one mask is turned into one basis.
"""

import functools
from collections.abc import Collection
from typing import Any

import jax
import jax.numpy as jnp

from lthjax.callables import ControlFn
from lthjax.gates.gated import GatedState
from lthjax.program.build import basis_rules
from lthjax.program.build.method import Method
from lthjax.program.build.parts import Ground
from lthjax.pruning import bases as bases_lib
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.bases import Bases
from lthjax.pruning.masks import Masks
from lthjax.tickets import Search
from lthjax.tickets import controls as controls_lib
from lthjax.tickets.controls import CONTROLS, StartedFn


def weights(params: Any, model_state: Any, found: Bases) -> Any:
    """Returns the weights that a network with these coefficients computes with.

    Args:
      params: Its parameters, the pruned coefficients zero.
      model_state: Its model state, the arrays of the bases in it.
      found: The bases of the leaves.
    """
    return bases_lib.from_basis(params, found, arrays_of(model_state))


def plain(model_state: Any) -> Any:
    """Returns a model state without what bases keep in it."""
    return {
        name: value
        for name, value in model_state.items()
        if name != bases_lib.COLLECTION
    }


def arrays_of(model_state: Any) -> Any:
    """Returns what the bases of a network of coefficients have drawn or learnt."""
    return model_state[bases_lib.COLLECTION].get("arrays", {})


def kept(model_state: Any, arrays: Any) -> Any:
    """Returns a model state that says that its parameters are coefficients.

    Args:
      model_state: Of weights, or of coefficients of another basis.
      arrays: What the bases have drawn or learnt.
    """
    own = {"of_coefficients": jnp.ones((), bool)} | (
        {"arrays": arrays} if arrays else {}
    )
    return {**plain(model_state), bases_lib.COLLECTION: own}


def full(masks: Masks, names: Collection[str]) -> Masks:
    """Returns masks that keep all of the leaves of some names."""
    return jax.tree_util.tree_map_with_path(
        lambda path, mask: (
            jnp.ones_like(mask) if masks_lib.path_name(path) in names else mask
        ),
        masks,
    )


def search(method: Method, ground: Ground, optimizer, prune_fn) -> Search:
    """Returns the search; what is learnt is learnt at the end of the dense training.

    Args:
      method: Of weights.
      ground: Of coefficients.
      optimizer: As `Method.search` takes it.
      prune_fn: The same.
    """
    inner, learnt = (
        method.search(ground, optimizer, prune_fn),
        basis_rules.learnt(ground),
    )
    if not learnt:
        return inner
    each, steps = ground.options.search.basis_each_level, ground.plan.steps
    learn, turn = jax.jit(functools.partial(_learn, learnt)), _turning(learnt)

    def step(key, state, ticket, trained):
        whole = not ticket.searching and ticket.until >= steps
        if whole and (each or ticket.level == 0):
            arrays = learn(trained.params, trained.model_state)
            state, trained = (_turned(x, turn, arrays) for x in (state, trained))
            state = _fresh(state, optimizer)
        if whole and each:
            trained = trained._replace(masks=full(trained.masks, learnt))
        return inner.step(key, state, ticket, trained)

    return inner._replace(step=step)


def started(ground: Ground) -> StartedFn:
    """Returns `tickets.controls.started`, of weights turned into the ticket's basis.

    They are turned by what turns those that a search rewinds to, so that without late
    rewinding the first weights are the ticket's: bit for bit where the basis is learnt
    once, to the rounding of a rotation for each level where it is learnt anew.

    Args:
      ground: Of coefficients.
    """
    learnt = basis_rules.learnt(ground)
    if not learnt:
        return controls_lib.started
    turn = _turning(learnt)

    def begun(ticket, start):
        arrays = arrays_of(ticket.model_state)
        params, model_state = turn(start.params, start.model_state, arrays)
        turned = start._replace(params=params, model_state=model_state)
        return controls_lib.started(ticket, turned)

    return begun


def controls(method: Method, ground: Ground) -> dict[str, ControlFn]:
    """Returns all controls, whose weights are turned into the ticket's basis.

    Args:
      method: Of weights.
      ground: Of coefficients.
    """
    own = method.controls(ground)
    if not ground.bases:
        return own
    given = {**CONTROLS, **own}.items()
    return {
        name: functools.partial(_in_its_basis, control, ground.bases)
        for name, control in given
    }


def _in_its_basis(control, found, key, ticket, init_fn):
    arrays = arrays_of(ticket.model_state)

    def init(key):
        params, state = init_fn(key)
        drawn = weights(params, state, found)
        return bases_lib.to_basis(drawn, found, arrays), kept(state, arrays)

    return control(key, ticket, init)


def _learn(learnt, params, model_state):
    """Returns the arrays of all bases, those learnt anew from trained weights."""
    before = arrays_of(model_state)
    trained = bases_lib.from_basis(params, learnt, before)
    found = bases_lib.init(jax.random.key(0), trained, learnt, trained)
    return _merged(before, found)


def _merged(one, other):
    """Returns a tree of dicts with the leaves of another one in their places."""
    if not isinstance(other, dict):
        return other
    more = {name: _merged(one.get(name, {}), value) for name, value in other.items()}
    return {**one, **more}


def _turning(learnt):
    """Returns (params, model_state, arrays) -> both, in the basis of other arrays."""
    return functools.partial(_turn, jax.jit(functools.partial(_turn_weights, learnt)))


def _turn_weights(learnt, params, model_state, arrays):
    found = bases_lib.from_basis(params, learnt, arrays_of(model_state))
    return bases_lib.to_basis(found, learnt, arrays)


def _turn(weights_fn, params, model_state, arrays):
    """Returns parameters in another basis, with the model state that says so."""
    if isinstance(model_state, GatedState):
        inner = _turn(weights_fn, params.weights, model_state.network, arrays)
        return params._replace(weights=inner[0]), model_state._replace(network=inner[1])
    return weights_fn(params, model_state, arrays), kept(model_state, arrays)


def _fresh(state, optimizer):
    """Returns what a search remembers, the optimizer of its round begun anew.

    It may hold a copy of the weights, which is of the basis before.
    """
    if not hasattr(state, "round"):
        return state
    opt_state = jax.jit(optimizer.init)(state.round.params)
    return state._replace(round=state.round._replace(opt_state=opt_state))


def _turned(state, turn, arrays):
    """Returns what a search remembers, every network in it in another basis."""
    if state is None:
        return None
    inner = {n: getattr(state, n) for n in ("dense", "round") if hasattr(state, n)}
    inner = {name: _turned(one, turn, arrays) for name, one in inner.items()}
    params, model_state = turn(state.params, state.model_state, arrays)
    return state._replace(params=params, model_state=model_state, **inner)
