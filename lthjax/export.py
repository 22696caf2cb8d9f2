"""A run's ticket, or what it trained to, as one safetensors file.

    python -m lthjax.export WORKDIR --seed=0 --level=3 --to=ticket.safetensors

`--trained` takes the network trained from that ticket in its place, where the run kept
it (with `retraining.arms`, or with a study that reads weights), `--trained=ARM` one
that was retrained. `lthjax.saving.safetensors.read` brings the file back.
`--layout=torch` writes what PyTorch's `load_state_dict(strict=True)` takes, pruned
weights at zero, and the masks, named alike, to `ticket.masks.safetensors` beside it; of
a transformer of ours its module too, `ticket_network.py`. A run with a model or data of
one's own needs `--flattened` for that, and `--trust`, which imports and calls what the
workdir names and says so, unless its layers are dense or `--views` says them.

A run in other bases (`search.basis`) is exported as the plain weights that its networks
compute with, whose masks keep all; `--coefficients` writes coefficients as they are.
"""

import argparse
import json
import logging
import pathlib
import sys
from collections.abc import Sequence

from lthjax import registry
from lthjax.data import in_memory
from lthjax.program import command_line
from lthjax.program.build import coefficients as coefficients_lib
from lthjax.program.build import network, source
from lthjax.program.config import files
from lthjax.program.workdir import layout, origin, text_files
from lthjax.program.workdir.member import Member
from lthjax.pruning import bases
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views as views_lib
from lthjax.saving import pytorch, safetensors, torch_source

log = logging.getLogger(__name__)

KEEPING = (
    "; a run keeps what it trained with retraining.arms, or with a study that reads "
    "weights, such as studies = ('signs',)"
)


def export(
    root: str | pathlib.Path,
    one: Member,
    level: int,
    to: str | pathlib.Path,
    *,
    arm: str | None = None,
    coefficients: bool = False,
    trust: bool = False,
) -> None:
    """Writes a network of a run as `safetensors.write` does, with its config.

    Args:
      root: The workdir.
      one: Whose network.
      level: Of which level.
      to: The file.
      arm: That of a trained network; `None` for the ticket.
      coefficients: Whether those of a run in other bases are written as they are.
      trust: As for `export_torch`; read where weights are computed of coefficients.

    Raises:
      ValueError: The run has no such network, or it is damaged.
    """
    root = pathlib.Path(root)
    network, config = load(root, one, level, arm), files.to_json(read(root))
    if not coefficients:
        network = _of_weights(root, network, trust)
    identity = {"arm": arm or "ticket", "level": level, **one.identity}
    safetensors.write(to, network, **identity, config=json.loads(config))


def export_torch(
    root: str | pathlib.Path,
    one: Member,
    level: int,
    to: str | pathlib.Path,
    *,
    arm: str | None = None,
    flattened: dict[str, int] | None = None,
    rules: Sequence[tuple[str, str]] = (),
    trust: bool = False,
) -> list[pathlib.Path]:
    """Writes a network of a run in PyTorch's layout, and its masks to a second file.

    Of a transformer of ours the source of its PyTorch module is a third one.

    Args:
      root: The workdir.
      one: Whose network.
      level: Of which level.
      to: The file of the weights; the masks go to `masks_path(to)`.
      arm: That of a trained network; `None` for the ticket.
      flattened: As `pytorch.Layout` has it, for a network of one's own; nothing that
        the config names is then imported.
      rules: What the axes of leaves are, as for `views.of`; besides `model.views`.
      trust: Whether a model and data that are not built in may be imported.

    Returns:
      The files.

    Raises:
      ValueError: As for `export`; or the network is a user's own, and `flattened` is
        not given, or it has a layer that PyTorch has not the like of; or a part is
        not built in, and neither `flattened` nor `trust` is.
    """
    root = pathlib.Path(root)
    network, config = load(root, one, level, arm), read(root)
    network = _of_weights(root, network, trust)
    with registry.read_in(root / layout.CONFIG, trust=trust):
        form = _layout(config, network.params, flattened, rules, trust=trust)
        text = None if flattened is not None else _source(config, network.params, to)
    params = masks_lib.apply(network.params, network.masks)
    identity = {"arm": arm or "ticket", "level": level, **one.identity}
    identity |= {"config": config.to_dict(), "versions": safetensors.versions()}
    metadata = {"format": "pt", safetensors.KEY: json.dumps(identity, default=list)}
    weights = pytorch.state_dict(form, params, network.model_state)
    safetensors.put(masks_path(to), pytorch.masks_dict(form, network.masks), metadata)
    safetensors.put(to, weights, metadata)
    if text is None:
        return [pathlib.Path(to), masks_path(to)]
    text_files.write(source_path(to), text)
    return [pathlib.Path(to), masks_path(to), source_path(to)]


