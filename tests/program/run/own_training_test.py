"""Class weights, a batch in parts, an average, an early stop: in a run, and resumed."""

import jax
import numpy as np
import pytest
import tiny
from flax import linen as nn
from trees import assert_same

from lthjax.program.build import own_training, plan
from lthjax.program.build import source as source_lib
from lthjax.program.build.parts import key
from lthjax.program.run import check, experiment
from lthjax.program.workdir import layout, results
from lthjax.saving.tickets import load_trained


class Dropping(nn.Module):
    """A user's own network, with dropout and batch norm."""

    num_classes: int
    axis_name: str | None = None

    @nn.compact
    def __call__(self, images, train=False):
        """Returns the logits."""
        x = nn.Dense(8)(images.reshape(len(images), -1))
        norm = nn.BatchNorm(use_running_average=not train, axis_name=self.axis_name)
        x = nn.relu(norm(x))
        x = nn.Dropout(0.25, deterministic=not train)(x)
        return nn.Dense(self.num_classes)(x)


# Everything at once, the dense training in two parts; every seed stops by itself.
ALL = {
    "model.name": f"{__name__}:Dropping",
    "model.options": {},
    "search.rewind_to": 2,
    "search.levels": 1,
    "train.steps": 12,
    "eval_every": 2,
    "controls": ("reinit",),
    "train.accumulate": 2,
    "train.class_weights": tuple(1 + 0.1 * i for i in range(10)),
    "train.ema": 0.5,
    "train.stop": {"by": "loss", "patience": 1, "delta": 0.05},
    "studies": ("signs",),
}
NEITHER = {"train.ema": 0.0, "train.stop": {"by": "", "patience": 5, "delta": 0.0}}


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    return tiny.uninterrupted(tmp_path_factory, ALL)


def test_a_run_that_is_interrupted_goes_on_with_the_same_bits(
    whole, tmp_path, monkeypatch
):
    config, root = whole
    monkeypatch.setattr(experiment.assemble, "build", tiny.build)
    tiny.interrupted(config, tmp_path)
    assert tiny.outcome(tmp_path) == tiny.outcome(root)


def test_what_draws_goes_on_over_as_many_devices_a_batch_as_it_began_with(whole):
    config, root = whole
    before = tiny.contents(root)
    config = tiny.changed(config, {"mesh.data": 2, "search.levels": 2})
    with pytest.raises(ValueError, match=r"draws of a batch over .* \(1, now 2\)"):
        experiment.run(config, root)
    assert tiny.contents(root) == before


def test_curves_end_where_members_stop_and_records_say_so(whole):
    _, root = whole
    rows, ends = results.read(root / results.RESULTS), set()
    for curve in results.read(root / results.CURVES):
        assert len(curve["step"]) == len(curve["validation_loss"])
        losses, at = curve["validation_loss"], curve["step"]
        if curve["start"] == 2 and at[-1] < 12:
            assert losses[-1] > min(losses[:-1]) - 0.05
        ends.add(at[-1])
    assert ends & {6, 8, 10} and len(rows) == 2 * 3
    for row in rows:
        assert row["steps"] <= 12 - 2 * (row["level"] > 0)


def test_what_is_measured_and_kept_is_the_average(whole):
    config, root = whole
    _, _, ground = check.check(config)
    (row,) = (r for r in results.read(root / results.RESULTS) if _is(r, 1, "ticket"))
    found = load_trained(layout.trained_path(root, "ticket", 0, 1))
    kept = [m for m in jax.tree.leaves(found.masks)]
    assert sum(int(m.sum()) for m in kept) == row["kept"]
    for name in ("Dense_0", "Dense_1"):
        off = ~np.asarray(found.masks[name]["kernel"])
        assert (np.asarray(found.params[name]["kernel"])[off] == 0.0).all()
    images, labels = source_lib.load(config).test
    source = source_lib.load(config)
    x = (images / 255.0 - np.array(source.mean)) / np.array(source.std)
    logits, _ = ground.apply_fn(found.params, found.model_state, x, False)
    share = float((np.argmax(logits, 1) == labels).mean())
    assert row["test_accuracy"] == pytest.approx(share, abs=1e-6)


def test_a_ticket_and_its_control_draw_by_the_step_part_by_part(whole):
    config, root = whole
    parts = tiny.build(config, source_lib.load(config))
    ticket = layout.load_ticket(root, 0, 1)
    kept = ticket.model_state["draws"]
    assert ticket.step == 2 and kept["step"] == 4  # two parts a batch
    control = parts.control("reinit", key(0, "reinit"), ticket)
    late = ticket._replace(model_state=_passed(ticket.model_state, 24))
    for begun in (ticket, control, late):
        found = parts.begin(begun).model_state["draws"]
        assert_same(found, kept)


