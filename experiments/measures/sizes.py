"""The sizes in which each paper is reproduced: what `--size` sets of its options.

`toy` takes minutes, and shows the path alone; `cpu` is what two cores do in hours;
`gpu` lies between; `paper` is the paper's own protocol. What is typed by hand wins.
"""

import argparse
from collections.abc import Mapping
from typing import Any

from measures import cheap

SIZES = ("toy", "cpu", "gpu", "paper")
SHORTENED = "shortened"  # options that are of no size
# Options of no protocol: where things lie, what is shown, what it runs on, how often.
APART = {"help", "workdir", "data_dir", "smoke", "size", "cost", "analyses", "scenes"}
APART |= {"finished", "devices", "seeds"}
OPTIONS: dict[str, dict[str, dict[str, Any]]] = {
    "frankle2019": {
        "toy": {"steps": 2000, "levels": 9, "seeds": 2},
        "cpu": {"steps": 50_000, "levels": 16, "seeds": 5},
        "gpu": {"steps": 50_000, "levels": 16, "seeds": 5},
        "paper": {"steps": 50_000, "levels": 16, "seeds": 5},
    },
    "renda2020": {
        "toy": {"width": 0.25, "limit": 2000, "epochs": 3, "levels": 2, "seeds": 2},
        "cpu": {"data": "mnist", "epochs": 12, "levels": 15, "seeds": 3},
        "gpu": {"width": 1.0, "epochs": 60, "levels": 10, "seeds": 3},
        "paper": {"width": 1.0, "epochs": 182, "levels": 10, "seeds": 3},
    },
    "tanaka2020": {
        "toy": {
            **{"data": "cifar10", "model": "lenet_300_100", "adam": True},
            **{"limit": 6000, "epochs": 4, "densities": "0.1,0.02"},
        },
        "cpu": {"data": "mnist", "epochs": 10, "densities": "0.1,0.01"},
        "gpu": {"model": "vgg16", "width": 0.5, "epochs": 80},
        "paper": {"model": "vgg16", "epochs": 160, "densities": "0.1,0.01"},
    },
    "savarese2020": {
        "toy": {"network": "lenet", "steps": 600, "levels": 12, "seeds": 3},
        "cpu": {"network": "lenet", "steps": 6000, "levels": 16, "seeds": 3},
        "gpu": {"network": "resnet20", "levels": 12, "seeds": 1},
        "paper": {"network": "resnet20", "levels": 12, "seeds": 3},
    },
    "wolfe2021": {
        "toy": {"widths": "1000", "sizes": "1000,10000,50000", "seeds": 1},
        "cpu": {"widths": "5000,10000", "seeds": 1},
        "gpu": {"widths": "5000,10000,20000", "seeds": 3},
        "paper": {"widths": "5000,10000,20000", "seeds": 3},
    },
    "wolfe2021_cifar": {
        "toy": {
            **{"models": "vgg11,resnet34", "width": 0.125, "sizes": "45000"},
            **{"draws": "200,600", "steps": 600, "tune": 150, "tolerance": 0.05},
        },
        "cpu": {
            **{"models": "mobilenet_v2", "sizes": "10000", "draws": "2000,4000"},
            **{"steps": 4000, "tune": 500, "tolerance": 0.05},
        },
        "gpu": {"models": "resnet34", "sizes": "10000,45000"},
        "paper": {"models": "resnet34,mobilenet_v2", "steps": 80_000, "tune": 2500},
    },
    "wolfe2021_theory": {
        "toy": {"examples": 200, "width": 300, "picks": 50, "steps": 400},
        "cpu": {"margins": 3},
        "gpu": {"margins": 10},
        "paper": {"margins": 10},
    },
    "you2020": {
        "toy": {
            **{"model": "vgg11", "width": 0.125, "limit": 2560, "validation": 500},
            **{"epochs": 10, "batch_size": 128, "shares": "0.5", "draws": "3"},
        },
        "cpu": {
            **{"model": "vgg11", "width": 0.125, "limit": 5000, "validation": 1000},
            **{"epochs": 40, "batch_size": 128, "shares": "0.3,0.5"},
            **{"draws": "5,10", "seeds": 3},
        },
        "gpu": {
            **{"model": "vgg16", "data": "cifar100", "epochs": 80},
            **{"draws": "5,10,20", "seeds": 3},
        },
        "paper": {
            **{"model": "vgg16", "data": "cifar100", "draws": "10,20,40,80"},
            **{"seeds": 3},
        },
    },
    "jaiswal2021": {
        "toy": {"cells": "cifar10-resnet8-one_shot", "ablation": True},
        "cpu": {"cells": "cifar10-resnet8-one_shot", "seeds": 5, "ablation": True},
        "gpu": {"cells": "cifar100-resnet18-magnitude"},
        "paper": {"seeds": 3},
    },
    "jaiswal2021_fit": {
        "toy": {"width": 0.25, "images": "500,2000", "steps": 300, "seeds": 1},
        "cpu": {"width": 1.0, "images": "250,1000,4000", "steps": 1500},
        "gpu": {"networks": "resnet8,vgg11", "steps": 20_000, "ablation": True},
        "paper": {"networks": "resnet8,vgg11", "steps": 64_000, "ablation": True},
    },
    "jaiswal2021_settings": {
        "toy": {"width": 0.25, "questions": "end", "steps": 300, "seeds": 1},
        "cpu": {"width": 1.0, "steps": 1500},
        "gpu": {"steps": 20_000, "seeds": 5},
        "paper": {"steps": 64_000, "seeds": 5},
    },
    "chen2021": {
        "toy": {"part": "mnist", "steps": 500, "seeds": 1},
        "cpu": {"part": "mnist", "steps": 2000, "seeds": 3},
        "gpu": {"part": "cifar10", "width": 0.5, "steps": 20_000},
        "paper": {"part": "cifar10", "width": 1.0, "steps": 64_000},
    },
    "girish2021": {
        "toy": {"steps": 200, "seeds": 1, "tasks": "detection", "width": 0.25},
        "cpu": {"steps": 2000, "seeds": 3, "width": 0.5},
        "gpu": {"steps": 10_000, "width": 1.0},
        "paper": {"steps": 40_000, "width": 1.0, "backbone": "resnet18"},
    },
    "alabdulmohsin2021": {
        "toy": {"networks": ["lenet_300_100"], "seeds": 1, "steps": 500},
        "cpu": {"networks": ["lenet_300_100", "lenet5", "resnet8"], "seeds": 3},
        "gpu": {"steps": 10_000, "seeds": 5},
        "paper": {"steps": 50_000, "seeds": 5},
    },
    "liu2021": {
        "toy": {"steps": 300, "seeds": 1, "limit": 5000, "width": 0.5},
        "cpu": {"model": "resnet8", "width": 0.5, "batch": 32, "steps": 3000},
        "gpu": {"model": "resnet20", "steps": 20_000, "seeds": 3},
        "paper": {"model": "resnet20", "steps": 52_800, "seeds": 5},
    },
    "seo2021": {
        "toy": {"participation": (0.5,), "samples": (20,), "seeds": 1, "rounds": 5},
        "cpu": {"participation": (0.0, 0.1, 0.2), "seeds": 3},
        "gpu": {"seeds": 3},
        "paper": {"seeds": 3, "rounds": 40, "users": 40},
    },
}


