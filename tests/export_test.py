"""The command that exports: what a run kept, in either layout."""

import numpy as np
import pytest
import safetensors
import tiny
from flax import linen as nn
from safetensors.numpy import load_file
from trees import assert_same

from lthjax import export
from lthjax.program.config import files, validate
from lthjax.program.run import experiment
from lthjax.pruning import masks
from lthjax.saving import pytorch, tickets
from lthjax.saving import safetensors as safetensors_lib


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    """A workdir of a small run that keeps trained networks too."""
    root = tmp_path_factory.mktemp("run")
    changes = {"seeds": (0,), "search.levels": 1, "studies": ("signs",)}
    changes["search.exclude"] = ("^head",)
    experiment.run(tiny.config(changes), root)
    return root


def call(run, to, *more):
    given = {flag.partition("=")[0] for flag in more}
    whole = {"--seed": 0, "--level": 1, "--to": to}
    start = [f"{flag}={value}" for flag, value in whole.items() if flag not in given]
    export.main([str(run), *start, *more])


def test_a_ticket_of_a_run_is_exported_with_the_config_that_found_it(
    run, tmp_path, capsys
):
    to = tmp_path / "ticket.safetensors"
    call(run, to)
    assert capsys.readouterr().out == f"wrote {to}\n"
    found, metadata = safetensors_lib.read(to)
    assert_same(found, tickets.load(run / "tickets" / "seed_0" / "level_01"))
    numbers = {name: metadata[name] for name in ("arm", "level", "seed")}
    assert numbers == {"arm": "ticket", "level": 1, "seed": 0}
    saved = files.from_json((run / "config.json").read_text())
    expected = tiny.config({"seeds": (0,), "search.levels": 1, "studies": ("signs",)})
    expected.search.exclude = ("^head",)
    assert saved.to_dict() == expected.to_dict()
    assert validate.flat(metadata["config"])["search.exclude"] == ["^head"]


def test_what_a_ticket_trained_to_is_exported_if_it_was_kept(run, tmp_path):
    call(run, tmp_path / "x", "--trained")
    found, metadata = safetensors_lib.read(tmp_path / "x")
    assert metadata["kind"] == "trained"
    kept = tickets.load_trained(run / "deployed" / "ticket" / "seed_0" / "level_01")
    assert_same(found, kept)


def test_the_layout_of_pytorch_has_the_pruned_weights_at_zero_and_masks_beside(
    run, tmp_path
):
    to = tmp_path / "ticket.safetensors"
    call(run, to, "--layout=torch")
    ticket = tickets.load(run / "tickets" / "seed_0" / "level_01")
    form = pytorch.Layout({"dense1": 1})
    applied = masks.apply(ticket.params, ticket.masks)
    assert_same(load_file(to), pytorch.state_dict(form, applied))
    kept = load_file(tmp_path / "ticket.masks.safetensors")
    assert_same(kept, pytorch.masks_dict(form, ticket.masks))
    assert kept.keys() == {"dense1.weight"}
    assert not load_file(to)["dense1.weight"][~kept["dense1.weight"]].any()
    with safetensors.safe_open(to, framework="np") as file:
        assert file.metadata()["format"] == "pt"


def test_a_network_of_ones_own_needs_to_be_told_what_it_flattens(run, tmp_path):
    call(run, tmp_path / "x", "--layout=torch", "--flattened", "none")
    call(run, tmp_path / "y", "--layout=torch", "--flattened", "dense1:4")
    a, b = (load_file(tmp_path / name)["dense1.weight"] for name in "xy")
    np.testing.assert_array_equal(a.reshape(8, 16, 4).swapaxes(1, 2).reshape(8, 64), b)


class Turned(nn.Module):
    """A user's network: a transposed convolution, and a layer of its own."""

    num_classes: int

    @nn.compact
    def __call__(self, images):
        """Returns the logits."""
        x = nn.ConvTranspose(4, (2, 2), name="up")(images).mean((1, 2))
        return x @ self.param("own", nn.initializers.normal(), (self.num_classes, 4)).T


UP = {"kernel": np.arange(16.0).reshape(2, 2, 1, 4), "bias": np.ones(4)}
TURNED = UP["kernel"][::-1, ::-1].transpose(2, 3, 0, 1)


def written(params, rules, *, trust):
    """A user's network in PyTorch's layout."""
    changes = {"model.name": "export_test:Turned", "model.options": {}}
    found = tiny.config(changes), params, {}, export._rules(rules)
    return pytorch.state_dict(export._layout(*found, trust=trust), params)


def test_layers_of_a_network_of_ones_own_are_written_by_their_kind():
    params = {"up": UP, "own": np.ones((10, 4))}
    with pytest.raises(ValueError, match=r"got own of shape \(10, 4\)"):
        written(params, [], trust=True)
    found = written(params, ["^own$:out in"], trust=True)
    assert_same(found["up.weight"], TURNED)
    assert_same(found["own"], params["own"])


def test_a_rule_leaves_a_transposed_convolution_one_and_says_where_it_cannot_tell(
    caplog,
):
    params, rule = {"up": UP, "own": np.ones((10, 4))}, "up/kernel:space space in out"
    found = written(params, ["^own$:out in", rule], trust=True)
    assert_same(found["up.weight"], TURNED)
    assert not caplog.text
    found = written({"up": UP}, [rule], trust=False)
    assert_same(found["up.weight"], UP["kernel"].transpose(3, 2, 0, 1))
    assert "none of them a transposed one: up/kernel; with one" in caplog.text
    named = {"ConvTranspose_0": UP}
    with pytest.raises(ValueError, match="got ConvTranspose_0/kernel; give --trust"):
        written(named, ["kernel:space space in out"], trust=False)


@pytest.mark.parametrize(
    "arguments, message",
    [
        (["--level=7"], r"none at .*level_07; there is .*tickets/seed_0 \(level_00"),
        (["--seed=7"], "none at .*seed_7"),
        (["--initial=0.5"], "none at .*seed_0_initial_0.5"),
        (
            ["--trained=tost_paper"],
            r"none at .*deployed/tost_paper.*; a run keeps .*ret",
        ),
        (["--to=no/folder/x"], "--to must be a file in a folder .*, got no/folder/x$"),
        (["--to=."], "--to must be a file in a folder that there is, got ., a folder"),
        (["--layout=torch", "--flattened", "dense1"], "layer:channels or none"),
        (["--layout=torch", "--flattened", "dense1:3"], "3 channels for 64"),
    ],
)
def test_a_mistake_ends_the_command_with_a_sentence_and_writes_nothing(
    run, tmp_path, arguments, message
):
    with pytest.raises(SystemExit, match=f"error: .*{message}"):
        call(run, tmp_path / "x", *arguments)
    assert not list(tmp_path.iterdir())


def test_a_folder_that_is_no_workdir_is_refused(tmp_path):
    (tmp_path / "tickets").mkdir()
    for root in (tmp_path, tmp_path / "nowhere"):
        with pytest.raises(SystemExit, match=f"a run's config.json, got .* = {root}"):
            call(root, tmp_path / "x")


@pytest.mark.parametrize(
    "words", [("--flattened", "dense1:16"), ("--views", "kernel$:in out")]
)
def test_what_only_pytorch_s_layout_reads_is_refused_for_ours(
    run, tmp_path, words, capsys
):
    with pytest.raises(SystemExit, match=f"got {words[0]} with --layout=lthjax"):
        call(run, tmp_path / "x", *words)
    assert not list(tmp_path.iterdir())
