"""Targets by name, what is kept of a compiler's report, and two real compilers.

What needs `jax[tpu]` or `jax[cuda13]` is skipped where they are not installed.
"""

import importlib.util

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding, SingleDeviceSharding
from jax.sharding import PartitionSpec as P

from lthjax import packages
from lthjax.devices import backend, compiled_text, meshes, targets

needs_tpu = pytest.mark.skipif(
    importlib.util.find_spec("libtpu") is None, reason="jax[tpu] is not installed"
)


@pytest.mark.parametrize(
    ("name", "count"),
    [("v5e:4x4", 16), ("v5p:2x2x2", 8), ("v6e:2x4", 8), ("v5e", 1)]
    + [("h100", 1), ("h100:8", 8), ("h200", 1), ("a100", 1)],
)
def test_a_name_says_how_many_there_are(name, count):
    assert targets.named(name).count == count


@pytest.mark.parametrize("name", ["v5f:4x4", "v5e:4", "v5p:2x2", "h100:0", "", "cpu"])
def test_an_unknown_target_lists_the_known_ones(name):
    with pytest.raises(ValueError, match=r"v5e:4x4, v5p:2x2x2.* got '" + name):
        targets.named(name)


def test_without_its_compiler_a_target_says_what_brings_it(monkeypatch):
    monkeypatch.setattr(packages, "version", lambda name, absent: absent)
    for name, extra in (("v5e:4x4", "tpu"), ("h100", "cuda13")):
        with pytest.raises(ValueError, match=rf"pip install 'jax\[{extra}\]'"):
            targets.devices(targets.named(name))


def report(arguments=1, **more):
    loop = compiled_text.Loop(128, 5, "gather")
    talk = compiled_text.Collective("all-reduce", 1, 4)
    read = compiled_text.Reading(3_006, (loop,), (talk,), 7, {"fusion": 2})
    given = {"temporaries": 2, "limit": 10, "flops": 4e12, "accessed": 5, "read": read}
    return targets.Report(arguments, **given | more)


def test_a_report_fits_up_to_the_limit_and_if_it_was_compiled():
    assert report(8).fits
    assert not report(9).fits
    assert not report(read=None).fits


def test_a_report_is_kept_by_program_and_target(monkeypatch, tmp_path):
    asked = []

    def compiled(target, lowered):
        asked.append(target.name)
        return report()

    monkeypatch.setattr(targets, "_compiled", compiled)
    shape = (jax.ShapeDtypeStruct((4, 4), jnp.float32),)
    programs = [jax.jit(lambda x: x @ x), jax.jit(lambda x: x @ x + 1)]
    v5e, v5p = targets.named("v5e"), targets.named("v5p")
    given = [(v5e, programs[0]), (v5p, programs[0]), (v5e, programs[1])]
    first = [targets.compile(*x, shape, cache=tmp_path) for x in given]
    again = [targets.compile(*x, shape, cache=tmp_path) for x in given]
    assert again == first == [report(flops=2.0 * 4**3)] * 3
    assert asked == ["v5e", "v5p", "v5e"]
    for path in tmp_path.iterdir():
        path.write_text("{")  # what is damaged is asked for again
    assert targets.compile(*given[0], shape, cache=tmp_path) == first[0]
    assert len(asked) == 4


@pytest.mark.parametrize(
    "said",
    [
        "RESOURCE_EXHAUSTED: Used 20.50G of 15.75G hbm. Exceeded hbm capacity",
        "RESOURCE_EXHAUSTED: E1000: Ran out of memory on HBM, the total memory "
        "required for HLO temporaries (20.50G) exceeds available HBM (15.75G).",
    ],
)
def test_what_does_not_fit_is_read_from_the_refusal(said):
    found = targets._refused(targets.named("v5e"), said, RuntimeError(said))
    assert (found.total, found.limit) == (20.5 * 2**30, 15.75 * 2**30)
    assert not found.fits


def test_a_refusal_for_another_reason_is_passed_on():
    with pytest.raises(ValueError, match="must take the program, got INTERNAL"):
        targets._refused(targets.named("v5e"), "INTERNAL: no", RuntimeError())


def test_seconds_are_cycles_by_the_clock_or_bounds_by_the_peak_rates():
    v5e, h100 = targets.named("v5e"), targets.named("h100")
    assert targets.seconds(v5e, report())[0] == 3_006 / 1.503e9
    read = report().read._replace(cycles=0)
    slow = report(accessed=3350e9 * 2, read=read)
    assert targets.seconds(h100, slow)[0] == 2.0
    fast = report(flops=989e12 * 3, accessed=1, read=read)
    assert targets.seconds(h100, fast)[0] == 3.0


def test_programs_are_made_for_what_is_aimed_at():
    here = jax.devices()
    with backend.aimed("tpu", here[:2]):
        assert (backend.platform(), backend.devices()) == ("tpu", here[:2])
        assert backend.absent()
        assert meshes.mesh(data=-1).size == 2
    assert (backend.platform(), backend.devices()) == ("cpu", here)
    assert not backend.absent()


@needs_tpu
def test_a_compiler_of_a_pod_says_what_a_program_needs():
    target = targets.named("v5e:2x2")
    with targets.aimed(target) as devices:
        mesh = meshes.mesh(data=-1)

    def mean(x):
        return jax.lax.pmean(jnp.tanh(x @ x.T), meshes.DATA)

    mapped = jax.shard_map(
        mean, mesh=mesh, in_specs=P(meshes.DATA), out_specs=P(), check_vma=False
    )
    rows = NamedSharding(mesh, P(meshes.DATA))
    shape = (jax.ShapeDtypeStruct((1024, 256), jnp.float32, sharding=rows),)
    found = targets.compile(target, jax.jit(mapped), shape)
    assert len(devices) == 4
    assert found.fits
    assert found.arguments == 256 * 256 * 4  # a device has a fourth of the rows
    assert found.read.collectives == (("all-reduce", 1, 256 * 256 * 4),)
    assert found.flops == 2 * 256**3
    assert found.read.cycles > found.flops / 197e12 * 1.5e9


@needs_tpu
def test_a_compiler_refuses_what_does_not_fit():
    target = targets.named("v5e")
    sharding = SingleDeviceSharding(targets.devices(target)[0])
    shape = (jax.ShapeDtypeStruct((2**16, 2**16), jnp.float32, sharding=sharding),)
    found = targets.compile(target, jax.jit(lambda x: x @ x), shape)
    assert not found.fits
    assert found.total >= 2 * 2**34  # x and its square, of 16 GiB each


def test_a_report_is_of_the_options_that_a_program_is_compiled_with(
    monkeypatch, tmp_path
):
    asked = []
    monkeypatch.setattr(
        targets, "_compiled", lambda *given: asked.append(given) or report()
    )
    shape = (jax.ShapeDtypeStruct((4, 4), jnp.float32),)
    options = {"xla_gpu_deterministic_ops": True}
    v5e = targets.named("v5e")
    for more in ({}, {"compiler_options": options}) * 2:
        targets.compile(v5e, jax.jit(lambda x: x + 1, **more), shape, cache=tmp_path)
    assert len(asked) == 2
    smaller = v5e._replace(chip=v5e.chip._replace(memory=1))
    targets.compile(smaller, jax.jit(lambda x: x + 1), shape, cache=tmp_path)
    assert len(asked) == 3
