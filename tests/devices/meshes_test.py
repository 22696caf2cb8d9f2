"""A population over a mesh is the population: moving it changes nothing."""

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
import tiny
from cases import rest_slow
from jax.sharding import PartitionSpec as P

from lthjax.data import augment
from lthjax.devices import meshes
from lthjax.program.run import experiment
from lthjax.program.run import population as population_lib
from lthjax.training import members, steps
from lthjax.training import zeros as zeros_lib

CONV = {"model.name": "conv2", "model.options": {"hidden": (8,)}, "model.width": 0.1}
CONV |= {"data.crop": 1, "data.flip": True, "search.levels": 1}
NORMED = {"model.name": "resnet20", "model.options": {"blocks": (1,)}}
NORMED |= {"model.width": 0.25, "search.levels": 1, "train.steps": 2, "seeds": (0,)}


@pytest.mark.parametrize(
    "asked, shape",
    [((1, 1), (1, 1)), ((-1, 1), (4, 1)), ((1, -1), (1, 4)), ((-1, 2), (2, 2))],
)
def test_minus_one_is_the_rest_of_the_devices(asked, shape):
    found = meshes.mesh(*asked)
    assert tuple(found.shape.items()) == tuple(
        zip(("ticket", "data"), shape, strict=True)
    )


@pytest.mark.parametrize(
    "asked, text",
    [
        ((8, 1), "not need more than the 4 devices there are, got mesh.ticket = 8"),
        ((-1, -1), "or one of them -1, the rest, got mesh.ticket = -1, mesh.data = -1"),
        ((0, 1), "at least 1 device, .* got mesh.ticket = 0"),
    ],
)
def test_an_impossible_mesh_is_refused(asked, text):
    with pytest.raises(ValueError, match=text):
        meshes.mesh(*asked)


@pytest.mark.parametrize("count", [1, 3, 4, 5])
def test_what_is_spread_and_collected_is_what_it_was(count):
    tree = {
        "weights": jnp.arange(2.0 * count).reshape(count, 2),
        "mask": jnp.arange(count) % 2 == 0,
        "key": jax.random.split(jax.random.key(0), count),
        "none": None,
    }
    placed = meshes.spread(meshes.mesh(-1), tree)
    assert len(placed["weights"].sharding.device_set) == 4
    assert len(placed["mask"]) % 4 == 0
    found = meshes.collected(placed, count)
    assert jax.random.key_data(found["key"]).tolist() == (
        jax.random.key_data(tree["key"]).tolist()
    )
    for name in ("weights", "mask"):
        np.testing.assert_array_equal(found[name], tree[name])


def test_what_happens_to_an_image_does_not_depend_on_where_it_lies():
    images = jnp.arange(8 * 4 * 4, dtype=jnp.uint8).reshape(8, 4, 4, 1)
    options = {"padding": 2, "flip": True}
    whole = augment.augment(jax.random.key(0), images, **options)

    def part(images):
        rows = meshes.share(images, "data")
        return augment.augment(jax.random.key(0), rows, axis_name="data", **options)

    split = jax.shard_map(
        part,
        mesh=meshes.mesh(1, -1),
        in_specs=P(),
        out_specs=P("data"),
        check_vma=False,
    )
    np.testing.assert_array_equal(split(images), whole)


@pytest.fixture(scope="module")
def alone(tmp_path_factory):
    """Returns {name: outcome of the run on one device}."""
    found = {}

    def run(name, changes):
        if name not in found:
            root = tmp_path_factory.mktemp(name)
            experiment.run(tiny.config(changes), root)
            found[name] = tiny.outcome(root)
        return found[name]

    return run


NETWORKS = {
    "mlp": {"seeds": (0, 1, 2), "controls": ("shuffle",)},
    "conv": {**CONV, "seeds": (0, 1, 2)},
}


@pytest.mark.parametrize(
    "name, mesh",
    rest_slow([("mlp", (4, 1)), ("mlp", (2, 2)), ("conv", (2, 2))], ("mlp", (2, 2))),
)
def test_a_run_over_a_mesh_is_the_run_of_one_device(name, mesh, alone, tmp_path):
    changes = NETWORKS[name]
    spread = {"mesh.ticket": mesh[0], "mesh.data": mesh[1]}
    experiment.run(tiny.config(changes | spread), tmp_path)
    records, curves, _ = tiny.outcome(tmp_path)
    expected, lines, _ = alone(name, changes)
    assert records.keys() == expected.keys() and curves.keys() == lines.keys()
    for row in curves:
        for metric in steps.COLUMNS:
            np.testing.assert_allclose(
                curves[row][metric], lines[row][metric], rtol=1e-4, atol=1e-6
            )
    assert [r["kept"] for r in records.values()] == [
        r["kept"] for r in expected.values()
    ]


