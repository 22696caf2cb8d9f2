"""Which axes of a leaf are inputs, outputs, space and copies, by layer or by rule.

The place of an axis says nothing: of attention's kernels the query's [64, 4, 16] has
one axis of inputs and two of outputs, the result's [4, 16, 64] two and one.
"""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import jax

from lthjax import values
from lthjax.pruning import layer_axes
from lthjax.pruning import masks as masks_lib
from lthjax.pruning.masks import Params


class View(NamedTuple):
    """What the axes of a leaf are; each is named once.

    Attributes:
      inputs: Axes that a product sums over; of several, the last varies fastest.
      outputs: Axes of its result.
      space: Axes of a convolution's window.
      copies: Axes along which whole kernels lie that have nothing to do with one
        another: layers stacked by `nn.scan`, the batch of `nn.vmap` and `batch_dims`.
      kind: The flax layer that the leaf is of, "" where a rule said the axes.
      groups: How many groups of outputs have inputs of their own, of a convolution.
    """

    inputs: tuple[int, ...] = ()
    outputs: tuple[int, ...] = ()
    space: tuple[int, ...] = ()
    copies: tuple[int, ...] = ()
    kind: str = ""
    groups: int = 1

    @property
    def layers(self) -> tuple[int, ...]:
        """Axes along which layers lie: copies, but for a window's places in one."""
        return () if self.kind.endswith(LOCAL) else self.copies


Views = Mapping[str, View]
WORDS = {"in": "inputs", "out": "outputs", "space": "space", "copies": "copies"}
TRANSPOSED = "ConvTranspose"  # how the kinds of transposed convolutions begin
GROUPED = "grouped "  # how the kinds of convolutions with groups of channels begin
LOCAL = "ConvLocal"  # how the kinds of those with a kernel at each place end
UNKNOWN = layer_axes.UNKNOWN  # the kind of a leaf whose axes may be any
PLAIN = "plain"  # a leaf whose axes are nothing of these, such as a position's vector


def of(
    init_fn: Callable[..., Any], *args, rules: Sequence[tuple[str, str]] = ()
) -> dict:
    """Returns {name: View} of the leaves whose axes are known: `traced` without shapes.

    found = views.of(model.init, key, images)

    Example:
      >>> from flax import linen as nn
      >>> layer = nn.DenseGeneral((4, 16))  # as of an attention
      >>> found = lth.pruning.views.of(layer.init, jax.random.key(0), jnp.ones((1, 64)))
      >>> found["kernel"].inputs, found["kernel"].outputs
      ((0,), (1, 2))
    """
    return traced(init_fn, *args, rules=rules)[1]


def traced(
    init_fn: Callable[..., Any], *args, rules: Sequence[tuple[str, str]] = ()
) -> tuple[Any, dict[str, View]]:
    """Returns (shapes, {name: View}) of a flax network's parameters; computes nothing.

    The axes are those of the flax layer that makes the leaf (dense ones, convolutions,
    transposed ones, attention, recurrent cells, embeddings, norms), with the axes that
    `nn.scan` and `nn.vmap` put in as copies. A layer of one's own has no view unless a
    rule of `rules` says it, which goes before all else. Where nothing tells what became
    of a layer's axes its leaf is of the kind `UNKNOWN`, and wants a rule where they
    matter: `nn.map_variables` turned it, or it is stacked in a network that reads its
    own variables, whose boxes are no arrays (`layer.variables["params"]`).

    Args:
      init_fn: From `args` to the parameters, or to variables with "params".
      *args: A key and images, or their shapes.
      rules: (regular expression, text): of every leaf in whose name it is found, a word
        an axis: "in", "out", "space" or "copies", such as "out in space space"; or
        "plain", for what has no such axes.

    Raises:
      ValueError: A rule is none, finds no leaf or has not a word for each axis.
    """
    found = layer_axes.traced(init_fn, *args)
    rows = jax.tree_util.tree_leaves_with_path(found, is_leaf=_is_leaf)
    known = {
        masks_lib.path_name(path): view(leaf.words, leaf.kind, leaf.groups)
        for path, leaf in rows
        if leaf.words is not None
    }
    shapes = jax.tree.map(lambda leaf: leaf.shape, found, is_leaf=_is_leaf)
    return shapes, joined(known, ruled(shapes, rules))


def joined(known: Views, said: Views) -> dict[str, View]:
    """Returns views with those of rules before them.

    A layer of the same axes stays what it is, and a convolution a transposed or grouped
    one, which is no matter of its axes.

    Args:
      known: Those of layers.
      said: Those of `ruled`.
    """
    stays = {
        name: one._replace(kind=known[name].kind, groups=known[name].groups)
        for name, one in said.items()
        if name in known and not one.kind and _stays(known[name], one)
    }
    return {**known, **said, **stays}


def _stays(known, said):
    """Returns whether a leaf is of the layer that it was, by a rule of its axes."""
    kinds = any(kind in known.kind for kind in (TRANSPOSED, GROUPED))
    return kinds or known._replace(kind="") == said


