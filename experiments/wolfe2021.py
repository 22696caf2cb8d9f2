"""Wolfe et al., 2021 (arXiv:2108.00259): how much pre-training pruning needs, MNIST.

    python experiments/wolfe2021.py --workdir=runs/wolfe2021 --data_dir=DIR

Two-layer networks that tell digits below 5 from the others are trained on 1,000 to
50,000 examples for 8,000 steps; at each thousand they are pruned to 200 picks by greedy
forward selection, 128 fresh examples a pick, by cross-entropy on the averaged logit.
All sub-data sets (and seeds) of one width are one population. Leaves the heat map of
the pruned networks' training accuracy, beside Figure 2 where it was digitised ("not
supplied" for 10,000 neurons), and accuracy against pruned size. `--widths`, `--sizes`,
`--steps` and `--seeds` shorten it; it resumes. Departures: the network is a mean, with
the rate 0.02 times its width (a tenth of that for 20,000 neurons) where the paper
prints rates that hardly move a mean; batches are drawn uniformly; the sub-data sets are
nested and class-balanced.
"""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from measures import claims, page, records, tables, two_layers, work
from measures import sizes as named

from lthjax.data import in_memory
from lthjax.forward_selection import neurons, two_layer
from lthjax.program import command_line
from lthjax.program.workdir import results, spreads
from lthjax.saving import checkpoints
from lthjax.training import losses
from lthjax.training import members as members_lib

PUBLISHED = claims.published("wolfe2021")
SIZES = (1000, *range(5000, 50_001, 5000))
SHOWN = (10, 25, 50, 100, 150, 200)
PICKS, BATCH, EVERY, DISPATCH, CHUNK = 200, 128, 1000, 100, 1000
KEYS = ("width", "size", "seed", "step")
RECORDS = "heat.jsonl"


def balanced(labels, seed=0):
    """Returns an order of the examples whose beginnings have all classes evenly."""
    rng = np.random.default_rng(seed)
    classes = [rng.permutation(np.flatnonzero(labels == c)) for c in np.unique(labels)]
    least = min(map(len, classes))
    return np.stack([c[:least] for c in classes], axis=1).ravel()


def load(options):
    """Returns {"train", "test"}: (pixels uint8 [n, inputs], targets float [n])."""
    like = {"like": "mnist", "train": 400, "test": 100}
    name, more = ("synthetic", like) if options.smoke else ("mnist", {})
    validation = 50 if options.smoke else 1
    source = in_memory.load(
        name, data_dir=options.data_dir or None, validation=validation, **more
    )
    order = balanced(source.train.labels)
    found = {"train": (source.train.images[order], source.train.labels[order])}
    found["test"] = source.test
    return {
        name: (jnp.asarray(x.reshape(len(x), -1)), jnp.asarray(y >= 5, jnp.float32))
        for name, (x, y) in found.items()
    }


def rate(width):
    """Returns the learning rate of a width."""
    return 0.02 * width * (0.1 if width >= 20_000 else 1.0)


@functools.cache
def programs(width, one_by_one):
    """Returns (train, prune), compiled for a population of networks of one width."""

    def train(member, shared, span):
        state, key, size = member
        data = (*shared["train"], size)
        options = {"learning_rate": rate(width), "batch_size": BATCH}
        return two_layer.train(state, key, data, span, **options)

    def prune(member, shared):
        params, key, size = member
        pixels, targets = shared["train"]

        def draw(key):
            indices = two_layer.draw(key, BATCH, size)
            answers = two_layer.answers(params, pixels[indices] / 255.0)
            return answers, targets[indices]

        loss = losses.binary_cross_entropy
        found = neurons.select_batches(key, draw, PICKS, neurons=width, loss=loss)
        small = two_layer.Params(params.hidden[found.picks], params.output[found.picks])
        held_out = shared["test"]
        return {
            "picks": found.picks,
            "train": _by_size(small, shared["train"], size),
            "test": _by_size(small, held_out, len(held_out[1])),
            "dense_test": _dense(params, held_out),
        }

    mapped = {"together": 1 if one_by_one else None}
    return (
        jax.jit(members_lib.population(train, **mapped), donate_argnums=0),
        jax.jit(members_lib.population(prune, **mapped)),
    )


def _by_size(picked, examples, size):
    """Returns the accuracy of the first k picks on the first examples, for every k."""
    k = jnp.arange(1, PICKS + 1, dtype=jnp.float32)[:, None]

    def add(total, chunk):
        pixels, targets, first = chunk
        outputs = jnp.cumsum(two_layer.answers(picked, pixels / 255.0), axis=0) / k
        right = ((outputs > 0) == (targets > 0)[None]) & ~jnp.isnan(outputs)
        counted = first + jnp.arange(len(targets)) < size
        return total + jnp.sum(right & counted[None], axis=1), None

    total, _ = jax.lax.scan(add, jnp.zeros(PICKS, jnp.int32), _chunks(examples))
    return total / size


def _dense(params, examples):
    """Returns the accuracy of the whole network."""

    def one(chunk):
        pixels, targets, _ = chunk
        return two_layer.accuracy(two_layer.logits(params, pixels / 255.0), targets)

    return jnp.mean(jax.lax.map(one, _chunks(examples)))