def source_path(path: str | pathlib.Path) -> pathlib.Path:
    """Returns "a/b_network.py" for "a/b.safetensors"."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}_network.py")


def masks_path(path: str | pathlib.Path) -> pathlib.Path:
    """Returns "a/b.masks.safetensors" for "a/b.safetensors"."""
    path = pathlib.Path(path)
    return path.with_name(f"{path.stem}.masks{path.suffix}")


def read(root: pathlib.Path):
    """Returns the config of a workdir.

    Raises:
      ValueError: There is none, or it is damaged.
    """
    _check_run(root)
    return files.from_json(json.dumps(origin.config(root)))


def _check_run(root):
    if not any((root / name).is_file() for name in (origin.CONFIG, origin.COPY)):
        raise ValueError(
            f"a workdir must hold a run's {layout.CONFIG}, got WORKDIR = {root}"
        )


def load(root: pathlib.Path, one: Member, level: int, arm: str | None):
    """Returns a ticket of a run (`arm` is None) or what was kept of its training."""
    _check_run(root)
    if arm is None:
        path = layout.ticket_path(root, one, level)
    else:
        path = layout.trained_path(root, arm, one, level)
    if not path.exists():
        raise ValueError(
            f"the run must have kept what is exported, got none at {path}; "
            f"there is {', '.join(_kept(root)) or 'nothing'}{KEEPING * bool(arm)}"
        )
    if arm is None:
        return layout.load_ticket(root, one, level, again=False)
    return layout.load_trained(root, arm, one, level, again=False)


def _of_weights(root, network, trust):
    """Returns a network of plain weights."""
    if bases.COLLECTION not in network.model_state:
        return network
    config = read(root)
    with registry.read_in(root / layout.CONFIG, trust=trust):
        return coefficients_lib.materialised(network, config, _facts(config))


def _facts(config):
    where, options = config.data_dir or None, source.options(config)
    return in_memory.facts(config.data.name, data_dir=where, options=options)


def _kept(root):
    """Returns the folders of seeds of which a run kept something."""
    found = [
        *root.glob("tickets/*"),
        *root.glob("deployed/*/*"),
        *root.glob("trained/*"),
    ]
    return [
        f"{p.relative_to(root)} ({', '.join(q.name for q in sorted(p.iterdir()))})"
        for p in sorted(found)
        if p.is_dir()
    ]


def _layout(config, params, flattened, rules, *, trust) -> pytorch.Layout:
    """Returns the layout; of parts that may not be imported, by rules and matrices."""
    said = views_lib.ruled(params, rules)
    own = ":" in config.model.name or ":" in config.data.name
    if flattened is not None and own and not trust:
        _check_windows(said)
        return pytorch.Layout(flattened, views=pytorch.matrices(params) | said)
    facts = _facts(config)
    views = views_lib.joined(network.views(config, facts)[1], said)
    if flattened is not None:
        return pytorch.Layout(flattened, views=views)
    model = network.model(config, facts)
    # What has no three axes has no channels, which PyTorch puts first.
    channels = facts.image_shape[-1] if len(facts.image_shape) == 3 else 1
    return pytorch.layout(model, params, channels, views)


def _source(config, params, to) -> str | None:
    """Returns the source of a network of ours in PyTorch, where there is one."""
    if ":" in config.model.name:
        return None
    model = network.model(config, _facts(config))
    return torch_source.source(model, params, pathlib.Path(to).name)


def _check_windows(said):
    """Says which leaves are taken for convolutions, or refuses what is called another.

    A transposed one has the same axes and is written turned about.
    """
    windows = [name for name, view in said.items() if view.space]
    turned = [name for name in windows if views_lib.TRANSPOSED in name]
    if turned:
        raise ValueError(
            "a rule must not be all that is known of a transposed convolution, which "
            f"is written turned about, got {turned[0]}; give --trust"
        )
    if windows:
        log.warning(
            "written as convolutions, none of them a transposed one: %s; with one of "
            "these, give --trust",
            ", ".join(windows),
        )


def _flattened(texts: Sequence[str] | None) -> dict[str, int] | None:
    """Returns {layer: channels} of "layer:channels", {} of "none"."""
    if texts is None or texts == ["none"]:
        return None if texts is None else {}
    rows = [text.rpartition(":") for text in texts]
    if not all(layer and channels.isdigit() for layer, _, channels in rows):
        raise ValueError(
            f"--flattened must be layer:channels or none, got {' '.join(texts)}"
        )
    return {layer: int(channels) for layer, _, channels in rows}


def _rules(texts: Sequence[str]) -> list[tuple[str, str]]:
    """Returns the rules of "pattern:in out"."""
    return [(text.rpartition(":")[0], text.rpartition(":")[2]) for text in texts]


def _parser():
    form = argparse.RawDescriptionHelpFormatter
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=form, allow_abbrev=False
    )
    parser.add_argument("workdir", type=command_line.folder)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--level", type=int, required=True)
    parser.add_argument("--to", type=pathlib.Path, required=True)
    parser.add_argument("--initial", type=float, help="the first logit, if several")
    parser.add_argument("--trained", metavar="ARM", nargs="?", const="ticket")
    parser.add_argument("--layout", choices=("lthjax", "torch"), default="lthjax")
    parser.add_argument(
        "--flattened",
        nargs="+",
        metavar="LAYER:CHANNELS",
        help="for --layout=torch and a network of your own: its dense layers that read "
        "a flattened feature map, with the channels of that map, or none",
    )
    parser.add_argument(
        "--trust",
        action="store_true",
        help="for --layout=torch, or a run in other bases: import and call the model "
        "and the data that the workdir names, if they are not built in",
    )
    parser.add_argument(
        "--coefficients",
        action="store_true",
        help="for --layout=lthjax and a run in other bases: write its coefficients",
    )
    parser.add_argument(
        "--views",
        nargs="+",
        default=(),
        metavar="PATTERN:AXES",
        help="for --layout=torch and layers of your own: what the axes of the leaves "
        "are in whose names the pattern is found, such as 'kernel$:space in out', or "
        "plain",
    )
    return parser


def _check_layout(options):
    """Refuses what only the other layout reads."""
    turned = options.layout == "torch"
    if turned and options.coefficients:
        raise ValueError(
            "PyTorch's layout is of weights, got --coefficients with --layout=torch; "
            "leave it out, or give --layout=lthjax"
        )
    for name in ("flattened", "views"):
        if getattr(options, name) and not turned:
            raise ValueError(
                f"our own layout keeps all axes as they are, got --{name} with "
                "--layout=lthjax; leave it out, or give --layout=torch"
            )


def main(arguments: Sequence[str] | None = None) -> None:
    """Exports what the flags ask for; what is wrong ends it with one sentence."""
    options = _parser().parse_args(arguments)
    command_line.leave_accelerators()
    where = options.workdir, Member(options.seed, options.initial), options.level
    try:
        command_line.check_once(sys.argv[1:] if arguments is None else arguments)
        command_line.check_target("to", options.to)
        _check_layout(options)
        if options.layout == "lthjax":
            own = {"coefficients": options.coefficients, "trust": options.trust}
            export(*where, options.to, arm=options.trained, **own)
            written = [options.to]
        else:
            own = {"flattened": _flattened(options.flattened), "trust": options.trust}
            own["rules"] = _rules(options.views)
            written = export_torch(*where, options.to, arm=options.trained, **own)
    except (ValueError, OSError) as error:
        sys.exit(f"error: {error}")
    print(f"wrote {', '.join(map(str, written))}")


if __name__ == "__main__":
    main()
