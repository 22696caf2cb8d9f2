"""Speed: what masks, pruning, starting and populations cost, beside plain PyTorch.

GLIBC_TUNABLES=glibc.malloc.hugetlb=1 python experiments/speed.py --workdir=runs/speed

What is compared is timed in turns: a ratio is the median of the ratios within a round.
"no masks" is the same program handed a tree of `None`, in which nothing is masked. Ours
shuffles, gathers and normalises uint8 images, as the program does; PyTorch, where it is
installed (`peers/speed.py`), finds float batches ready. Pixels are random: speed does
not depend on them. A part that the workdir holds is not measured again.
"""

import importlib.metadata
import importlib.util
import json
import os
import subprocess
import sys

import jax
from matplotlib.figure import Figure
from measures import tables
from measures.timed import (
    bases,
    clients,
    feeding,
    gated,
    once,
    recognition,
    retraining,
    scaling,
    scoring,
    selection,
    steps,
)
from measures.timed.rows import NUMBERS, Row, cells, met
from rich import console, markdown

import lthjax
from lthjax import registry
from lthjax.devices import onednn
from lthjax.program import command_line
from lthjax.program.report import axes as axes_lib
from lthjax.program.workdir import text_files

PARTS = (
    steps.PARTS
    | gated.PARTS
    | once.PARTS
    | scoring.PARTS
    | retraining.PARTS
    | selection.PARTS
    | scaling.PARTS
    | feeding.PARTS
    | clients.PARTS
    | bases.PARTS
    | recognition.PARTS
)
FAR = 5  # times: shares that lie further apart have a logarithmic axis
VIRTUAL = {"devices": max(scaling.DEVICES), "clients": clients.DEVICES}
# What --smoke takes: one part of every kind that compiles quickly.
SMOKED = ("lenet", "prune", "start", "synflow", "select_neurons")


def setup(options) -> dict[str, str]:
    """Returns what the numbers depend on, which a workdir keeps."""
    pages = "hugetlb=1" in os.environ.get("GLIBC_TUNABLES", "")
    wanted = ("jax", "flax", "optax", "torch")
    found = [name for name in wanted if importlib.util.find_spec(name)]
    named = [f"{name} {importlib.metadata.version(name)}" for name in found]
    named += [f"oneDNN {version}" for version in [onednn.version()] if version]
    device = jax.devices()[0].device_kind.replace("cpu", "CPU")
    return {
        "machine": f"{len(os.sched_getaffinity(0))} cores, {device}",
        "versions": ", ".join(named),
        "huge pages": "on" if pages else "off, see the command",
        "rounds": f"{options.rounds}, turns of {options.seconds} s",
        "networks": "small (--smoke)" if options.smoke else "whole",
    }


def text(facts: dict[str, str], rows: list[Row]) -> str:
    """Returns the table as Markdown, with its command and what it depends on."""
    pages = os.environ.get("GLIBC_TUNABLES", "")
    given = f"GLIBC_TUNABLES={pages} " * bool(pages)
    lines = ["# Speed", "", f"    {given}{command_line.typed()}", ""]
    lines += [f"* {name}: {value}" for name, value in facts.items()]
    titles = ["what", *NUMBERS, "target"]
    lines += ["", tables.markdown(titles, ([r.what, *cells(r)] for r in rows))]
    return "\n".join(lines) + "\n"


def figure(rows: list[Row]) -> Figure:
    """Draws what has a target that is not zero: the median as a share of it."""
    shown = [r for r in rows if r.most or r.least]
    shape = Figure(figsize=(9, 1 + 0.4 * len(shown)), layout="constrained")
    axes = shape.subplots()
    shares = [r.median / (r.most or r.least) for r in shown]
    labels = [f"{r.what}\n(at {'most' if r.most else 'least'} 1)" for r in shown]
    axes.barh(labels, shares, color=["C0" if met(r) else "C3" for r in shown])
    axes.axvline(1, color="0.3", ls="--")
    if shares and max(shares) > FAR * min(shares):
        axes.set_xscale("log")
        axes_lib.plain_ticks(axes.xaxis)
    axes.set_xlabel("measured / target")
    axes.invert_yaxis()
    return shape


def main() -> None:
    """Measures the parts asked for that the workdir does not hold, and shows them."""
    parser = command_line.arguments(__doc__)
    command_line.numbers(parser, {"rounds": 0})
    command_line.numbers(parser, {"seconds": 0.0}, help="of a turn, about")
    parser.add_argument("--only", help="parts, by commas; else all, or a few to smoke")
    options = parser.parse_args()
    wanted = SMOKED if options.smoke else tuple(PARTS)
    with command_line.plain_errors():
        asked = options.only and command_line.words("only", options.only, PARTS)
    wanted = asked or wanted
    options.rounds = options.rounds or (2 if options.smoke else 15)
    options.seconds = options.seconds or (0.01 if options.smoke else 1.0)
    path = options.workdir / "speed.json"
    saved = json.loads(path.read_text(encoding="utf-8")) if path.exists() else {}
    asked = [part for part in wanted if part not in saved]
    if len(asked) == 1 and asked[0] in VIRTUAL:  # before any device is asked for
        jax.config.update("jax_num_cpu_devices", VIRTUAL[asked[0]])
    lthjax.devices.cpu_convolutions.lower_convolutions()
    options.workdir.mkdir(parents=True, exist_ok=True)
    facts = setup(options)
    saved = saved or {"setup": facts}
    if saved["setup"] != facts:
        sys.exit(f"error: a workdir keeps its setup {saved['setup']}, got {facts}")
    for part in asked:
        if len(asked) == 1 or options.smoke:
            saved[part] = registry.resolve(part, PARTS, "part")(options)
            text_files.write(path, json.dumps(saved, indent=1))
        else:  # a process each: in one that ran others, half the speed was seen
            subprocess.run([sys.executable, *sys.argv, f"--only={part}"], check=True)
            saved = json.loads(path.read_text(encoding="utf-8"))
    rows = [Row(*r) for part in PARTS for r in saved.get(part, [])]
    text_files.write(options.workdir / "speed.md", text(facts, rows))
    axes_lib.save(figure(rows), options.workdir / "speed.png")
    console.Console().print(markdown.Markdown(text(facts, rows)))
    print(f"the figure is {options.workdir / 'speed.png'}")


if __name__ == "__main__":
    main()