def _chunks(examples, most=CHUNK):
    """Returns (pixels, targets, index of the first) in equal chunks; a rest is left."""
    pixels, targets = examples
    chunk = min(most, len(targets))
    number = len(targets) // chunk
    cut = number * chunk
    shaped = pixels[:cut].reshape(number, chunk, -1)
    return shaped, targets[:cut].reshape(number, chunk), jnp.arange(number) * chunk


def start(width, members, inputs):
    """Returns the population at step 0."""
    keys = [jax.random.fold_in(jax.random.key(seed), 0) for _, seed in members]
    networks = [two_layer.initialise(key, width, inputs) for key in keys]
    return members_lib.stack([two_layer.begin(params) for params in networks])


def heat(options, width, data):
    """Trains and prunes the population of one width, as far as it is missing."""
    least, most = max(options.sizes), len(data["train"][1]) // CHUNK * CHUNK
    if least > most and not options.smoke:  # as many of every class
        raise ValueError(f"sizes must be at most {most:,}, got --sizes = {least:,}")
    members = [(m, seed) for seed in range(options.seeds) for m in options.sizes]
    sizes = "_".join(map(str, options.sizes))
    every = "" if options.every == EVERY else f"_every_{options.every}"
    name = f"width_{width}_of_{sizes}_seeds_{options.seeds}{every}"
    folder = options.workdir / name
    states, at = start(width, members, data["train"][0].shape[1]), 0
    if (saved := checkpoints.newest(folder, states)) is not None:
        states, at = jax.tree.map(jnp.asarray, saved[0]), saved[1]["step"]
    made = {"smoke": True} if options.smoke else {}
    train, prune = programs(width, jax.default_backend() == "cpu")
    sizes = jnp.asarray([m for m, _ in members])
    keys = jnp.stack([jax.random.fold_in(jax.random.key(s), 1) for _, s in members])
    while True:
        draws = jax.vmap(jax.random.fold_in, (0, None))(keys, at + 10**6)
        found = jax.device_get(prune((states.params, draws, sizes), data))
        rows = [_row(found, i, width, m, at) | made for i, m in enumerate(members)]
        results.append(options.workdir / RECORDS, rows, KEYS)
        checkpoints.roll(folder, states, {"step": at})
        print(f"width {width}, step {at}: {[row['train'][-1] for row in rows]}")
        if at >= options.steps:
            return
        until = min((at // options.every + 1) * options.every, options.steps)
        for first in range(at, until, DISPATCH):
            span = jnp.asarray([first, min(first + DISPATCH, until)])
            states = train((states, keys, sizes), data, tuple(span))
        at = until


def _row(found, i, width, member, step):
    row = dict(zip(KEYS, (width, *member, step), strict=True))
    row["distinct"] = len(set(found["picks"][i].tolist()))
    row["dense_test"] = round(100 * float(found["dense_test"][i]), 2)
    for name in ("train", "test"):
        row[name] = [round(100 * float(found[name][i][k - 1]), 2) for k in SHOWN]
    return row


def cells(rows, width):
    """Returns {size: [(step, Spread of the accuracy at 200 picks)]} of one width."""
    own = [{**r, "last": r["train"][-1]} for r in records.of(rows, width=width)]
    groups = spreads.aggregate(own, "last", ("size", "step"))
    sizes = sorted({size for size, _ in groups})
    return {
        size: [(t, value) for (s, t), value in sorted(groups.items()) if s == size]
        for size in sizes
    }


def first(found):
    """Returns {size: first step that reaches the best of the largest set, or None}."""
    best = max(value.mean for _, value in found[max(found)])
    reached = {m: [t for t, v in row if v.mean >= best] for m, row in found.items()}
    return {size: min(steps, default=None) for size, steps in reached.items()}


def table(rows, command):
    """Returns the heat maps and the sizes as Markdown, the published values beside."""
    lines = [f"Command: `{command}`. Training accuracy at {PICKS} picks, %; published"]
    lines += ["values (digitised, about 0.2 points; means of 3) in brackets.", ""]
    for width in sorted({row["width"] for row in rows}):
        found = cells(rows, width)
        starts, (steps, rows_at) = first(found), two_layers.aligned(found)
        every = PUBLISHED["heat"].get(str(width), {})
        heat = []
        for size, row in rows_at.items():
            pairs, known = zip(steps, row, strict=True), every.get(str(size))
            values = [_cell(t, value, known) if value else "" for t, value in pairs]
            heat.append([f"{size:,}", *values, _first(width, size, starts)])
        lines += [
            f"N = {width:,}{'' if every else '; published: not supplied'}",
            "",
            tables.markdown(["m", *steps, "first"], heat),
            "",
            *two_layers.gap(found, every, PUBLISHED["iterations"]),
            *_sizes(rows, width),
            "",
        ]
    return "\n".join(lines)


def _cell(step, value, known):
    """Returns "ours ± std (published)"; std where there are several seeds."""
    known = dict(zip(PUBLISHED["iterations"], known or (), strict=False))
    ours = spreads.shown(value, ".1f")
    return ours + (f" ({known[step]})" if step in known else "")


def _first(width, size, starts):
    """Returns the first step; the published is by the best of the largest size."""
    known = dict(zip(SIZES, PUBLISHED["first"].get(str(width), ()), strict=False))
    known = known if max(starts) == SIZES[-1] else {}
    return f"{starts[size]}" + (f" ({1000 * known[size]})" if size in known else "")


def _sizes(rows, width):
    """Returns the table of accuracy by pruned size, at the last step."""
    last = max(row["step"] for row in records.of(rows, width=width))
    own = records.of(rows, width=width, step=last)
    found = []
    for size in sorted({row["size"] for row in own}):
        group = records.of(own, size=size)
        means = np.mean([row["test"] for row in group], axis=0)
        dense = np.mean([row["dense_test"] for row in group])
        distinct = np.mean([row["distinct"] for row in group])
        values = [f"{value:.1f}" for value in (*means, dense)]
        found.append([f"{size:,}", *values, f"{distinct:.0f}", len(group)])
    titles = ["m", *(f"{k} picks" for k in SHOWN), "dense", "distinct of 200", "n"]
    head = f"Test accuracy by pruned size at step {last}, and n:"
    return [head, "", tables.markdown(titles, found)]


def figure(rows):
    """Draws for each width our heat map, the published one, accuracy by size."""
    widths = sorted({row["width"] for row in rows})
    shape = (15, 4.2 * len(widths))
    drawn = Figure(figsize=shape, layout="constrained")
    for axes, width in zip(
        drawn.subplots(len(widths), 3, squeeze=False), widths, strict=True
    ):
        found = cells(rows, width)
        steps, ours = two_layers.aligned(found)
        ours = {m: [v.mean if v else np.nan for v in row] for m, row in ours.items()}
        _map(axes[0], ours, steps, f"ours, N = {width:,}")
        known = PUBLISHED["heat"].get(str(width))
        if known:
            _map(axes[1], known, PUBLISHED["iterations"], "published (digitised)")
        else:
            axes[1].set_axis_off()
            axes[1].text(0.5, 0.5, "published: not supplied", ha="center")
        _curves(axes[2], rows, width, max(found))
    return drawn


def _map(axes, values, steps, title):
    longest = max(map(len, values.values()))
    grid = [[*row, *[np.nan] * (longest - len(row))] for row in values.values()]
    image = axes.imshow(grid, vmin=75, vmax=100, aspect="auto", cmap="viridis")
    for (y, x), value in np.ndenumerate(np.array(grid)):
        options = {"fontsize": 6, "color": "white" if value < 85 else "black"}
        axes.text(x, y, f"{value:.1f}", ha="center", va="center", **options)
    axes.set_yticks(range(len(values)), [f"{int(m):,}" for m in values])
    axes.set_xticks(range(longest), [f"{s:,}" for s in steps[:longest]], fontsize=7)
    axes.set(title=title, xlabel="steps of training", ylabel="training examples")
    axes.figure.colorbar(image, ax=axes, label="pruned accuracy, %")


def _curves(axes, rows, width, size):
    """Draws the test accuracy by pruned size, a line for each checkpoint."""
    own = records.of(rows, width=width, size=size)
    for step in sorted({row["step"] for row in own}):
        values = np.mean([row["test"] for row in records.of(own, step=step)], axis=0)
        axes.plot(SHOWN, values, marker="o", ms=3, label=f"{step:,} steps")
    axes.set(title=f"m = {size:,}", xlabel="picks", ylabel="pruned, test accuracy, %")
    axes.legend(fontsize=7)
    axes.grid(alpha=0.3)


def main():
    """Runs what is missing, and writes `wolfe2021.md` and `wolfe2021.png`."""
    parser = command_line.arguments(__doc__)
    several = {"widths": "5000,10000,20000", "sizes": ",".join(map(str, SIZES))}
    for name, value in several.items():
        parser.add_argument(f"--{name}", default=value, help="by commas")
    command_line.numbers(parser, {"steps": 8000, "seeds": 3, "every": EVERY})
    options = named.parse(parser, "wolfe2021")
    with command_line.plain_errors():
        for name in several:
            setattr(options, name, command_line.counts(name, getattr(options, name)))
    if options.smoke:
        options.widths, options.sizes, options.seeds = [210, 230], [100, 200], 1
        options.steps, options.every = 20, 10
    command_line.prepare()
    options.workdir.mkdir(parents=True, exist_ok=True)
    with command_line.plain_errors():
        if options.cost:
            works = two_layers.heat_works(options, options.workdir / RECORDS)
            work.show(options, works, {"wolfe2021": two_layers.heat(PUBLISHED, [])})
            return
        two_layers.asked(results.read(options.workdir / RECORDS), options)
        data = load(options)
        for width in options.widths:
            heat(options, width, data)
        rows = two_layers.asked(results.read(options.workdir / RECORDS), options)
        text = table(rows, command_line.typed())
        told = two_layers.heat(PUBLISHED, rows)
        page.write(options, "wolfe2021", text, figure(rows), told)


if __name__ == "__main__":
    main()
