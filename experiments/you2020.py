"""You et al., 2020 (arXiv:1909.11957): tickets drawn at each epoch, how they differ.

    python experiments/you2020.py --workdir=runs/you2020 --data_dir=DIR

Trains VGG-16 by `configs/cifar10_vgg16_early_bird.py`, draws the channel mask after
every epoch, prunes there and trains each drawn ticket to the end of the schedule.
Leaves the matrix of mask distances with the epoch at which either rule fires, and the
accuracy of the tickets by the epoch they were drawn at. Published numbers are of VGG-16
on another set, CIFAR-100, as none of CIFAR-10 was available: they stand beside ours as
what they are. `--model`, `--width`, `--limit`, `--epochs`, `--draws` and `--data`
shorten it.
"""

import json
import pathlib

import jax.numpy as jnp
import numpy as np
from matplotlib.figure import Figure
from measures import claims, kept, sizes, work

from lthjax.program import command_line
from lthjax.program.build import assemble, methods
from lthjax.program.build import source as source_lib
from lthjax.program.build.parts import key as key_of
from lthjax.program.config import files, validate
from lthjax.program.report import axes as axes_lib
from lthjax.program.run import check
from lthjax.program.workdir import results, text_files
from lthjax.tickets import Ticket, Trained, stability
from lthjax.training import members
from lthjax.training.steps import COLUMNS

HERE = pathlib.Path(__file__).parent
PUBLISHED = json.loads(
    (HERE / "published" / "you2020.json").read_text(encoding="utf-8")
)
RECORDS, KEYS = "draws.jsonl", ("epoch",)


