"""What compilers of TPUs and GPUs say of a step: cycles, bytes, collectives, kernels.

python experiments/targets.py --workdir=W

Every row is a config of `configs/` with some changes, compiled for devices that are
not here (`python -m lthjax.main --dry_run --on=...` plans with the same numbers). Rows
whose compiler is not installed are left for a call in an environment that has it:
`jax[tpu]` and `jax[cuda13]` do not go together. Rows are in W/targets.csv as soon as
they are known, and the table in W/targets.md; with `--before=FILE`, a targets.csv of
another version of the code, the table has both. Two cores take from a minute
(ResNet-20) to a quarter of an hour (ResNet-50). What `--smoke` compiles is smaller,
and lies in W/targets_smoke.csv and .md.
"""

import csv
import io
import pathlib
from typing import Any, NamedTuple

from measures import tables

from lthjax.devices import targets
from lthjax.program import command_line
from lthjax.program.build import methods
from lthjax.program.config import files, shrink
from lthjax.program.run import target_plan
from lthjax.program.workdir import text_files

HERE = pathlib.Path(__file__).parent
BF16 = {"model.dtype": "bfloat16", "seeds": (0,)}
CIFAR10, IMAGENET = "cifar10.py", "imagenet.py"
# What is compiled: its name, its config, what is changed, and for which devices.
ROWS = (
    ("LeNet-300-100", "mnist.py", {"seeds": (0,)}, "v5e"),
    ("ResNet-20", CIFAR10, BF16, "v5e"),
    (
        "16 ResNet-20 over 4 chips",
        CIFAR10,
        BF16 | {"seeds": tuple(range(16)), "mesh.ticket": 4},
        "v5e:2x2",
    ),
    ("ResNet-18", "cifar100.py", BF16, "v5e"),
    ("ResNet-50", IMAGENET, {}, "v5e:4x4"),
    ("ResNet-50, norms by device", IMAGENET, {"model.norms": "device"}, "v5e:4x4"),
    ("LeNet-300-100", "mnist.py", {"seeds": (0,)}, "h100"),
    ("ResNet-20", CIFAR10, BF16, "h100"),
    ("ResNet-18", "cifar100.py", BF16, "h100"),
    ("ResNet-50", IMAGENET, {}, "h100:8"),
)
SMOKED = ROWS[:1] + ROWS[6:7]


class Row(NamedTuple):
    """What a compiler says of one step, on one device.

    Attributes:
      program: The network.
      target: The devices.
      cycles: By the compiler's own model; 0 where it gives none.
      gigabytes: Read and written, as XLA counts them.
      mebibytes: What a device holds, arguments and temporaries.
      loops: Serial loops inside, those over members too.
      collectives: How many.
      kernels: What a GPU is asked to start; 0 on a TPU.
    """

    program: str
    target: str
    cycles: int
    gigabytes: float
    mebibytes: float
    loops: int
    collectives: int
    kernels: int


def row(program: str, config: Any, name: str) -> Row:
    """Returns the row of a config on a target.

    Args:
      program: What it is called.
      config: A config.
      name: Of the target.

    Raises:
      ValueError: Its compiler is not installed, or the config does not go there.
    """
    target = targets.named(name)
    report = target_plan.plan(target_plan.spread(config, target)[0], target).report
    read = report.read
    return Row(
        program,
        name,
        read.cycles,
        round(report.accessed / 1e9, 3),
        round(report.total / 2**20, 1),
        len(read.loops),
        sum(one.count for one in read.collectives),
        sum(read.kernels.values()) if target.chip.platform == "gpu" else 0,
    )


def read(path: pathlib.Path) -> list[Row]:
    """Returns the rows of a file, none where there is none."""
    if not path.exists():
        return []
    with path.open(encoding="utf-8", newline="") as file:
        lines = list(csv.reader(file))[1:]
    kinds = [Row.__annotations__[field] for field in Row._fields]
    return [
        Row(*(kind(x) for kind, x in zip(kinds, line, strict=True))) for line in lines
    ]


def write(path: pathlib.Path, rows: list[Row]) -> None:
    """Writes rows to a file."""
    text = io.StringIO()
    csv.writer(text, lineterminator="\n").writerows([Row._fields, *rows])
    text_files.write(path, text.getvalue())


def table(rows: list[Row], before: list[Row]) -> str:
    """Returns the rows as a table, "before -> now" where both are known and differ."""
    titles = ["program", "on", "cycles", "GB read and written", "MiB held"]
    titles += ["serial loops", "collectives", "kernels"]
    old = {found[:2]: found for found in before}
    lines = []
    for found in rows:
        pairs = zip(old.get(found[:2], found)[2:], found[2:], strict=True)
        lines.append([*found[:2], *(_cell(a, b) for a, b in pairs)])
    return tables.markdown(titles, lines, rule=" --- ") + "\n"


def _cell(old, new):
    return f"{new:,}" if old == new else f"{old:,} → **{new:,}**"


def main() -> None:
    """Compiles what can be compiled here, and shows the table."""
    parser = command_line.arguments(__doc__)
    parser.add_argument("--before", type=pathlib.Path, help="a targets.csv")
    parser.add_argument("--only", default="", help="rows of this program, ResNet-20")
    options = parser.parse_args()
    command_line.prepare()
    options.workdir.mkdir(parents=True, exist_ok=True)
    path = options.workdir / f"targets{'_smoke' * options.smoke}.csv"
    programs = sorted({line[0] for line in (SMOKED if options.smoke else ROWS)})
    if options.only not in ("", *programs):
        parser.error(
            f"--only must be one of {', '.join(programs)}, got {options.only!r}"
        )
    if options.before and not options.before.is_file():
        parser.error(f"--before must be a targets.csv, got {options.before}, no file")
    rows, missing = {found[:2]: found for found in read(path)}, {}
    for program, name, changes, target in SMOKED if options.smoke else ROWS:
        if options.only not in ("", program):
            continue
        config = files.load(HERE.parent / "configs" / name)
        config = shrink.changed(config, changes)
        config = methods.shrunk(config) if options.smoke else config
        try:
            targets.devices(targets.named(target))
        except ValueError as error:
            missing[target.partition(":")[0]] = str(error)
            continue
        rows[program, target] = row(program, config, target)
        order = [(line[0], line[3]) for line in ROWS]
        found = [rows[key] for key in order if key in rows]
        write(path, found)
        text = table(found, read(options.before) if options.before else [])
        text_files.write(path.with_suffix(".md"), text)
        print(rows[program, target], flush=True)
    for sentence in missing.values():
        print(sentence)


if __name__ == "__main__":
    main()
