"""The source of a PyTorch module that an exported transformer loads into."""

import functools
import pathlib
from typing import Any

import jinja2
from flax import linen as nn

from lthjax.models import transformer
from lthjax.models.transformer import GPT, ViT

TEMPLATE = "torch_source.py.j2"
KINDS: dict[type, str] = {ViT: "ViT", GPT: "GPT"}


def source(model: nn.Module, params: Any, weights: str) -> str | None:
    """Returns a Python file with a function `network`, of nothing but PyTorch.

    Its module takes what `pytorch.state_dict` gives by `load_state_dict(strict=True)`,
    and then computes what the network does, of images [batch, channels, height, width]
    or of tokens [batch, length].

    Args:
      model: The network.
      params: Its parameters, or their shapes.
      weights: What the file of the weights is called.

    Returns:
      The text; `None` of a network that is no transformer of `lthjax.models`.

    Raises:
      ValueError: Its activation is another one than `transformer.gelu`.
    """
    kind = KINDS.get(type(model))
    if kind is None:
        return None
    if model.activation is not transformer.gelu:
        raise ValueError(
            "a transformer in PyTorch's source must have its own activation, got "
            f"activation = {model.activation!r}; leave model.options.activation out"
        )
    given = {
        "kind": kind,
        "weights": weights,
        "classes": model.num_classes,
        "features": model.scaled(),
        "depth": model.depth,
        "heads": model.heads,
        "ratio": model.ratio,
        "places": params["positions"]["embedding"].shape[0],
        "tied": getattr(model, "tied", False),
        "token": getattr(model, "pool", "") == "token",
        "patch": getattr(model, "patch", 0),
    }
    if kind == "ViT":
        given["channels"] = params["patches"]["kernel"].shape[2]
    return _template().render(given)


@functools.cache
def _template():
    text = pathlib.Path(__file__).with_name(TEMPLATE).read_text(encoding="utf-8")
    own = {"undefined": jinja2.StrictUndefined, "keep_trailing_newline": True}
    return jinja2.Environment(autoescape=False, **own).from_string(text)