def config(options):
    """Returns the config, as far as the options change it."""
    found = files.load(HERE.parent / "configs" / "cifar10_vgg16_early_bird.py")
    found.data_dir = options.data_dir
    found.search.sparsities = (options.sparsity,)
    found.data.name = options.data or found.data.name
    found.model.name = options.model or found.model.name
    found.model.width = options.width
    found.data.limit = options.limit
    found.data.validation = options.validation or found.data.validation
    if options.epochs:
        drops = [options.epochs // 2, options.epochs * 3 // 4]
        found.train.epochs, found.schedule.drops = options.epochs, tuple(drops)
    if options.batch_size:
        found.train.batch_size = options.batch_size
    if options.smoke:
        found = methods.shrunk(found, steps=8)
        found.model.options.update(depths=(1, 1), channels=(4, 6))
        found.model.width = 1.0
    found.eval_every = 0  # once an epoch, which is when a ticket is drawn
    return found


def dense(parts, draw, seed):
    """Trains the whole network, and yields (epoch, trained, watched mask, masks)."""
    params, model_state = parts.init_fn(key_of(seed, "init"))
    masks = parts.masks_fn(params)
    steps, epoch = parts.plan.steps, parts.plan.steps_per_epoch
    ticket = Ticket(0, 0, steps, params, model_state, masks)
    states, fixed = _population(parts, ticket, seed)
    for at in range(0, steps, epoch):
        stop = min(at + epoch, steps)
        states = parts.run(states, fixed, (0, steps), at, stop)
        state = members.member(states, 0)
        trained = Trained(state.params, state.model_state, masks)
        yield stop // epoch, trained, *draw(trained), _accuracy(state.curve)


def _population(parts, ticket, seed):
    states = members.stack([parts.begin(ticket)])
    keys = jnp.stack([key_of(seed, "data")])
    return states, (members.stack([ticket.masks]), keys)


def _accuracy(curve):
    """Returns the last test accuracy of a learning curve, %."""
    column = np.asarray(curve)[:, COLUMNS.index("test_accuracy")]
    return round(100 * float(column[np.isfinite(column)][-1]), 2)


def retrained(parts, trained, masks, epoch, seed):
    """Returns the accuracy of a ticket drawn at an epoch, at the schedule's end."""
    steps, start = parts.plan.steps, epoch * parts.plan.steps_per_epoch
    weights = trained.params, trained.model_state
    ticket = Ticket(1, start, steps, *weights, masks)
    states, fixed = _population(parts, ticket, seed)
    states = parts.run(states, fixed, (start, steps), start, steps)
    return _accuracy(members.member(states, 0).curve)


def fired(seen, settings):
    """Returns {rule: epoch at which the detector fires, or -1}."""
    found, options = {}, settings.early_bird
    for rule in stability.RULES:
        given = {"queue": options.queue, "threshold": options.threshold}
        state = stability.watch(seen.shape[1], rule, **given)
        for epoch, mask in enumerate(seen, start=1):
            state = stability.update(state, jnp.asarray(mask), epoch)
        found[rule] = int(state.fired_at)
    return found


def run(settings, options):
    """Trains and draws what is missing; returns (records, masks [epochs, bits])."""
    path = options.workdir / RECORDS
    source = source_lib.load(settings)
    parts = assemble.build(settings, source)
    draw = parts.prune_fn
    seed, seen = settings.seeds[0], []
    done = {row["epoch"] for row in kept.read(path, KEYS, lambda epoch: settings)}
    epochs = parts.plan.steps // parts.plan.steps_per_epoch
    for epoch, trained, mask, masks, accuracy in dense(parts, draw, seed):
        seen.append(np.asarray(mask))
        print(f"epoch {epoch} of {epochs}: {accuracy} %", flush=True)
        fires = fired(np.stack(seen), settings)["consecutive"] == epoch
        wanted = epoch % options.draws == 0 or fires or epoch == epochs
        if wanted and epoch not in done:
            last = epoch == epochs
            found = accuracy if last else retrained(parts, trained, masks, epoch, seed)
            row = {"epoch": epoch, "dense": accuracy, "ticket": None if last else found}
            kept.append(path, row, KEYS, settings)
    return kept.read(path, KEYS, lambda epoch: settings), np.stack(seen)


def table(rows, seen, settings):
    """Returns the accuracies and the draws as Markdown, the published ones beside."""
    flags = json.dumps(
        {"seeds": settings.seeds, **settings.train.to_dict()}, default=list
    )
    model, data = settings.model, settings.data
    sparsity = settings.search.sparsities[0]
    lines = [
        f"{model.name}, width {model.width:g}, on {data.name} (limit {data.limit}), "
        f"{100 * sparsity:g} % of the channels removed; {flags}; n = 1.",
        "",
        "| drawn at epoch | test accuracy of the ticket, % | dense then, % |",
        "|---|---|---|",
    ]
    for row in sorted(rows, key=lambda row: row["epoch"]):
        ticket = "(the dense network)" if row["ticket"] is None else row["ticket"]
        lines.append(f"| {row['epoch']} | {ticket} | {row['dense']} |")
    lines += ["", "| rule | fires at epoch | of |", "|---|---|---|"]
    for rule, epoch in fired(seen, settings).items():
        lines.append(f"| {rule} | {epoch if epoch > 0 else 'never'} | {len(seen)} |")
    lines += ["", "Published, VGG-16 on CIFAR-100, retrained accuracy, %:", ""]
    lines += ["| p | LT one-shot | Network Slimming | EB re-init | EB Train |"]
    lines += ["|---|---|---|---|---|"]
    for p, values in PUBLISHED["vgg16, cifar100"].items():
        lines.append(f"| {p} | {' | '.join(map(str, values.values()))} |")
    drawn = PUBLISHED["drawn at epoch, of 160, vgg16, cifar100"]
    text = ", ".join(f"{epoch} (p = {p})" for p, epoch in drawn.items())
    return "\n".join([*lines, "", f"Published draws, of 160 epochs: {text}.", ""])


def claimed(rows, seen, settings):
    """Returns [(claim, ours)] of VGG-16 on CIFAR-100; of others the order compares.

    A detector that fires at the last epoch draws the dense network, and no ticket.
    """
    found, table = [], PUBLISHED["vgg16, cifar100"]
    drawn = PUBLISHED["drawn at epoch, of 160, vgg16, cifar100"]
    share, own, epochs, relation = "", (), 0, claims.EQUAL
    if seen is not None:
        model, data = settings.model, settings.data.name
        same = (model.name, model.width, data) == ("vgg16", 1, "cifar100")
        share, epochs = f"{settings.search.sparsities[0]:g}", len(seen)
        relation = claims.relation(same)
        own = (fired(seen, settings)["consecutive"],)
    for p, row in table.items():
        for way, value in row.items():
            at = own[0] if way == "EB Train" and share == p else None
            ours = [r["ticket"] for r in rows if r["epoch"] == at]
            ours = [accuracy for accuracy in ours if accuracy is not None]
            claim = claims.Claim(f"{way}, p = {p}", value, relation=relation)
            found.append((claim, ours))
    for p, epoch in drawn.items():
        ours = own if (share, epochs) == (p, 160) and own[0] > 0 else ()
        what = f"drawn at epoch, p = {p}"
        claim = claims.Claim(what, epoch, "of 160", 5, relation)
        found.append((claim, ours))
    return found


def works(options, settings):
    """Returns {"": work}: the dense training, and what is left from every draw on."""
    ground = check.check(settings)[2]
    plan = ground.plan
    epochs = plan.steps // plan.steps_per_epoch
    drawn = [e for e in range(1, epochs) if e % options.draws == 0]
    lengths = [epochs, *(epochs - e for e in drawn)]
    images = sum(lengths) * plan.steps_per_epoch * settings.train.batch_size
    rows = results.read(options.workdir / RECORDS)
    there = {row["epoch"] for row in rows} & {*drawn, epochs}
    done = len(there) / len(lengths)
    flops = work.BACKWARD * images * work.forward(ground)
    return {"": work.Work(images, flops, done, 0.0, settings)}


def figure(rows, seen, settings):
    """Draws the distance matrix and the accuracy by drawing epoch."""
    shape = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = shape.subplots(1, 2)
    distances = np.mean(seen[:, None] != seen[None], axis=2)
    extent = (0.5, len(seen) + 0.5, len(seen) + 0.5, 0.5)
    image = left.imshow(distances, cmap="viridis", vmin=0, extent=extent)
    shape.colorbar(image, ax=left, label="mask distance")
    for number, (rule, epoch) in enumerate(fired(seen, settings).items()):
        if epoch > 0:
            style = {"color": f"C{number + 1}", "label": f"{rule} fires"}
            left.plot(epoch, epoch, "o", mfc="none", ms=12, **style)
            right.axvline(epoch, ls="--", lw=1, **style)
    left.set_xlabel("epoch")
    left.set_ylabel("epoch")
    own = sorted((row["epoch"], row["ticket"], row["dense"]) for row in rows)
    drawn = [(epoch, ticket) for epoch, ticket, _ in own if ticket is not None]
    right.plot(*zip(*drawn, strict=True), marker="o", label="ticket, at the end")
    right.plot([e for e, _, _ in own], [d for _, _, d in own], ":", label="dense, then")
    right.axhline(own[-1][2], color="0.5", lw=1, label="dense, at the end")
    right.set_xlabel("drawn at epoch")
    right.set_ylabel("test accuracy, %")
    right.grid(alpha=0.3)
    for axes in (left, right):
        axes.legend(fontsize=8)
    p = 100 * settings.search.sparsities[0]
    name = f"{settings.model.name} x {settings.model.width:g}, {settings.data.name}"
    shape.suptitle(f"{name}, {p:g} % of the channels removed, n = 1")
    return shape


def main():
    """Runs what is missing, and writes `you2020.md` and `you2020.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--sparsity", type=float, default=0.5)
    for name in ("model", "data"):
        parser.add_argument(f"--{name}", default="")
    numbers = {"limit": 0, "validation": 0, "epochs": 0, "batch_size": 0, "width": 1.0}
    command_line.numbers(parser, numbers)
    command_line.numbers(parser, {"draws": 1}, help="epochs between two draws")
    options = sizes.parse(parser, "you2020")
    command_line.prepare()
    options.workdir.mkdir(parents=True, exist_ok=True)
    with command_line.plain_errors():
        settings = config(options)
        validate.validate(settings)
        if options.cost:
            known = {"you2020": claimed([], None, settings)}
            work.show(options, works(options, settings), known)
            return
        rows, seen = run(settings, options)
        text = table(rows, seen, settings)
        text_files.write(options.workdir / "you2020.md", sizes.titled(options, text))
        claims.write(options, "you2020", claimed(rows, seen, settings))
        axes_lib.save(figure(rows, seen, settings), options.workdir / "you2020.png")
        print(text)


if __name__ == "__main__":
    main()
