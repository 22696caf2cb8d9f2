"""What of one tree is taken over into another one, by rules, and said leaf by leaf."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp

from lthjax import registry, values
from lthjax.pruning.leaf_names import by_name, path_name

WAYS = ("copy", "keep", "error")


class Rule(NamedTuple):
    """What is done with the leaves of the target that an expression finds.

    Attributes:
      expression: Searched in the name of each leaf, "backbone/stem/conv/kernel".
      way: "copy" it from the source, "keep" the target's own, or "error".
      prefix: What is put in front of the rest of the name in the source, in place of
        what the expression found; `None`: the name is the same there.
    """

    expression: str
    way: str = "copy"
    prefix: str | None = None


class Report(NamedTuple):
    """What was done with each leaf of the target.

    Attributes:
      copied: {leaf of the target: leaf of the source}.
      kept: Leaves of the target that stay as they were, by a rule.
      missing: Leaves that were to be copied and that the source has not: they stay.
      unused: Leaves of the source that nothing was copied from.
    """

    copied: dict[str, str]
    kept: tuple[str, ...]
    missing: tuple[str, ...]
    unused: tuple[str, ...]


def transplant(
    source: Any, target: Any, rules: Sequence[Rule] = (Rule(""),)
) -> tuple[Any, Report]:
    """Returns a tree of the target's form, with leaves of the source, and a report.

    The first rule whose expression finds a leaf of the target says what is done with
    it. Params, batch statistics and masks go by the same rules.

    Args:
      source: A tree of arrays, `None` among them.
      target: Likewise; the result has its form and its leaves.
      rules: In order; a leaf that none finds is refused.

    Raises:
      ValueError: No rule finds a leaf, or one says "error" of it; a rule is none; what
        is copied is of another shape than what it replaces; or two leaves of a tree
        have one name.
    """
    _check_rules(rules)
    own, other = flat(source), flat(target)
    found: dict[str, Any] = {}
    copied: dict[str, str] = {}
    kept: list[str] = []
    missing: list[str] = []
    for name, leaf in other.items():
        rule = _rule(rules, name)
        taken = _source_name(rule, name)
        if rule.way == "keep" or taken not in own:
            (kept if rule.way == "keep" else missing).append(name)
            found[name] = leaf
            continue
        _check_shape(name, leaf, taken, own[taken])
        found[name], copied[name] = own[taken], taken
    unused = tuple(name for name in own if name not in copied.values())
    report = Report(copied, tuple(kept), tuple(missing), unused)
    return replaced(target, found), report


def flat(tree: Any) -> dict[str, Any]:
    """Returns {name: leaf} of a tree, `None` among the leaves.

    Raises:
      ValueError: Two leaves have one name.
    """
    return by_name(tree, is_leaf=_is_none)


def replaced(tree: Any, leaves: Mapping[str, Any]) -> Any:
    """Returns a tree of the same form, some of its leaves replaced, by their names."""

    def own(path, leaf):
        return leaves.get(path_name(path), leaf)

    return jax.tree_util.tree_map_with_path(own, tree, is_leaf=_is_none)


def text(report: Report) -> str:
    """Returns a report as a sentence, with the names of what is missing."""
    parts = [f"{len(report.copied)} leaves copied", f"{len(report.kept)} kept"]
    if report.missing:
        parts.append(f"not in the source: {', '.join(report.missing)}")
    if report.unused:
        parts.append(f"not taken over: {', '.join(report.unused)}")
    return "; ".join(parts)


def finds(rule: Rule, name: str) -> bool:
    """Says whether a rule's expression finds a leaf."""
    return re.search(rule.expression, name) is not None


def _is_none(leaf):
    return leaf is None


def _rule(rules, name):
    rule = next((rule for rule in rules if finds(rule, name)), None)
    if rule is None or rule.way == "error":
        why = "no rule finds" if rule is None else f"{rule.expression!r} refuses"
        raise ValueError(
            f"every leaf of the target must have a rule that copies or keeps it, got "
            f"{name!r}, which {why}; give one"
        )
    return rule


def _source_name(rule, name):
    if rule.prefix is None:
        return name
    match = re.search(rule.expression, name)
    return rule.prefix + name[match.end() :]


def _check_rules(rules):
    for rule in rules:
        values.check_expression("the expression of a rule", rule.expression)
        if rule.way not in WAYS:
            raise ValueError(
                f"a rule must be one of {', '.join(WAYS)}, got way = {rule.way!r}"
                f"{registry.suggestion(rule.way, WAYS)}"
            )


def _check_shape(name, leaf, taken, given):
    shapes = [None if x is None else tuple(jnp.shape(x)) for x in (leaf, given)]
    both = None not in shapes
    if shapes[0] != shapes[1] and both:
        raise ValueError(
            f"what is copied must have the shape of what it replaces, got "
            f"{list(shapes[1])} of {taken!r} for {list(shapes[0])} of {name!r}; keep "
            "that leaf"
        )
