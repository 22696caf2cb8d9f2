"""What the rounds of a search are like: more columns of their records, and warnings."""

import functools
from collections.abc import Callable

import jax

from lthjax.gates import gated, sigmoid
from lthjax.program.build import basis_counts, gate_rounds, whole_sets
from lthjax.program.build.parts import Ground
from lthjax.pruning import masks as masks_lib
from lthjax.tickets import Trained
from lthjax.tickets.rounds import Rounds

MANY = 0.05  # undecided gates, a share that a search should end below


def nothing(ground: Ground, trained: Trained, row: dict) -> dict:
    """Returns no more columns."""
    del ground, trained, row
    return {}


def examiner(
    rounds: Rounds,
    ground: Ground,
    more: Callable[[Ground, Trained, dict], dict] = nothing,
    *,
    decides: bool = False,
) -> Callable[..., tuple[dict, list[str]]]:
    """Returns (evaluate, key, trained, level, row) -> (columns, warnings) of a round.

    A record's accuracies are those of the soft network; `hard_test_accuracy` and the
    like are those of the network pruned as the gates are, untrained. `undecided` is a
    share of the gates. A round whose masks were `trimmed` to a target has the number of
    gates that were `open` before; one that leaves nothing, the layer that is furthest
    closed (of the lowest highest logit), `collapsed_first`; one in another basis, what
    that keeps and costs (`basis_counts`).

    Args:
      rounds: Of the search.
      ground: What the method is built on.
      more: (ground, trained, columns) -> more columns, of what has gates.
      decides: Whether gates should have decided at the end of a round.
    """

    @functools.cache
    def counted():
        return basis_counts.of_networks(ground)

    def examine(evaluate, key, trained, level, row):
        found = rounds.harvest(key, trained, level)
        layers = masks_lib.layers(found.masks)
        kept, prunable = (sum(column) for column in zip(*layers.values(), strict=True))
        hard = jax.device_get(evaluate(found.params, found.model_state))
        own = {f"hard_{name}": round(float(x), 6) for name, x in hard.items()}
        own |= {"kept": kept, "prunable": prunable}
        own["sparsity"] = (prunable - kept) / prunable
        own["collapsed"] = masks_lib.collapsed(found.masks, ground.plan.views)
        own["layers"] = {name: left / size for name, (left, size) in layers.items()}
        if not kept:
            own["collapsed_first"] = own["collapsed"][0]
        own |= counted()(level, found.model_state, found.masks)
        if whole_sets.NETWORK in row:
            network = whole_sets.of_network(ground.shapes, found.masks)
            own[whole_sets.NETWORK] = network
        own |= more(ground, trained, {**own, "level": level})
        learnt = ground.plan.targets[level - 1].kept is None
        return own, warnings({**row, **own}, decides=decides, learnt=learnt)

    return examine


def of_gates(name: str, ground: Ground, trained: Trained, row: dict) -> dict:
    """Returns what only gates tell.

    Args:
      name: Of the method.
      ground: What it is built on.
      trained: What a round trained to.
      row: Its other columns, and its level.
    """
    logits, kind = trained.params.gates, gate_rounds.kind(name, ground)
    at = gate_rounds.temperature(ground)(ground.plan.steps - 1)
    undecided = float(sigmoid.between(kind.test(logits, at, 1.0)))
    found = {"undecided": round(undecided, 6)}
    if not row["kept"]:
        tops = [float(leaf.max()) for leaf in jax.tree.leaves(logits)]
        found["collapsed_first"] = row["collapsed"][tops.index(min(tops))]
    if ground.plan.targets[row["level"] - 1].kept is not None:
        scaled = gate_rounds.scaled(name, ground)
        _, masks = gated.harvest(kind, *trained[:2], scaled=scaled)
        found |= {"trimmed": True, "open": int(masks_lib.count(masks)[0])}
    return found


def warnings(row: dict, *, decides: bool = True, learnt: bool = False) -> list[str]:
    """Returns sentences on what makes the masks of a round doubtful.

    Args:
      row: The record of a round.
      decides: Whether gates should have decided.
      learnt: Whether the round learns how many weights it keeps.
    """
    found, undecided = [], row.get("undecided", 0.0)
    if decides and undecided > MANY:
        found.append(
            f"{100 * undecided:.1f} % of the gates are undecided at the end: raise the "
            "gates' learning rate, the steps or the final temperature"
        )
    name = "validation_accuracy"
    gap = row[name] - row[f"hard_{name}"] if name in row else 0.0
    if gap > 0.01:
        found.append(f"the hard mask costs {100 * gap:.1f} points of accuracy")
    if row["kept"] > row.get("open", row["kept"]):
        found.append(
            f"trimming keeps {row['kept']} weights where {row['open']} gates are open: "
            "the others have closed ones; raise the first logit or the sparsity"
        )
    if learnt and row["kept"] == row["prunable"]:
        found.append(
            f"none of the {row['prunable']} weights is pruned: raise "
            "search.gates.penalty, or change search.gates.initial"
        )
    if row["kept"] and row["sparsity"] > 0.998:
        found.append(f"only {row['kept']} of {row['prunable']} weights are left")
    return found