def parse(
    parser: argparse.ArgumentParser, name: str, words: list[str] | None = None
) -> argparse.Namespace:
    """Returns the options of an experiment, those of `--size` where none is typed.

    A smoke run compiles cheaply from here on.

    Args:
      parser: Of the experiment, with all of its options.
      name: The experiment's, a key of `OPTIONS`.
      words: Of the command; `None` for those that were typed.
    """
    parser.add_argument("--size", choices=SIZES, help="sets all that is not typed")
    parser.add_argument(
        "--cost", metavar="FILE", default="", help="print what it costs and end; JSON"
    )
    own = {action.dest: action.default for action in parser._actions}
    size = parser.parse_args(words).size
    if size:
        parser.set_defaults(**checked(parser, name, size))
    options = parser.parse_args(words)
    if options.smoke:
        cheap.compile_so()
    options.size = recognised(options, own, name)
    return options


def titled(options: argparse.Namespace, text: str) -> str:
    """Returns the text of a table, under a title that says so where it is of a toy."""
    toy = options.size == "toy" and not options.smoke
    return "# A toy: the path alone, at `--size=toy`\n\n" * toy + text


def checked(parser: argparse.ArgumentParser, name: str, size: str) -> dict[str, Any]:
    """Returns what a size sets, all of which are options of the experiment."""
    known = {action.dest for action in parser._actions}
    wrong = sorted(set(OPTIONS[name][size]) - known)
    if wrong:
        raise ValueError(
            f"a size must set options of its experiment, got {name}, {size} = "
            f"{', '.join(wrong)}"
        )
    return OPTIONS[name][size]


def recognised(options, own: Mapping[str, Any], name: str) -> str:
    """Returns the largest size whose options are these, "shortened" if there is none.

    What a size leaves out is the experiment's own default.

    Args:
      options: What is asked for.
      own: The experiment's own defaults.
      name: The experiment's.
    """
    found = [size for size in SIZES if _is(options, own, OPTIONS[name][size])]
    return found[-1] if found else SHORTENED


def _is(options, own, size) -> bool:
    given = {k: _plain(v) for k, v in vars(options).items() if k not in APART}
    wanted = {**own, **size}
    return all(given[key] == _plain(wanted[key]) for key in given)


def _plain(value):
    return list(value) if isinstance(value, (list, tuple)) else value
