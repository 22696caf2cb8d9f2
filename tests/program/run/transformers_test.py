"""Transformers go all the way: pruned by heads, cut off, gone on with, exported."""

import subprocess
import sys

import jax
import numpy as np
import pytest
import tiny
from safetensors.numpy import load_file

from lthjax import export
from lthjax.program.run import check, experiment
from lthjax.program.workdir import results
from lthjax.pruning import heads, views
from lthjax.saving import tickets

SMALL = {"features": 8, "depth": 1, "heads": 4}
HEADS = {
    "objective": "next_token",
    "seeds": (0,),
    "controls": ("shuffle",),
    "data.name": "characters",
    "data.options": {"length": 6, "letters": 900},
    "model.name": "gpt_tiny",
    "model.options": SMALL | {"tied": True},
    "optimizer.name": "adam",
    "optimizer.learning_rate": 0.01,
    "search.levels": 1,
    "search.rate": 0.5,
    "search.pattern": "heads",
    "search.include": "attention/.*kernel$",
    "search.rewind_to": 1,
}
VISION = {
    "model.name": "vit_tiny",
    "model.options": SMALL,
    "data.options": {"train": 48, "test": 16},
}


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, HEADS)


def test_whole_heads_are_gone_and_the_ticket_trains(run):
    _, root = run
    ticket = tickets.load(root / "tickets" / "seed_0" / "level_01")
    axes = {
        f"block1/attention/{name}/kernel": views.view(text.split())
        for name, text in {
            **dict.fromkeys(("query", "key", "value"), "in out out"),
            "out": "in in out",
        }.items()
    }
    counts = jax.tree.leaves(heads.counts(ticket.masks, axes))[0][0]
    assert sorted(counts.tolist()) == [0, 0, 64, 64]  # 4 kernels of 8 x 2 weights
    rows = results.read(root / results.RESULTS)
    assert {(r["level"], r["arm"]) for r in rows} == {
        (0, "ticket"),
        (1, "ticket"),
        (1, "shuffle"),
    }
    # Of a uniform guess the perplexity is the number of characters.
    assert all(1 < r["test_perplexity"] < 29 for r in rows)


@pytest.mark.slow
def test_a_run_that_is_cut_off_ends_with_the_same_bits(run, tmp_path, monkeypatch):
    monkeypatch.setattr(experiment.assemble, "build", tiny.build)
    config, root = run
    tiny.interrupted(config, tmp_path, (1,))
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_it_is_exported_with_its_module(run, tmp_path, capsys):
    _, root = run
    to = tmp_path / "a.safetensors"
    where = ["--seed=0", "--level=1", f"--to={to}", "--layout=torch"]
    export.main([str(root), *where])
    source = tmp_path / "a_network.py"
    assert capsys.readouterr().out.endswith(f"a.masks.safetensors, {source}\n")
    masks = load_file(tmp_path / "a.masks.safetensors")
    assert masks["block1.attention.query.weight"].shape == (8, 8)
    weights = load_file(to)
    assert all((weights[name][~mask] == 0).all() for name, mask in masks.items())
    assert np.any(weights["tokens.weight"]) and "head.weight" not in weights
    text = source.read_text()
    assert "class GPT" in text and '"a.safetensors"' in text
    subprocess.run([sys.executable, "-m", "py_compile", source], check=True)


@pytest.mark.parametrize(
    "changes, message",
    [
        ({"search.include": ""}, "that have an axis of them.*got block1/down/kernel"),
        ({"search.include": "("}, r"regular expressions, got search.include = '\('"),
        ({"search.include": "nothing"}, "at least one leaf must be prunable"),
        ({"search.method": "early_bird"}, "search.include|search.pattern"),
        ({"objective": "classification"}, "one whole number for each example"),
        ({"model.name": "vit_tiny", "model.options": SMALL}, "needs images"),
        ({"data.stream": True}, "characters"),
    ],
)
def test_what_does_not_go_together_is_refused_before_anything_is_trained(
    changes, message
):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(HEADS | changes))


@pytest.mark.parametrize(
    "changes, prunable",
    [
        ({"search.pattern": "channels"}, 8),  # six of the block, patches, head
        ({"search.include": "(kernel|embedding)$"}, 9),
        ({"search.exclude": ("^patches",), "search.pattern": "2x2"}, 7),
    ],
)
def test_channels_blocks_and_tables_are_pruned_on_demand(changes, prunable):
    *_, ground = check.check(tiny.config(VISION | changes))
    assert len(ground.plan.sizes) == prunable


@pytest.mark.slow
def test_a_transformer_is_not_linear_above_zero_and_synflow_says_so(tmp_path):
    scored = {"search.method": "at_init", "search.score": "synflow"}
    with pytest.raises(ValueError, match="no softmax, LayerNorm, attention"):
        experiment.run(tiny.config(VISION | scored | {"seeds": (0,)}), tmp_path)
    assert not (tmp_path / results.RESULTS).exists()
