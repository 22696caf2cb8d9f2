"""Plans on devices that are not here, with what their compiler says made up."""

import re

import jax
import pytest
import tiny
from paths import ROOT

from lthjax import sweep
from lthjax.devices import compiled_text, targets
from lthjax.program.config import files
from lthjax.program.run import target_plan, target_step

MIB = 2**20


@pytest.fixture
def compiler(monkeypatch):
    """Returns a list of the shapes that a made-up compiler was asked for.

    Its devices are those of the CPU, a step has 1,503,000 cycles, and 8 KiB an image
    of a member's batch are temporary.
    """
    asked = []

    def compiled(target, program, shapes, cache):
        assert cache.name == "targets"
        asked.append(jax.eval_shape(program, *shapes))
        fed = shapes[1][2].ndim == 1  # which batch is whose, in place of indices
        batch = shapes[2][0].shape[1] if fed else shapes[1][2].shape[1]
        talk = compiled_text.Collective("all-reduce", 2, 4 * MIB)
        read = compiled_text.Reading(1_503_000, (), (talk,), 7, {"fusion": 3})
        return targets.Report(MIB, batch * 8192, target.chip.memory, 0.0, 5e6, read)

    monkeypatch.setattr(targets, "compile", compiled)
    monkeypatch.setattr(targets, "devices", lambda t: jax.devices()[: t.count])
    return asked


def test_a_plan_says_what_a_step_needs_and_what_a_run_takes(compiler, capsys):
    config = tiny.config({"search.levels": 2, "seeds": (0,), "eval_every": 0})
    target_plan.show(config, "v5e")
    text = " ".join(capsys.readouterr().out.split())
    assert "on v5e, 1 device, by its compiler: a step fits" in text
    assert "a step of 1 network: 1.000 ms by XLA's cycles, 1,503,000 cycles" in text
    assert "collectives a step: 2 all-reduce of 4.00 MiB in all" in text
    assert "estimated time on v5e: 0 s" in text
    (state,) = compiler  # a step takes a state, and returns one
    assert state.params["head"]["kernel"].shape == (1, 8, 10)


def test_all_levels_and_their_validations_are_counted(compiler):
    config = tiny.config({"search.levels": 2, "seeds": (0,), "eval_every": 2})
    found = target_plan.plan(config, targets.named("v5e"))
    batch, steps = config.train.batch_size, found.plan.steps
    # A millisecond a step; images held out, twice a training, for a third of that.
    held_out = 32
    one = 1e-3 * (steps + 2 * held_out / 3 / batch)
    assert [row[:3] for row in found.rows] == [("ticket", n, steps) for n in range(3)]
    assert found.total == pytest.approx(3 * one, rel=1e-3)


def test_rounds_of_a_search_are_planned_with_all_that_they_train(compiler):
    changes = {"search.method": "continuous", "search.levels": 1, "seeds": (0,)}
    found = target_plan.plan(tiny.config(changes), targets.named("v5e"))
    assert len(compiler) == 2
    assert [row[:2] for row in found.rows] == [
        ("ticket", 0),
        ("search", 1),
        ("ticket", 1),
    ]
    sizes = [sum(x.size for x in jax.tree.leaves(state)) for state in compiler]
    assert sizes[1] > 1.5 * sizes[0]


def test_more_than_one_device_is_used_and_said(compiler, capsys):
    config = tiny.config({"seeds": (0,), "eval_batch": 10})
    target_plan.show(config, "h100:4")
    text = " ".join(capsys.readouterr().out.split())
    assert "planned with --config.mesh.data=-1 --config.eval_batch=12" in text
    assert "kernels a step: 3 (3 fusion)" in text


def test_members_are_spread_over_the_mesh_that_is_asked_for(compiler):
    config = tiny.config({"seeds": (0, 1, 2), "mesh.ticket": 4})
    target = targets.named("h100:4")
    assert target_plan.spread(config, target) == (config, [])
    found = target_plan.plan(config, target)
    assert found.step.members == 4  # three, padded
    assert found.step.images == 4 * config.train.batch_size


def test_what_does_not_fit_is_refused_with_the_first_remedy_that_fits(
    compiler, monkeypatch
):
    full = targets.CHIPS["v5e"]._replace(memory=MIB + 11 * 8192)
    monkeypatch.setitem(targets.CHIPS, "v5e", full)
    config = tiny.config({"seeds": (0,)})
    assert config.train.batch_size == 12
    with pytest.raises(ValueError, match="--config.train.batch_size=6 fits"):
        target_plan.show(config, "v5e")
    first = list(target_plan._ways(config, targets.named("v5e")))[:1]
    monkeypatch.setattr(target_plan, "_ways", lambda config, target: first)
    monkeypatch.setitem(targets.CHIPS, "v5e", full._replace(memory=MIB // 2))
    with pytest.raises(ValueError, match="no smaller batch, .* alone would fit"):
        target_plan.show(config, "v5e")


def test_the_ways_to_need_less_come_in_this_order():
    config = files.named(f"{ROOT}/configs/digits.py")
    ways = [text for text, _ in target_plan._ways(config, targets.named("v5e:4x4"))]
    names = [re.match(r"--config\.([a-z._]+)=", text)[1] for text in ways]
    assert names == [*["train.batch_size"] * 3, "mesh.ticket", "model.remat"] + [
        "model.dtype"
    ]
    assert config == files.named(f"{ROOT}/configs/digits.py")


def test_a_loop_over_members_is_told_from_one_inside_their_step():
    def said(*loop):
        step = target_step.Step(None, (), 6, 12, 0, 0)
        return target_plan._of_loop(compiled_text.Loop(*loop), step)

    assert said(3, 50, "jit(f)/while") == (
        "its networks go one after the other, 3 on a device, 50 cycles each"
    )
    for loop in ((4, 0, "jit(f)/while"), (3, 0, "jit(f)/while/body/gather")):
        assert said(*loop).startswith(f"a serial loop inside the step: {loop[0]} turns")
    assert "as many as the data decide" in said(None, 0, "jit(f)/while")


def test_a_sweep_sums_over_its_runs(compiler, capsys, monkeypatch, tmp_path):
    monkeypatch.setattr(sweep, "_config", lambda name, settings: tiny.config({}))
    monkeypatch.setattr("lthjax.program.command_line.prepare", lambda: None)
    given = ["--config=c", f"--workdir={tmp_path / 'w'}", "--dry_run", "--on=v5e"]
    sweep.main([*given, "--grid", "optimizer.learning_rate=0.1,0.2"])
    text = " ".join(capsys.readouterr().out.split())
    assert "2 runs, one after the other on v5e: 0 s" in text
    assert not (tmp_path / "w").exists()
    with pytest.raises(SystemExit, match="go together"):
        sweep.main(given[:-1])


def test_a_streamed_set_says_what_the_hosts_must_bring(compiler, capsys, tmp_path):
    changes = {"data.name": "cifar10", "data.options": {}, "data_dir": str(tmp_path)}
    changes |= {"data.stream": True, "data.validation": 5000, "seeds": (0, 3)}
    target_plan.show(tiny.config(changes), "v5e")
    text = " ".join(capsys.readouterr().out.split())
    # 12 images a millisecond for each of two orders.
    assert "the hosts must bring 24,000 images a second" in text
