"""Wolfe et al., 2021 (arXiv:2108.00259): the bound beside what it bounds, on one run.

    python experiments/wolfe2021_theory.py --workdir=runs/theory --data_dir=DIR

A two-layer network inside the theorem's assumptions (sigmoid neurons, unit inputs,
N d > m^2) is trained on the squared error of 1,000 MNIST digits. At every checkpoint:
the distance of the mask of its larger half of neurons from the last one (early-bird),
the dense loss, the loss of 200 greedy picks with its bound, and the distance of the
labels to the hull. `run.json` is for `python -m lthjax.bound --run`. `--margins` solves
the linear program of Appendix B at that many epochs, beside the published epoch of
first membership; they are of another training than the rest, one example a step at the
rate `--margin_rate`. It does not go on where it stopped; what the workdir holds to its
end, of the same options, is not run again. Departure: batches of 128 with momentum,
where the theorem has one example a step; the largest margin, where the paper asks for
strict inequalities; one rate, where its Appendix B has the best of several.
"""

import argparse
import json

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from measures import claims, page, sizes, tables, two_layers, work

from lthjax import bound
from lthjax.data import in_memory
from lthjax.forward_selection import convex_hull, neurons, pretraining_bound, two_layer
from lthjax.program import command_line
from lthjax.program.config import validate
from lthjax.program.workdir import text_files
from lthjax.pruning import choose
from lthjax.tickets import stability
from lthjax.training import losses

PUBLISHED = claims.published("wolfe2021")
PANELS = {
    "mask distance (early-bird)": ("distance",),
    "loss, mean squared error / 2": ("dense", "greedy", "bound", "published"),
    "loss of the hull's nearest point": ("hull",),
    "diameter of the hull": ("diameter",),
}
LABELS = {
    "distance": "to the last checkpoint",
    "dense": "dense network",
    "greedy": "greedy, {picks} picks",
    "bound": "its bound, rigorous",
    "published": "its bound, as published",
    "hull": "labels to the hull, at most",
    "diameter": "D",
}


def load(options):
    """Returns (x of unit length [m, inputs], y of -1 and 1 [m]).

    Raises:
      ValueError: There are not as many of each digit.
    """
    more = {"like": "mnist", "train": 300, "test": 50} if options.smoke else {}
    name = "synthetic" if options.smoke else "mnist"
    source = in_memory.load(
        name, data_dir=options.data_dir or None, validation=1, **more
    )
    images, labels = source.train
    each, most = options.examples // 10, int(np.bincount(labels, minlength=10).min())
    if options.examples % 10 or each > most:
        raise ValueError(
            "examples must be ten times a number of each digit, of which there are "
            f"{most:,}, got --examples = {options.examples:,}"
        )
    chosen = np.concatenate([np.flatnonzero(labels == c)[:each] for c in range(10)])
    x = images[chosen].reshape(len(chosen), -1) / 255.0
    x = x / np.linalg.norm(x, axis=1, keepdims=True)
    y = np.where(labels[chosen] >= 5, 1.0, -1.0)
    return jnp.asarray(x, jnp.float32), jnp.asarray(y, jnp.float32)


def measured(params, x, y, picks):
    """Returns what a checkpoint is worth, and the mask of its larger neurons."""
    features = two_layer.answers(params, x, jax.nn.sigmoid)
    found = neurons.select(features, y, picks)
    near = convex_hull.nearest(features, y, tolerance=1e-3, most=5000)
    norms = jnp.abs(params.output) * jnp.linalg.norm(params.hidden, axis=1)
    mask = choose.prune({"n": jnp.ones(norms.shape, bool)}, {"n": norms}, 0.5)
    values = {
        "dense": jnp.mean(losses.squared(jnp.mean(features, axis=0), y)),
        "first": found.losses[0],
        "greedy": found.losses[-1],
        "diameter": convex_hull.diameter(features),
        "hull": near.loss,
        "gap": near.gap,
    }
    return values, mask["n"]


