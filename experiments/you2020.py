"""You et al., 2020 (arXiv:1909.11957): early-bird tickets, and three other ways.

    python experiments/you2020.py --workdir=runs/you2020 --data_dir=DIR

Trains VGG-16 by `configs/cifar10_vgg16_early_bird.py`, draws the channel mask after
every epoch, and trains four tickets of each share of channels removed (`--shares`):

* EB Train: drawn where the detector fires, trained on to the end of the schedule;
* EB re-init: that mask, fresh weights, the whole schedule;
* LT one-shot: drawn at the end, the first weights, the whole schedule;
* Network Slimming: drawn at the end, its weights, the whole schedule once more;

and those drawn after the epochs of `--draws`, trained on to the end. Leaves the matrix
of mask distances with the epochs at which either rule fires, the accuracy of the
tickets by the epoch of their draw, and the published table of VGG-16 on CIFAR-100
beside ours. `--model`, `--width`, `--limit`, `--epochs` and `--data` shorten it.
Departures: how long the published table's second trainings took is unverified; the rest
stands in the config.
"""

import pathlib

import numpy as np
from matplotlib.figure import Figure
from measures import claims, draws, kept, page, sizes, tables, work

from lthjax.program import command_line
from lthjax.program.build import assemble, methods
from lthjax.program.build import plan as plan_lib
from lthjax.program.build import source as source_lib
from lthjax.program.config import files, validate
from lthjax.program.run import check
from lthjax.program.workdir import results, spreads
from lthjax.tickets import stability

HERE = pathlib.Path(__file__).parent
PUBLISHED = claims.published("you2020")
TABLE = PUBLISHED["vgg16, cifar100"]
DRAWN = PUBLISHED["drawn at epoch, of 160, vgg16, cifar100"]
NETWORK = "vgg16", 1.0, "cifar100"  # of the published numbers
RECORDS, EPOCHS = "draws.jsonl", 160
SAID = (*draws.KEYS, "accuracy")  # of a row, on the way
EXPECTED = """Expected, written before any result:
1. The detector fires in the first third of the schedule, at every share.
2. EB Train ends within a point of LT one-shot, and above EB re-init.
3. Tickets drawn after the first epochs end below those that the detector draws."""