def _passed(state, count):
    return {**state, "draws": {**state["draws"], "step": np.int32(count)}}


def _is(row, level, arm):
    return (row["level"], row["arm"], row["seed"]) == (level, arm, 0)


@pytest.mark.slow
def test_an_average_changes_no_ticket_and_what_is_measured(tmp_path_factory):
    base = {**ALL, **NEITHER, "controls": (), "studies": (), "train.steps": 4}
    tickets, curves = [], []
    for decay in (0.0, 0.9):
        asked = {**base, "train.ema": decay}
        _, root = tiny.uninterrupted(tmp_path_factory, asked)
        tickets.append(tiny.saved_tickets(root))
        curves.append(tiny.curves(root))
    assert tickets[0] == tickets[1]
    assert curves[0] != curves[1]


def test_balanced_weights_are_of_the_training_split():
    changes = {"train.class_weights": ("balanced",)}
    config = tiny.config({**changes, "data.options": {"train": 200, "test": 16}})
    source = source_lib.load(config)
    goal = own_training.goal(plan.of(config, source))
    labels = source.train.labels
    logits = np.zeros((len(labels), 10), np.float32)
    # Of equal logits every loss is log 10, and the weights have the mean 1.
    losses = np.asarray(goal.loss(logits, labels))
    assert losses.mean() == pytest.approx(np.log(10), rel=1e-5)
    sums = [losses[labels == c].sum() for c in range(10)]
    np.testing.assert_allclose(sums, sums[0], rtol=1e-5)


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"train.class_weights": (1.0, 2.0)},
            "10 numbers, one a class, .* which are 2",
        ),
        (
            {"train.class_weights": ("even",)},
            r"class_weights must be of type tuple of numbers, or \('balanced',\), got",
        ),
        ({"train.class_weights": (0.0,) * 10}, "every number of train.class_weights"),
        ({"train.accumulate": 5}, "must divide the ex.*accumulate = 5 for 12"),
        ({"train.ema": 1.0}, r"train.ema must be in \[0, 1\)"),
        ({"train.ema": 0.9, "search.method": "continuous"}, "which trains rounds"),
        ({"train.stop.by": "accurac"}, "must be one of .*did you mean 'accuracy'"),
        ({"train.stop.patience": 2}, "train.stop.by must name what an early stop"),
        ({"train.stop.patience": 0}, "train.stop.patience must be in"),
        (
            {"train.stop.by": "loss", "search.method": "rigl", "dynamic.every": 1},
            "whose tickets keep their masks",
        ),
        (
            {"train.stop.by": "loss", "retraining.arms": ("smoothing", "neurons")},
            r"before its ghosts are gone, .* retraining.arms = \('neurons',\)",
        ),
    ],
)
def test_what_does_not_go_together_is_refused(changes, message):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))


def test_an_early_stop_goes_with_ghosts_that_stay():
    network = {"model.name": "resnet8", "model.width": 0.25, "model.options": {}}
    arms = {"retraining.arms": ("tost_code",), "train.stop.by": "loss"}
    check.check(tiny.config(network | arms))


@pytest.mark.slow
def test_a_streamed_run_stops_and_averages_alike(whole, tmp_path_factory):
    _, root = whole
    _, other = tiny.uninterrupted(tmp_path_factory, {**ALL, "data.stream": True})
    own, found = tiny.records(root), tiny.records(other)
    assert {k: r["steps"] for k, r in own.items()} == {
        k: r["steps"] for k, r in found.items()
    }
    for name, row in own.items():
        assert row["kept"] == found[name]["kept"]
        assert row["test_loss"] == pytest.approx(found[name]["test_loss"], rel=1e-4)


@pytest.mark.slow
@pytest.mark.parametrize("method", ["rigl", "straight_through"])
def test_an_average_has_the_zeros_of_masks_that_moved(method, tmp_path):
    moving = {"search.method": method, "dynamic.every": 1, "studies": ("signs",)}
    moving |= {"search.scope": "erdos_renyi"} if method == "rigl" else {}
    asked = {**moving, "train.ema": 0.5, "train.steps": 8}
    config = tiny.config({**asked, "seeds": (0,), "search.levels": 1})
    experiment.run(config, tmp_path)
    found = load_trained(layout.trained_path(tmp_path, "ticket", 0, 1))
    for name in ("dense1", "head"):
        off = ~np.asarray(found.masks[name]["kernel"])
        weights = np.asarray(found.params[name]["kernel"])
        assert (weights[off] == 0.0).all() and weights[~off].any()
        assert off.any() or name == "head"  # Erdos-Renyi leaves that dense