def run(options, x, y):
    """Returns {name: values at the checkpoints} of one training."""
    width, size = options.width, len(y)
    params = two_layer.initialise(jax.random.key(options.seed), width, x.shape[1])
    state = two_layer.begin(params)
    rate = options.rate * width

    @jax.jit
    def train(state, start, stop):
        return two_layer.train(
            state,
            jax.random.key(options.seed + 1),
            (x, y, size),
            (start, stop),
            learning_rate=rate,
            batch_size=min(128, size),
            loss=losses.squared,
            activation=jax.nn.sigmoid,
        )

    look = jax.jit(lambda params: measured(params, x, y, options.picks))
    rows, masks = [], []
    for at in range(0, options.steps + 1, options.every):
        if at:
            state = train(state, at - options.every, at)
        values, mask = jax.device_get(look(state.params))
        masks.append(mask)
        distance = float(np.mean(masks[-1] != masks[-2])) if at else float("nan")
        row = {name: float(value) for name, value in values.items()}
        rows.append({"steps": at, "distance": distance, **_bounds(row, options.picks)})
        print(rows[-1], flush=True)
    found = {name: [row[name] for row in rows] for name in rows[0]}
    found["distance"] = [None if np.isnan(d) else d for d in found["distance"]]
    return found, masks


def setting(options, x):
    """Returns the numbers of the bound."""
    return pretraining_bound.Setting(*x.shape, options.width, options.picks, "sigmoid")


def _bounds(row, picks):
    known = {name: row[name] for name in ("first", "diameter", "dense")}
    proved = pretraining_bound.selection_bound(picks, **known)
    stated = pretraining_bound.selection_bound(picks, **known, rigorous=False)
    return {**row, "bound": proved, "published": stated}


def membership(options, x, y):
    """Returns [(margin, accuracy)] after each epoch: of the hull, of the network.

    Cross-entropy and batches of one example, as in the paper's Appendix B. The margin
    is that of the labels in the hull, as a part of the largest answer; the accuracy
    that of the whole network on the same examples. The network is a point of the hull,
    and so the margin is positive once it classifies all of them; before, training at a
    large rate can lose a margin that the random neurons had.
    """
    targets, size = (y > 0).astype(jnp.float32), len(y)
    start = two_layer.initialise(
        jax.random.key(options.seed), options.width, x.shape[1]
    )
    state, found = two_layer.begin(start), []
    for epoch in range(options.margins):
        if epoch:
            state = two_layer.train(
                state,
                jax.random.key(options.seed + 1),
                (x, targets, size),
                ((epoch - 1) * size, epoch * size),
                learning_rate=options.margin_rate * options.width,
                batch_size=1,
                momentum=0.0,
                activation=jax.nn.sigmoid,
            )
        features = np.asarray(two_layer.answers(state.params, x, jax.nn.sigmoid))
        margin, _ = convex_hull.margin(features, np.asarray(y))
        accuracy = np.mean((features.mean(0) > 0) == (np.asarray(y) > 0))
        found.append((margin / float(np.abs(features).max()), float(accuracy)))
        print(f"epoch {epoch}: margin {found[-1][0]:.3g} of the largest answer")
    return found


def figure(found, options):
    """Draws theory and practice against the steps of pre-training."""
    drawn = Figure(figsize=(13, 3.6), layout="constrained")
    for axes, (label, names) in zip(drawn.subplots(1, 4), PANELS.items(), strict=True):
        for name in names:
            values = [np.nan if v is None else v for v in found[name]]
            text = LABELS[name].format(picks=options.picks)
            axes.plot(found["steps"], values, marker="o", ms=3, label=text)
        axes.set_xlabel("steps of pre-training")
        axes.set_ylabel(label)
        axes.grid(alpha=0.3)
        axes.legend(fontsize=7)
    distance, loss, near, _ = drawn.axes
    near.set_yscale("log")
    distance.axhline(stability.THRESHOLD, color="0.4", ls="--", lw=1)
    loss.set_yscale("log")
    drawn.suptitle(
        f"two-layer network, N = {options.width:,}, m = {options.examples:,}, n = 1"
    )
    return drawn


THRESHOLD = "mask distance below 0.1 for five checkpoints"


def table(found, masks, margins, options):
    """Returns what crossed its threshold when, and the bound's report, as Markdown."""
    state = stability.watch(len(masks[0]))
    for number, mask in enumerate(masks):
        state = stability.update(state, jnp.asarray(mask), number)
    fired = int(state.fired_at) * options.every if state.fired else "never"
    best = min(found["greedy"])
    pairs = zip(found["steps"], found["greedy"], strict=True)
    first = next(step for step, loss in pairs if loss <= 1.05 * best)
    near = "greedy loss within 5 % of its best checkpoint"
    lines = [
        f"Command: `{command_line.typed()}`",
        "",
        f"N = {options.width}, m = {options.examples}, k = {options.picks}, rate "
        f"{options.rate} N, seed {options.seed}, n = 1.",
        "",
        tables.markdown(["what", "step"], [(THRESHOLD, fired), (near, first)]),
        "",
    ]
    if margins:
        lines += memberships(margins, options)
    rate = bound.measured(pretraining_bound.Setting(**found["setting"]), found)
    return "\n".join([*lines, "```", rate, "```", ""])


