"""What the rounds of a search are like: more columns of their records, and warnings."""

from collections.abc import Callable

import jax

from lthjax.gates import gated, sigmoid
from lthjax.program.build import by_gates
from lthjax.pruning import masks as masks_lib

MANY = 0.05  # undecided gates, a share that a search should end below


def examiner(
    config, numbers, prune_fn: Callable, tx, evaluate_fn: Callable
) -> Callable | None:
    """Returns (key, trained, level) -> what the record of a round says beside accuracy.

    `None` for a search without rounds.

    A record's accuracies are those of the soft network; `hard_test_accuracy` and the
    like are those of the network pruned as the gates are, untrained. `undecided` is a
    share of the gates. A round whose masks were `trimmed` to a target has the number of
    gates that were `open` before; one that leaves nothing, the layer that is furthest
    closed (of the lowest highest logit), `collapsed_first`.

    Args:
      config: A validated config.
      numbers: The plan of the run.
      prune_fn: (key, trained, target) -> masks.
      tx: The optimizer.
      evaluate_fn: (params, model_state) -> {metric: value}.
    """
    if config.search.method not in by_gates.METHODS:
        return None
    rounds = by_gates.METHODS[config.search.method](config, numbers, tx, prune_fn)

    def examine(key, trained, level):
        found = rounds.harvest(key, trained, level)
        layers = masks_lib.layers(found.masks)
        kept, prunable = (sum(column) for column in zip(*layers.values(), strict=True))
        hard = jax.device_get(evaluate_fn(found.params, found.model_state))
        row = {f"hard_{name}": round(float(x), 6) for name, x in hard.items()}
        row |= {"kept": kept, "prunable": prunable}
        row["sparsity"] = (prunable - kept) / prunable
        row["collapsed"] = [name for name, (left, _) in layers.items() if left == 0]
        row["layers"] = {name: left / size for name, (left, size) in layers.items()}
        if not kept:
            row["collapsed_first"] = row["collapsed"][0]
        if config.search.method in by_gates.BINARY:
            row |= _of_gates(config, numbers, trained, row)
            if numbers.targets[level - 1] is not None:
                row |= {"trimmed": True, "open": _open(config, trained)}
        return row

    return examine


def _of_gates(config, numbers, trained, row):
    """Returns what only gates tell."""
    logits = trained.params.gates
    at = by_gates.temperature(config, numbers)(numbers.steps - 1)
    m = by_gates.kind(config).test(logits, at, 1.0)
    found = {"undecided": round(float(sigmoid.between(m)), 6)}
    if not row["kept"]:
        tops = [float(leaf.max()) for leaf in jax.tree.leaves(logits)]
        found["collapsed_first"] = row["collapsed"][tops.index(min(tops))]
    return found


def _open(config, trained):
    """Returns how many gates are open at the end of a round."""
    pair, scaled = trained[:2], by_gates.scaled(config)
    _, masks = gated.harvest(by_gates.kind(config), *pair, scaled=scaled)
    return int(masks_lib.count(masks)[0])


def warnings(config, row: dict) -> list[str]:
    """Returns sentences on what makes the masks of a round doubtful.

    Args:
      config: A validated config.
      row: The record of a round.
    """
    found, undecided = [], row.get("undecided", 0.0)
    if undecided > MANY and config.search.method == "continuous":
        found.append(
            f"{100 * undecided:.1f} % of the gates are undecided at the end: raise the "
            "gates' learning rate, the steps or the final temperature"
        )
    gap = row["validation_accuracy"] - row["hard_validation_accuracy"]
    if gap > 0.01:
        found.append(f"the hard mask costs {100 * gap:.1f} points of accuracy")
    if row["kept"] > row.get("open", row["kept"]):
        found.append(
            f"trimming keeps {row['kept']} weights where {row['open']} gates are open: "
            "the others have closed ones; raise the first logit or the sparsity"
        )
    if row["kept"] and row["sparsity"] > 0.998:
        found.append(f"only {row['kept']} of {row['prunable']} weights are left")
    return found
