"""A network that would train the wrong thing is refused before anything is trained."""

import jax.numpy as jnp
import numpy as np
import pytest
from flax import linen as nn

from lthjax import models, registry
from lthjax.data import facts
from lthjax.models import checks

FACTS = facts.shaped(image_shape=(2, 2, 1), num_classes=3)


class Net(nn.Module):
    """Numbers made of a head of so many."""

    size: int = 3
    after: str = ""

    @nn.compact
    def __call__(self, images, train=False):
        x = nn.Dense(self.size)(images.reshape(images.shape[0], -1))
        return AFTER[self.after](self, x, train)


def integers(self, x, train):
    table = self.param("table", lambda key: jnp.arange(3))
    return x + table.reshape(1, 3)


def branching(self, x, train):
    return x if x.sum() > 0 else -x


def growing(self, x, train):
    calls = self.variable("count", "calls", lambda: jnp.zeros(()))
    if train and not self.is_initializing():
        calls.value = jnp.zeros(2)
    return x


def paired(self, x, moves):
    start = lambda: (jnp.zeros(3), [jnp.ones(3)])  # noqa: E731
    moments = self.variable("batch_stats", "moments", start)
    if moves and not self.is_initializing():
        moments.value = (x.mean(0), [x.var(0)])
    return x - moments.value[0][None]


def normed(self, x, still):
    return nn.BatchNorm(use_running_average=still)(x)


AFTER = {
    "": lambda self, x, train: x,
    "pair": lambda self, x, train: (x, x),
    "dict": lambda self, x, train: {"logits": x},
    "whole": lambda self, x, train: x.astype(int),
    "row": lambda self, x, train: x[0],
    "numpy": lambda self, x, train: np.asarray(x),
    "integers": integers,
    "branching": branching,
    "batched": lambda self, x, train: nn.Dense(3)(x.reshape(x.size // 3, 3).T).T,
    "growing": growing,
    "softmax": lambda self, x, train: nn.softmax(x),
    "tested softmax": lambda self, x, train: x if train else nn.softmax(x),
    "sigmoid": lambda self, x, train: nn.sigmoid(x),
    "log": lambda self, x, train: nn.log_softmax(x),
    "still norm": lambda self, x, train: normed(self, x, True),
    "norm": lambda self, x, train: normed(self, x, not train),
    "pair of moments": lambda self, x, train: paired(self, x, train),
    "still pair": lambda self, x, train: paired(self, x, False),
    "moving norm": lambda self, x, train: normed(self, x, False),
    "still dropout": lambda self, x, train: nn.Dropout(0.5)(x, deterministic=True),
    "dropout": lambda self, x, train: nn.Dropout(0.5)(x, deterministic=not train),
    "wet dropout": lambda self, x, train: nn.Dropout(0.5)(x, deterministic=False),
    "no dropout": lambda self, x, train: nn.Dropout(0.0)(x, deterministic=True),
}


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("pair", r"\[batch, 3\], got model = 'my:Net', which returns tuple of 2 arr"),
        ("pair", "one array alone, or give an objective of your own .*: objective='"),
        ("dict", "returns dict of 1 arrays"),
        ("whole", r"returns int32 \[8, 3\]"),
        ("row", r"returns float32 \[3\]"),
        ("integers", "must be floating.*got table = int32 in model = 'my:Net'"),
        ("branching", "'my:Net', which raised TracerBoolConversionError: Attempted"),
        ("numpy", "which raised TracerArrayConversionError"),
        ("batched", "'my:Net', which raised ScopeParamShapeError"),
        ("growing", r"'calls': 'float32 \[\]'.* into .*'calls': 'float32 \[2\]'"),
        ("moving norm", "neither draw nor move its statistics in evaluation"),
        ("wet dropout", "neither draw nor move its statistics in evaluation"),
        ("still dropout", "dropout must draw in training, .* whose Dropout_0 never"),
    ],
)
def test_a_network_is_refused_by_its_shapes_alone(after, message):
    with pytest.raises(ValueError, match=message):
        checks.shapes(Net(after=after), "my:Net", FACTS)


def test_a_wrong_number_of_logits_is_named_before_training():
    with pytest.raises(ValueError, match=r"\[batch, 3\].*returns float32 \[8, 4\]"):
        checks.shapes(Net(4), "my:Net", FACTS)
    for fine in ("", "norm", "dropout", "no dropout", "still norm", "softmax"):
        checks.shapes(Net(after=fine), "my:Net", FACTS)


def test_what_a_network_raises_keeps_its_own_lines():
    with pytest.raises(ValueError) as caught:
        checks.shapes(Net(after="branching"), "my:Net", FACTS)
    text = registry.own_traceback(caught.value.__cause__)
    assert "in branching" in text and "x.sum() > 0" in text
    assert "site-packages" not in text and "checking.py" not in text


def valued(after, **options):
    net = Net(after=after)

    def init_fn(key):
        return models.initialise(net, key, jnp.zeros((1, *FACTS.image_shape)))

    checks.values(net, "my:Net", FACTS, init_fn, **options)


@pytest.mark.parametrize(
    ("after", "message"),
    [
        ("softmax", "must return logits.* between 0 and 1 that sum to 1, as of a soft"),
        ("tested softmax", "that sum to 1"),
        ("sigmoid", "between 0 and 1 only"),
        ("still norm", "whose batch_stats/BatchNorm_0 stay .*frozen_statistics = True"),
        ("still pair", "whose batch_stats/moments"),
    ],
)
def test_a_network_is_refused_by_what_it_computes(after, message):
    with pytest.raises(ValueError, match=message):
        valued(after)


@pytest.mark.parametrize("after", ["", "log", "norm", "pair of moments", "dropout"])
def test_logits_and_moving_statistics_are_taken(after):
    valued(after)


def test_statistics_may_be_frozen_on_purpose():
    valued("still norm", frozen=True)


def test_ours_are_not_looked_at():
    ours = models.build("mlp", 5)
    checks.shapes(ours, "mlp", FACTS)
    checks.values(ours, "mlp", FACTS, None)


def test_a_factory_that_needs_a_mode_gets_that_of_inference():
    def net(num_classes, deterministic, train: bool = False):
        assert (deterministic, train) == (True, False)
        return Net(num_classes)

    globals()["net"] = net
    assert models.build(f"{__name__}:net", 4) == Net(4)
    with pytest.raises(ValueError, match="told whether it trains by the program"):
        models.build(f"{__name__}:net", 4, options={"deterministic": False})
