"""A network of one's own goes into federated rounds, or is refused before them."""

import jax.numpy as jnp
import pytest
from flax import linen as nn
from ml_collections import ConfigDict

from lthjax import registry
from lthjax.program.federated import assembly, experiment, settings


class Net(nn.Module):
    """A user's own network, of so many outputs."""

    size: int = 10
    after: str = ""

    @nn.compact
    def __call__(self, images):
        return AFTER[self.after](self, nn.Dense(self.size)(images.reshape(-1, 64)))


AFTER = {
    "": lambda self, x: x,
    "softmax": lambda self, x: nn.softmax(x),
    "pair": lambda self, x: (x, x),
    "whole": lambda self, x: x + self.param("shift", lambda key: jnp.arange(10)[None]),
    "branching": lambda self, x: x if x.sum() > 0 else -x,
}


def config(**options):
    found = settings.shrunk(settings.default("cell"))
    found.data.options.like = "digits"
    found.model.update(name=f"{__name__}:Net", options=ConfigDict(options))
    return found


@pytest.mark.parametrize(
    "options, words",
    [
        ({"after": "softmax"}, "must return logits, .* leave out what comes after"),
        ({"size": 13}, r"one floating logit for each class, .* \[8, 13\] for 8"),
        ({"size": 3}, r"one floating logit for each class, .* \[8, 3\] for 8"),
        ({"after": "pair"}, "tuple of 2 arrays .*; let it return one array alone$"),
        ({"after": "whole"}, "every parameter must be floating, .* shift"),
        ({"after": "branching"}, "must run on .* raised TracerBoolConversionError"),
    ],
)
def test_a_network_that_cannot_be_trained_is_refused(tmp_path, options, words):
    with pytest.raises(ValueError, match=words):
        experiment.run(config(**options), tmp_path / "new")
    assert not (tmp_path / "new").exists()


def test_one_that_returns_logits_is_taken():
    parts = assembly.assemble(config())
    assert parts.full["Dense_0"]["kernel"].shape == (64, 10)


def test_data_that_are_not_there_are_told_by_the_key_of_their_folder(tmp_path):
    config = settings.default()
    config.data.dir = str(tmp_path)
    with pytest.raises(ValueError, match="got data.dir = (.|\n)*data_dir=") as raised:
        assembly.load(config)
    assert registry.is_ours(raised.value)