def view(words: Sequence[str], kind: str = "", groups: int = 1) -> View:
    """Returns the View of a word an axis, `WORDS`.

    Args:
      words: The words.
      kind: As in a View.
      groups: As in a View.

    Raises:
      ValueError: A word is none.

    Example:
      >>> lth.pruning.views.view(["space", "space", "in", "out"]).outputs
      (3,)
    """
    if tuple(words) == (PLAIN,):
        return View(kind=PLAIN)
    for word in words:
        if word not in WORDS:
            raise ValueError(
                f"each axis must be one of {', '.join(WORDS)}, or all of them "
                f"{PLAIN!r}, got axes = {' '.join(words)!r}"
            )
    places = {
        field: tuple(i for i, word in enumerate(words) if word == name)
        for name, field in WORDS.items()
    }
    return View(**places, kind=kind, groups=groups)


def words(view: View) -> list[str]:
    """Returns the word of each axis, of which `view` makes the View again.

    Example:
      >>> lth.pruning.views.words(lth.pruning.views.View((1,), (2,), copies=(0,)))
      ['copies', 'in', 'out']
    """
    if view.kind in (PLAIN, UNKNOWN):
        return [view.kind]
    said = {axis: w for w, field in WORDS.items() for axis in getattr(view, field)}
    return [said[axis] for axis in sorted(said)]


def ruled(params: Params, rules: Sequence[tuple[str, str]]) -> dict[str, View]:
    """Returns {name: View} of the leaves that a rule finds; the last one counts.

    Args:
      params: The parameters, or their shapes.
      rules: As for `traced`.

    Raises:
      ValueError: As `traced`.
    """
    rows = jax.tree_util.tree_leaves_with_path(params)
    arrays = ((path, leaf) for path, leaf in rows if hasattr(leaf, "shape"))
    shapes = {masks_lib.path_name(path): tuple(leaf.shape) for path, leaf in arrays}
    found: dict[str, View] = {}
    for pattern, text in map(_rule, rules):
        matched = {n: s for n, s in shapes.items() if re.search(pattern, n)}
        if not matched:
            raise ValueError(
                f"every rule of views must find a leaf, got {pattern!r}; the leaves "
                f"are {', '.join(shapes)}"
            )
        said = view(text.split())
        for name, shape in matched.items():
            _check(name, shape, said)
        found |= dict.fromkeys(matched, said)
    return found


def one(name: str, shape: Sequence[int], views: Views | None = None) -> View:
    """Returns the View of a leaf: that of `views`, else of 2 or 4 axes the usual one.

    [in, out] -> inputs, outputs;  [h, w, in, out] -> space, inputs, outputs

    Args:
      name: Its name.
      shape: Its shape.
      views: Those that are known, from `of`.

    Raises:
      ValueError: Nothing says what the axes of the leaf are.
    """
    shape, known = tuple(shape), dict(views or {}).get(name)
    if known is None and len(shape) in USUAL:
        known = USUAL[len(shape)]
    if known is None or known.kind in (PLAIN, UNKNOWN):
        traced = ", or as views = views.of(model.init, key, images) of a flax network"
        raise ValueError(
            "it must be known which axes of a leaf are inputs and outputs, got "
            f"{name} of shape {shape}; say it, a word an axis, by a rule such as "
            f"model.views = (('{name}', '{_example(shape)}'),)"
            f"{traced * (known is None)}, or exclude the leaf"
        )
    _check(name, shape, known)
    return known


def canonical(x: Any, view: View) -> Any:
    """Returns an array [...] as [copies, space, inputs, outputs], each flattened.

    Args:
      x: The array.
      view: What its axes are.
    """
    return x.transpose(_order(view)).reshape(sizes(x.shape, view))


def restored(x: Any, view: View, shape: Sequence[int]) -> Any:
    """Returns what `canonical` gave as an array of the shape it was made from."""
    order = _order(view)
    back = sorted(range(len(order)), key=order.__getitem__)
    return x.reshape([shape[axis] for axis in order]).transpose(back)


def sizes(shape: Sequence[int], view: View) -> tuple[int, int, int, int]:
    """Returns how many copies, pixels of a window, inputs and outputs a leaf has."""
    groups = view.copies, view.space, view.inputs, view.outputs
    copies, space, inputs, outputs = (
        math.prod(shape[axis] for axis in group) for group in groups
    )
    return copies, space, inputs, outputs


def _is_leaf(x):
    return isinstance(x, layer_axes.Leaf)


def _order(view):
    return (*view.copies, *view.space, *view.inputs, *view.outputs)


def _rule(pair):
    """Returns a rule's (regular expression, text), or refuses it."""
    two = isinstance(pair, tuple | list) and len(pair) == 2
    if not two or not all(isinstance(text, str) and text for text in pair):
        raise ValueError(
            "a rule of views must be a pair of texts, (regular expression, 'in out'), "
            f"got {pair!r}"
        )
    values.check_expression("a rule of views", pair[0])
    return tuple(pair)


def _check(name, shape, known):
    """Refuses a view that is of another number of axes."""
    if known.kind != PLAIN and sorted(_order(known)) != list(range(len(shape))):
        count = len(_order(known))
        raise ValueError(
            f"a view must say of every axis what it is, got {name} of shape {shape} "
            f"for a view of {count} axes"
        )


def _example(shape):
    """Returns a rule's text for a shape, "space in out"."""
    return " ".join(["space"] * (len(shape) - 2) + ["in", "out"][-len(shape) :])


USUAL = {2: view(["in", "out"]), 4: view(["space", "space", "in", "out"])}