def config(options):
    """Returns the config, as far as the options change it.

    Raises:
      ValueError: The epochs are too few for the rate to fall twice.
    """
    found = files.load(HERE.parent / "configs" / "cifar10_vgg16_early_bird.py")
    found.data_dir = options.data_dir
    found.data.name = options.data or found.data.name
    found.model.name = options.model or found.model.name
    found.model.width = options.width
    found.data.limit = options.limit
    found.data.validation = options.validation or found.data.validation
    if options.epochs:
        if options.epochs < 3:
            raise ValueError(
                "the rate must fall after a half and after three quarters of the "
                f"epochs, got epochs = {options.epochs}; give 3 or more"
            )
        drops = [options.epochs // 2, options.epochs * 3 // 4]
        found.train.epochs, found.schedule.drops = options.epochs, tuple(drops)
    if options.batch_size:
        found.train.batch_size = options.batch_size
    if options.smoke:
        found = methods.shrunk(found, steps=4)
        found.model.options.update(depths=(1, 1), channels=(4, 6))
        found.model.width = 1.0
    found.eval_every = 0  # once an epoch, which is when a ticket is drawn
    return found


def asked(options, settings) -> draws.Asked:
    """Returns what is asked of every seed; the published draws are watched too.

    Raises:
      ValueError: They are none, or a ticket would be drawn after the last epoch.
    """
    shares = tuple(command_line.reals("shares", options.shares, most=1))
    watched = tuple(p for p in map(float, DRAWN) if p not in shares)
    epochs = command_line.counts("draws", options.draws) if options.draws else []
    if options.smoke:
        shares, watched, epochs = shares[:1], watched[:1], [2]
    elif late := [epoch for epoch in epochs if epoch >= settings.train.epochs]:
        raise ValueError(
            f"a ticket must be drawn before the last of {settings.train.epochs} "
            f"epochs, got draws = {', '.join(map(str, late))} among them"
        )
    return draws.Asked(shares, watched, tuple(epochs))


def run(settings, options, wanted: draws.Asked) -> list[dict]:
    """Trains what is missing; returns the rows of all seeds that are asked for."""
    path = options.workdir / RECORDS

    def read():
        rows = kept.read(path, draws.KEYS, lambda *identity: settings)
        return [row for row in rows if row["seed"] in range(options.seeds)]

    source = source_lib.load(settings)
    ground = plan_lib.of(settings, source)
    study = draws.Study(assemble.build(settings, source), ground, wanted)
    draws.check(study)
    found = (row for s in range(options.seeds) for row in draws.run(study, s, read()))
    for row in found:
        kept.append(path, row, draws.KEYS, settings)
        if row["way"] != draws.SEEN or row["share"] == wanted.shares[0]:
            print(", ".join(f"{k} {row[k]}" for k in SAID), flush=True)
    return read()


def table(found: draws.Found, settings) -> str:
    """Returns the accuracies and the draws as Markdown, the published ones beside."""
    model, data, train = settings.model, settings.data, settings.train
    images = f"{data.limit:,} images" if data.limit else "all images"
    lines = [
        f"{model.name}, width {model.width:g}, on {data.name} ({images}), "
        f"{found.epochs} epochs, batch {train.batch_size}, rate "
        f"{settings.optimizer.learning_rate:g} times 0.1 at epochs "
        f"{' and '.join(f'{drop:g}' for drop in settings.schedule.drops)}; seeds "
        f"{', '.join(map(str, found.seeds))}; mean and standard deviation over them, "
        f"n = {len(found.seeds)}. Dense: "
        f"{spreads.shown(spreads.spread(found.dense()))} %.",
        "",
        "Test accuracy, %, by the share p of the channels removed; in brackets the "
        "published, of VGG-16 on CIFAR-100:",
    ]
    ends = [
        [f"{share:g}", *(_cell(found, share, way) for way in draws.WAYS)]
        for share in found.asked.shares
    ]
    lines += ["", tables.markdown(["p", *draws.WAYS], ends)]
    lines += ["", *_draws(found), "", *_by_epoch(found)]
    return "\n".join([*lines, ""])


def _cell(found, share, way):
    ours = found.ends(share, way)
    own = spreads.shown(spreads.spread(ours)) if ours else "not run"
    printed = TABLE.get(f"{share:g}", {}).get(way)
    return own if printed is None else f"{own} [{printed:.2f}]"


def _draws(found):
    yield "Epochs at which the detectors fire, and the published of 160:"
    yield ""
    rows = []
    for share in sorted(found.shares):
        cells = []
        for rule in stability.RULES:
            fires = found.fires(share, rule)
            cells.append(", ".join(map(str, fires)) if fires else "never")
        ours, printed = (found.epochs, len(found.seeds)), DRAWN.get(f"{share:g}", "")
        rows.append([f"{share:g}", *cells, *ours, printed])
    titles = ["p", *stability.RULES, "of", "seeds", "published, of 160"]
    yield tables.markdown(titles, rows)


def _by_epoch(found):
    yield "Test accuracy at the schedule's end, %, by the epoch of the draw:"
    yield ""
    rows = []
    for epoch in found.asked.epochs:
        cells = []
        for share in found.asked.shares:
            ours = found.drawn(share, epoch).values()
            cells.append(spreads.shown(spreads.spread(ours)) if ours else "")
        rows.append([epoch, *cells])
    shares = [f"p = {share:g}" for share in found.asked.shares]
    yield tables.markdown(["drawn after epoch", *shares], rows)


def claimed(found: draws.Found | None, settings) -> list:
    """Returns [(claim, ours)] of VGG-16 on CIFAR-100; of others the order compares."""
    told = []
    model, data = settings.model, settings.data.name
    relation = claims.relation((model.name, model.width, data) == NETWORK)
    for p, row in TABLE.items():
        for way, value in row.items():
            asked_for = found and float(p) in found.asked.shares
            ours = found.ends(float(p), way) if asked_for else ()
            told.append(
                (claims.Claim(f"{way}, p = {p}", value, relation=relation), ours)
            )
    for p, epoch in DRAWN.items():
        fires = found.fires(float(p)) if found and float(p) in found.shares else ()
        ours = [100 * at / found.epochs for at in fires]
        claim = f"drawn after this part of the schedule, p = {p}"
        value = round(100 * epoch / EPOCHS, 1)
        told.append((claims.Claim(claim, value, "%", 3, relation), ours))
    return told


def works(options, settings, wanted: draws.Asked):
    """Returns {"": work}: every dense training, and those of its tickets."""
    ground = check.check(settings)[2]
    plan = ground.plan
    epochs = plan.steps // plan.steps_per_epoch
    # As if each detector fired after a fifth of the schedule.
    drawn = draws.trainings(wanted, epochs // 5 or 1, epochs)
    lengths = [epochs if way in draws.WHOLE else epochs - at for way, at in drawn]
    a_seed = epochs + len(wanted.shares) * sum(lengths)
    images = options.seeds * a_seed * plan.steps_per_epoch * settings.train.batch_size
    there = sum(
        row["way"] != draws.SEEN
        and row["seed"] in range(options.seeds)
        and row["share"] in wanted.shares
        for row in results.read(options.workdir / RECORDS)
    )
    done = min(1.0, there / (options.seeds * len(wanted.shares) * len(drawn)))
    flops = work.BACKWARD * images * work.forward(ground)
    return {"": work.Work(images, flops, done, 0.0, settings)}


def figure(found: draws.Found, settings) -> Figure:
    """Draws the distance matrix and the accuracy by drawing epoch."""
    shape = Figure(figsize=(11, 4.5), layout="constrained")
    left, right = shape.subplots(1, 2)
    seed, share = found.seeds[0], found.asked.shares[-1]
    masks = found.masks[seed, share]
    distances = np.mean(masks[:, None] != masks[None], axis=2)
    extent = (0.5, len(masks) + 0.5, len(masks) + 0.5, 0.5)
    image = left.imshow(distances, cmap="viridis", vmin=0, extent=extent)
    shape.colorbar(image, ax=left, label="mask distance")
    for number, rule in enumerate(stability.RULES):
        if (epoch := draws.fired(masks, rule)) > 0:
            style = {"color": f"C{number + 1}", "label": f"{rule} fires"}
            left.plot(epoch, epoch, "o", mfc="none", ms=12, **style)
    left.set(xlabel="epoch", ylabel="epoch", title=f"p = {share:g}, seed {seed}")
    for number, p in enumerate(found.asked.shares):
        points = [
            (epoch, spreads.spread(ours))
            for epoch in found.asked.epochs
            if (ours := found.drawn(p, epoch).values())
        ]
        y, bars = (
            [getattr(one, part) for _, one in points] for part in ("mean", "std")
        )
        label = f"drawn on the way, p = {p:g}"
        style = {"color": f"C{number}", "marker": "o", "capsize": 2}
        right.errorbar([e for e, _ in points], y, bars, label=label, **style)
        early, when = (
            spreads.spread(x) for x in (found.ends(p, draws.EARLY), found.at(p))
        )
        style |= {"marker": "*", "ms": 12, "xerr": when.std, "yerr": early.std}
        right.errorbar(when.mean, early.mean, label=f"EB Train, p = {p:g}", **style)
        for way, stroke in ((draws.LOTTERY, "--"), (draws.REINIT, ":")):
            mean = spreads.spread(found.ends(p, way)).mean
            right.axhline(
                mean, color=f"C{number}", ls=stroke, lw=1, label=f"{way}, p = {p:g}"
            )
    dense = spreads.spread(found.dense()).mean
    right.axhline(dense, color="0.5", lw=1, label="dense")
    right.set(xlabel="drawn after epoch", ylabel="test accuracy at the end, %")
    right.grid(alpha=0.3)
    for axes in (left, right):
        if axes.get_legend_handles_labels()[0]:
            axes.legend(fontsize=8)
    name = f"{settings.model.name} x {settings.model.width:g}, {settings.data.name}"
    shape.suptitle(f"{name}, channels removed, n = {len(found.seeds)}")
    return shape


def main():
    """Runs what is missing, and writes `you2020.md` and `you2020.png`."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--shares", default="0.1,0.3,0.5", help="of channels removed")
    parser.add_argument("--draws", default="", help="epochs, by commas")
    for name in ("model", "data"):
        parser.add_argument(f"--{name}", default="")
    numbers = {"limit": 0, "validation": 0, "epochs": 0, "batch_size": 0, "width": 1.0}
    command_line.numbers(parser, {**numbers, "seeds": 1})
    options = sizes.parse(parser, "you2020")
    command_line.prepare()
    options.workdir.mkdir(parents=True, exist_ok=True)
    with command_line.plain_errors():
        settings = config(options)
        validate.validate(settings)
        wanted = asked(options, settings)
        if options.cost:
            known = {"you2020": claimed(None, settings)}
            work.show(options, works(options, settings, wanted), known)
            return
        rows = run(settings, options, wanted)
        epochs = max(row["epoch"] for row in rows)
        found = draws.Found(rows, wanted, epochs)
        text = table(found, settings) + "\n" + EXPECTED + "\n"
        told = claimed(found, settings)
        page.write(options, "you2020", text, figure(found, settings), told)


if __name__ == "__main__":
    main()
