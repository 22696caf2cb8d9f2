"""All papers by one command: what fits into some hours, in the order of worth.

    python experiments/everything.py --workdir=W --data_dir=DIR --hours=H --size=cpu

Asks every experiment what it costs (operations, from the plans of its runs; hours here,
from what was measured; what of it is done), prints that with what fits, and runs what
fits in `W/<size>/<name>`, one after the other; what time is left goes to the first that
does not fit. When the hours are over the one that runs is asked to stop: the same
command goes on. A failed one is named, the others go on. It ends with a page,
`W/<size>/index.md`: each published number beside ours. `--only` chooses experiments,
`--dry_run` ends with the table of costs (a network that was never run here is timed on
a few blank images first, once). `--page` writes `experiments/results/index.md` from the
rows that lie there.
"""

import argparse
import pathlib
import signal
import sys

from measures import claims, hours, overview, sizes

from lthjax.program import command_line

HERE = pathlib.Path(__file__).parent
RESULTS = HERE / "results"
ORDER = (
    "frankle2019",
    "jaiswal2021",
    "jaiswal2021_fit",
    "jaiswal2021_settings",
    "renda2020",
    "tanaka2020",
    "wolfe2021",
    "chen2021",
    "savarese2020",
    "liu2021",
    "seo2021",
    "wolfe2021_theory",
    "you2020",
    "alabdulmohsin2021",
    "wolfe2021_cifar",
    "girish2021",
)
SMOKE = ("wolfe2021_theory", "seo2021")  # the others have their own


def arguments() -> argparse.ArgumentParser:
    """Returns the parser of the command."""
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=form)
    parser.add_argument("--workdir", type=command_line.folder)
    parser.add_argument("--data_dir", default="", help="where prepared sets lie")
    command_line.numbers(parser, {"hours": 0.0})
    parser.add_argument("--size", choices=sizes.SIZES, default="cpu")
    parser.add_argument("--only", default="", help="experiments, by commas; all")
    for name in ("dry_run", "page", "smoke"):
        parser.add_argument(f"--{name}", action="store_true")
    return parser


def chosen(options) -> list[str]:
    """Returns the experiments asked for, in the order of worth.

    Raises:
      ValueError: One does not exist, or there is nothing to run them in.
    """
    asked = command_line.words("only", options.only, ORDER) if options.only else ORDER
    if not options.workdir:
        raise ValueError("workdir must be given, got workdir = None; or give --page")
    if options.hours <= 0 and not options.dry_run:
        raise ValueError(
            f"hours must be above 0, got hours = {options.hours:g}; or give --dry_run"
        )
    return [name for name in ORDER if name in asked]


def command(options, name: str, *more: str) -> list[str]:
    """Returns the command of an experiment."""
    words = [
        sys.executable,
        str(HERE / f"{name}.py"),
        f"--workdir={place(options, name)}",
    ]
    words += [f"--data_dir={options.data_dir}", *more]
    return [*words, "--smoke" if options.smoke else f"--size={options.size}"]


def place(options, name: str = "") -> pathlib.Path:
    """Returns the folder of an experiment, or of all."""
    return options.workdir / ("smoke" if options.smoke else options.size) / name


def cost(options, name: str) -> hours.Cost:
    """Returns what an experiment costs; a network is timed once for all of them."""
    print(f"{name}: asked what it costs", flush=True)  # which takes up to minutes
    kept = place(options) / "paces.json"
    return hours.asked(name, command(options, name, f"--cost={kept}"))


def launched(options):
    """Returns (name, seconds) -> what became of it, which is printed."""

    def launch(name, seconds):
        log = place(options) / f"{name}.log"
        print(f"{name}: begun, its words are in {log}", flush=True)
        state = hours.watched(command(options, name), log, seconds)
        print(f"{name}: {state}", flush=True)
        return state

    return launch


def rows(options, costs) -> dict[str, list[claims.Row]]:
    """Returns {table: rows}: all tables that lie there, and those asked for without.

    What was asked for before, or fails to say what it costs, has its tables too.
    """
    nothing, found = {cost.name: cost.rows for cost in costs}, {}
    for name in ORDER:
        paths = sorted(place(options, name).glob(f"{name}*.json"))
        found |= nothing.get(name, {}) | {p.stem: claims.read(p) for p in paths}
    return found


def run(options) -> int:
    """Runs what fits, writes the page, and returns the exit status."""
    names = chosen(options)
    place(options).mkdir(parents=True, exist_ok=True)
    costs = [cost(options, name) for name in names]
    words = hours.fits(costs, options.hours or float("inf"))
    print(hours.table(costs, words, place(options).name), flush=True)
    if options.dry_run:
        return int(hours.UNKNOWN in words)
    asked = hours.order(names, words)
    ends = hours.through(asked, options.hours, launched(options))
    overview.write(place(options), rows(options, costs))
    print(f"page: {place(options) / overview.PAGE}")
    failed = [name for name, state in ends.items() if state == hours.FAILED]
    failed += [cost.name for cost in costs if cost.error]
    if failed:
        print(f"failed: {', '.join(failed)}", file=sys.stderr)
    return int(bool(failed))


def check_alone(parser, options) -> None:
    """Checks that `--page`, which reads the results of the tree, stands alone.

    Raises:
      ValueError: Something is given beside it.
    """
    given = [k for k, v in vars(options).items() if v != parser.get_default(k)]
    if beside := [f"--{name}" for name in given if name != "page"]:
        raise ValueError(
            f"--page must be given alone: it reads {RESULTS}, got {', '.join(beside)} "
            "beside it; a run ends with a page of its own"
        )


def main() -> None:
    """Runs what fits into the hours, or writes the page of the results."""
    parser = arguments()
    options = parser.parse_args()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(command_line.STOPPED))
    command_line.leave_accelerators()
    with command_line.plain_errors():
        if options.page:
            check_alone(parser, options)
            overview.write(RESULTS, overview.read(RESULTS, ORDER))
            return
        if options.smoke:
            options.only = options.only or ",".join(SMOKE)
            options.hours = options.hours or 0.2
        sys.exit(run(options))


if __name__ == "__main__":
    main()