def claimed(margins, options):
    """Returns [(claim, ours)]: the first epoch at which the labels are in the hull.

    Where they are in it at none that was looked at, ours is the number of those, if it
    is more than the published epoch: they are not before.
    """
    inside, found = _inside(margins), []
    for (m, n), epoch in _PUBLISHED_EPOCHS.items():
        late = [len(margins)] * (len(margins) > epoch)
        same = (m, n) == (options.examples, options.width)
        what = f"first epoch in the hull, m = {m:,}, N = {n:,}"
        claim = claims.Claim(what, epoch, "", 0)
        found.append((claim, (inside or late)[:1] if same else ()))
    return found


def _inside(margins):
    """Returns the epochs at which the labels are in the hull."""
    rows = enumerate(margins)
    return [epoch for epoch, (margin, _) in rows if margin > convex_hull.CERTAIN]


_PUBLISHED_EPOCHS = {
    (row["examples"], row["width"]): row["epoch"] for row in PUBLISHED["hull"]["mnist"]
}


def works(options):
    """Returns {"": work}: the training by batches, and that of single examples."""
    steps = options.steps * min(128, options.examples)
    images = steps + max(0, options.margins - 1) * options.examples
    done = float(finished(options))
    return {"": two_layers.work_of(images, options.width, done)}


def asked(options):
    """Returns what a run depends on."""
    return {name: getattr(options, name) for name in (*NUMBERS, *RATES, "smoke")}


def finished(options):
    """Returns whether the workdir holds a whole run of these options."""
    path = options.workdir / "run.json"
    found = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    return found.get("asked") == asked(options)


def memberships(margins, options):
    """Returns the lines on the labels in the hull, the published epoch beside ours."""
    setting, inside = (options.examples, options.width), _inside(margins)
    known = _PUBLISHED_EPOCHS.get(setting, "not supplied")
    titles = ["epoch", "margin, of the largest answer", "network, training accuracy, %"]
    rows = [
        (epoch, f"{margin:.2g}", f"{100 * accuracy:.1f}")
        for epoch, (margin, accuracy) in enumerate(margins)
    ]
    return [
        f"Labels in the hull (margin > 0), one example a step, rate "
        f"{options.margin_rate} N, at epochs: {', '.join(map(str, inside)) or 'none'} "
        f"of 0 to {len(margins) - 1}; published, the first: {known}. The network is a "
        "point of the hull: where it is right on all examples the margin is positive; "
        "before that, training can lose it.",
        "",
        tables.markdown(titles, rows),
        "",
    ]


NUMBERS = {"examples": 1000, "width": 1300, "picks": 200, "steps": 2000}
NUMBERS |= {"every": 100, "seed": 0, "margins": 0}
RATES = {"rate": 1.0, "margin_rate": 0.01}


def parser() -> argparse.ArgumentParser:
    """Returns the options."""
    found = command_line.arguments(__doc__)
    command_line.numbers(found, NUMBERS)
    command_line.numbers(found, RATES, help="times the width")
    return found


def main():
    """Writes `run.json`, `theory.md` and `theory.png`."""
    options = sizes.parse(parser(), "wolfe2021_theory")
    if options.smoke:
        options.examples, options.width, options.picks = 60, 40, 20
        options.steps, options.every, options.margins = 20, 2, 2
    command_line.prepare()
    with command_line.plain_errors():
        validate.check_seeds((options.seed, options.seed + 1))
        options.workdir.mkdir(parents=True, exist_ok=True)
        if options.cost:
            known = {"wolfe2021_theory": claimed([], options)}
            work.show(options, works(options), known)
            return
        if finished(options):
            print(f"finished: {options.workdir} has all that was asked for")
            return
        if options.steps < 2 * options.every:
            raise ValueError(
                "a rate is fitted to three checkpoints at least, got steps = "
                f"{options.steps} and every = {options.every}; give more steps, or a "
                "smaller every"
            )
        x, y = load(options)
        margins = membership(options, x, y) if options.margins else []
        found, masks = run(options, x, y)
        found |= {"zero": float(jnp.mean(losses.squared(0.0, y)))}
        found |= {"setting": setting(options, x)._asdict(), "asked": asked(options)}
        text = table(found, masks, margins, options)
        claims.write(options, "wolfe2021_theory", claimed(margins, options))
        page.write(options, "theory", text, figure(found, options))
        text_files.write(options.workdir / "run.json", json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
