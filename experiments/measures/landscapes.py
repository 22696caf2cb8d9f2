"""What trained networks are like: gradients, curvature, and the loss around them."""

import functools

import jax
import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure

from lthjax import models
from lthjax.analysis import curvature
from lthjax.program.build import moved_images, plan, source
from lthjax.program.report import gains
from lthjax.program.workdir import layout, results, spreads
from lthjax.training import losses
from measures import records, tables

MEASURES = ("gradient_norm", "top_eigenvalue", "trace", "quiet")


def analyses(cell, settings, root, examples):
    """Returns rows of what the deployed networks asked for are like, kept on disk.

    Of `examples` training images that are not augmented, the plain loss, norms by their
    running statistics, on the coordinates that the masks keep.
    """
    path, keys = root / f"analyses_{examples}.jsonl", ("arm", "level", "seed")
    done = {results.identity(row, keys) for row in results.read(path)}
    rows = records.asked(results.read(root / results.RESULTS), settings)
    levels = {row["level"] for row in rows if row["level"] and row.get("retrained")}
    asked = [
        results.identity(row, keys)
        for row in rows
        if row["level"] in levels and row["arm"] in (gains.VANILLA, "tost_paper")
    ]
    wanted = [identity for identity in asked if identity not in done]
    if wanted:
        measure = _measurement(settings, source.load(settings), examples)
        for arm, level, seed in wanted:
            found = layout.load_trained(root, arm, seed, level)
            numbers = jax.device_get(measure(found))
            head = {"cell": cell, "arm": arm, "level": level, "seed": seed}
            values = {k: np.asarray(v).tolist() for k, v in numbers.items()}
            results.append(path, [head | values], keys)
    rows = results.read(path)
    return [row for row in rows if results.identity(row, keys) in asked]


def _measurement(settings, data, examples):
    """Returns trained network -> its numbers, compiled."""
    network = plan.of(settings, data).module
    prepare = moved_images.preparation(data)
    images = prepare(jnp.asarray(data.train.images[:examples]))
    labels = jnp.asarray(data.train.labels[:examples])

    @jax.jit
    def measure(found):
        params, state, kept = found.params, found.model_state, found.masks

        def loss_fn(params):
            logits, _ = models.apply(network, params, state, images, train=False)
            return jnp.mean(losses.cross_entropy(logits, labels))

        def forward(model):
            return models.apply(model, params, state, images, train=False)

        key = jax.random.key(0)
        top = functools.partial(curvature.top_eigenvalue, iterations=20)
        trace, error = curvature.trace(key, loss_fn, params, kept, probes=10)
        surface = curvature.surface(key, loss_fn, params, kept, points=5)
        return {
            "gradient_norm": curvature.gradient_norm(loss_fn, params, kept),
            "top_eigenvalue": top(key, loss_fn, params, kept),
            "trace": trace,
            "trace_error": error,
            "quiet": curvature.quiet(network, forward),
            "surface": surface.losses,
        }

    return measure


def table(rows):
    """Returns the means over seeds of what was measured, as Markdown."""
    found = []
    groups = sorted({(r["cell"], r["level"], r["arm"]) for r in rows})
    for cell, level, arm in groups:
        own = records.of(rows, cell=cell, level=level, arm=arm)
        means = [spreads.spread(row[name] for row in own) for name in MEASURES]
        cells = [spreads.shown(s, ".3g", ".2g") for s in means]
        found.append([cell, level, arm, *cells, len(own)])
    return tables.markdown(["cell", "level", "arm", *MEASURES, "n"], found) + "\n"


def surfaces(rows):
    """Draws the loss around a cell's networks of the sparsest level, seeds' mean."""
    level = max(row["level"] for row in rows)
    arms = list(dict.fromkeys(row["arm"] for row in rows))
    drawn = Figure(figsize=(4.5 * len(arms), 4), layout="constrained")
    for panel, arm in zip(
        np.atleast_1d(drawn.subplots(1, len(arms))), arms, strict=True
    ):
        own = [row["surface"] for row in records.of(rows, arm=arm, level=level)]
        image = panel.imshow(np.mean(own, 0), extent=(-1, 1, -1, 1), origin="lower")
        panel.set_title(f"{arm}, level {level}, n = {len(own)}", fontsize=10)
        panel.set_xlabel("steps along a random direction, filters' norms")
        drawn.colorbar(image, ax=panel, label="training loss, nats")
    return drawn