@pytest.mark.slow
def test_batch_norm_is_of_the_whole_batch_on_every_device(tmp_path):
    outcomes = []
    for data in (1, 4):
        root = tmp_path / str(data)
        experiment.run(tiny.config(NORMED | {"mesh.data": data}), root)
        outcomes.append(tiny.curves(root))
    one, four = outcomes
    for row in one:
        for metric in ("train_loss", "validation_loss"):
            np.testing.assert_allclose(four[row][metric], one[row][metric], rtol=1e-4)


@pytest.mark.slow
def test_a_run_goes_on_over_another_mesh(tmp_path, monkeypatch):
    class Killed(BaseException):
        """What no `except Exception` catches."""

    saved = population_lib.save

    def save(root, population):
        saved(root, population)
        raise Killed

    monkeypatch.setattr(population_lib, "save", save)
    config = tiny.config(NETWORKS["mlp"] | {"mesh.ticket": 4})
    with pytest.raises(Killed):
        experiment.run(config, tmp_path)
    monkeypatch.setattr(population_lib, "save", saved)
    config.mesh.ticket = 1
    found = experiment.run(config, tmp_path)
    assert {row["seed"] for row in found} == {0, 1, 2}
    assert all(row["steps"] == 4 for row in found)


@pytest.mark.parametrize("axis, talks", [("ticket", False), ("data", True)])
def test_members_never_talk_and_parts_of_a_batch_do(axis, talks):
    mesh = meshes.mesh(**{axis: 4})
    shared = None if axis == "ticket" else axis
    tx = zeros_lib.keep(optax.sgd(0.1))

    def objective(params, state, images, labels):
        return jnp.mean((images @ params["w"] - labels) ** 2), state

    step = steps.step(objective, tx, axis_name=shared)

    def member(state, masks, images, labels):
        batch = meshes.share((images, labels), shared)
        return step(state, masks, *batch)

    one = {"w": jnp.ones(3)}
    params = members.stack([one] * 4)
    masks = jax.tree.map(lambda w: w > 0, params)
    zeros = jnp.zeros(4)
    states = steps.State(params, {}, jax.vmap(tx.init)(params), zeros, zeros)
    run = jax.jit(meshes.over(mesh, jax.vmap(member, in_axes=(0, 0, None, None))))
    args = meshes.spread(mesh, (states, masks))
    text = run.lower(*args, jnp.ones((8, 3)), jnp.ones(8)).compile().as_text()
    assert ("all-reduce" in text) == talks


@pytest.mark.parametrize(
    "changes, text",
    [
        ({"mesh.data": 8}, "more than the 4 devices there are"),
        (
            {"mesh.data": 4, "train.batch_size": 10},
            "divide train.batch_size, got mesh.data = 4, train.batch_size = 10",
        ),
        (
            {"mesh.data": 4, "eval_batch": 15},
            "divide eval_batch, got mesh.data = 4, eval_batch = 15",
        ),
    ],
)
def test_a_mesh_that_does_not_fit_is_refused_before_anything_is_written(
    changes, text, tmp_path
):
    with pytest.raises(ValueError, match=text):
        experiment.run(tiny.config(changes), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_devices_left_out_are_said():
    assert meshes.idle(meshes.mesh(-1)) == ""
    assert "; 2 of 4 devices used" in meshes.idle(meshes.mesh(2))


def test_a_batch_that_is_not_divided_evenly_is_refused():
    mesh = meshes.mesh(1, 4)
    with pytest.raises(ValueError, match="evenly by the 4 devices .* got 10 rows"):
        meshes.own_rows(mesh, 10)

    def rows(x):
        return meshes.share(x, meshes.DATA)

    given = {"mesh": mesh, "in_specs": P(), "out_specs": P(meshes.DATA)}
    with pytest.raises(ValueError, match="evenly by the 4 devices .* got 10 rows"):
        jax.shard_map(rows, **given, check_vma=False)(jnp.arange(10))
