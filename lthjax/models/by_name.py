"""A name and options from a config become a network."""

import inspect
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import jax.numpy as jnp
from flax import linen as nn

from lthjax import registry, values
from lthjax.models import functions
from lthjax.models.mlp import MLP, ConvNet, LeNet5, TutorialLeNet
from lthjax.models.mobilenet import MobileNetV1, MobileNetV2
from lthjax.models.recognition import HEADS, Recogniser, check_stride, trunk
from lthjax.models.resnet import ResNet
from lthjax.models.transformer import GPT, ViT
from lthjax.models.vgg import VGG

STAGES = ("blocks", "depths")  # the numbers of them, a stage each
DEEPEST = 1000
DTYPES = ("float32", "bfloat16")


def build(
    name: str,
    num_classes: int,
    *,
    width: float = 1.0,
    dtype: str = "float32",
    axis_name: Any = None,
    remat: bool = False,
    options: Mapping[str, Any] | None = None,
) -> nn.Module:
    """Returns the network `name`, one of `MODELS` or a user's own.

    Args:
      name: A name in `MODELS`, or "package.module:Net" for a flax module class (or a
        function that returns a module) of the user's. That is handed those of the
        arguments `num_classes`, `width`, `dtype`, `axis_name`, `remat` that it takes.
      num_classes: Number of logits.
      width: Multiplies the channels of every hidden layer.
      dtype: What is computed in, "float32" or "bfloat16"; parameters are float32.
      axis_name: Mesh axis over which batch norm averages its statistics, or None.
      remat: Whether to compute most of the forward pass again for the derivative.
      options: Further keyword arguments of the network, all of which it must take;
        lists become tuples.

    Raises:
      ValueError: The name, an option or the dtype is unknown (with the choices), the
        width is not positive, what the name leads to is no module, or a user's network
        takes no `width`, `dtype`, `axis_name` or `remat` and one was asked for.
    """
    factory = registry.resolve(name, MODELS, "model")
    if dtype not in DTYPES:
        raise ValueError(f"dtype must be one of {', '.join(DTYPES)}, got {dtype = }")
    if not width > 0:
        raise ValueError(f"width must be positive, got {width = }")
    standard = dict(num_classes=num_classes, width=width, axis_name=axis_name)
    standard |= {"dtype": jnp.dtype(dtype), "remat": remat}
    options = {k: _tuples(v) for k, v in dict(options or {}).items()}
    accepted = _accepted(name, factory, options)
    _check_options(name, accepted - set(standard), options)
    if name in MODELS:
        _check_values(name, inspect.signature(factory).parameters, options)
    asked = {"width": (width, 1.0), "dtype": (dtype, "float32")}
    asked |= {"axis_name": (axis_name, None), "remat": (remat, False)}
    _check_given(name, accepted, **asked)
    given = {k: v for k, v in standard.items() if k in accepted}
    if name in MODELS:
        return factory(**given, **options)
    given |= _told(name, factory, options)
    with registry.calling("model", name):
        model = factory(**given, **options)
    if not isinstance(model, nn.Module):
        raise ValueError(f"a model must be a flax linen module, got {name} = {model!r}")
    return model


def recogniser(
    heads: str,
    *,
    num_classes: int,
    width: float = 1.0,
    dtype: Any = jnp.float32,
    axis_name: Any = None,
    remat: bool = False,
    backbone: str = "resnet20",
    features: int = 64,
    stride: int = 4,
    points: int = 5,
) -> Recogniser:
    """Returns a network that finds or labels objects, on a backbone in `MODELS`.

    Args:
      heads: "detector", "keypoints" or "segmenter".
      num_classes: As for `build`; so are `width`, of the backbone, and those after it.
      width: The same.
      dtype: The same.
      axis_name: The same.
      remat: The same.
      backbone: A residual network or a VGG in `MODELS`.
      features: Channels of the neck, and of each head.
      stride: Pixels of the image that are one of the maps, a side.
      points: Of an object, for "keypoints"; else not used.

    Raises:
      ValueError: The backbone is none of these, or does not lead to that stride.
    """
    registry.resolve(heads, HEADS, "heads")
    shared = {"dtype": dtype, "axis_name": axis_name, "remat": remat}
    known = [name for name in MODELS if name.startswith(("resnet", "vgg"))]
    if backbone not in known:
        raise ValueError(
            f"backbone must be one of {', '.join(known)}, got backbone = {backbone!r}"
            f"{registry.suggestion(backbone, known)}"
        )
    found = MODELS[backbone](num_classes=1, width=width, **shared)
    check_stride(found.stride(), stride)
    sizes = {"features": features, "stride": stride, "points": points}
    return Recogniser(heads, trunk(found), num_classes, **sizes, **shared)


def _accepted(name: str, factory: Callable, options: Mapping[str, Any]) -> set[str]:
    """Returns the keyword arguments of a factory, and all `options` if it takes any."""
    if isinstance(factory, nn.Module) or not callable(factory):
        raise ValueError(
            "a model's name must lead to a flax module class or to a function that "
            f"returns a module, got {name} = {factory!r}"
        )
    parameters = inspect.signature(factory).parameters.values()
    named = {p.name for p in parameters if p.kind is not p.VAR_KEYWORD}
    anything = set(options) if len(named) < len(parameters) else set()
    return (named | anything) - {"parent", "name"}


def _told(name, factory, options):
    """Returns the mode of a factory that must have one: inference, until it trains."""
    parameters = inspect.signature(factory).parameters
    own = functions.modes(parameters)
    if set(own) & set(options):
        raise ValueError(
            "a network is told whether it trains by the program, got model.options = "
            f"{dict(options)} of model {name!r}; leave {', '.join(own)} out"
        )
    must = [n for n in own if parameters[n].default is inspect.Parameter.empty]
    return {name: not functions.MODES[name] for name in must}


def _check_options(name: str, choices: set[str], options: Mapping[str, Any]) -> None:
    """Raises unless every option is one of the `choices`."""
    for option in options:
        if option not in choices:
            raise ValueError(
                f"the options of model {name!r} must be among "
                f"{', '.join(sorted(choices)) or 'none at all'}, got option = "
                f"{option!r}{registry.suggestion(option, choices)}; model.options = "
                "{} leaves out those of a config that is of another network"
            )


def _check_values(name: str, parameters: Mapping, options: Mapping[str, Any]) -> None:
    """Raises unless options of ours are of the types of their defaults, and in range.

    Of each stage, blocks or convolutions, there must be channels. With fewer stages
    than by default the first default channels are theirs; channels that are given are
    as many as stages, or as the stem of a network without one.
    """
    given = {key: p.default for key, p in parameters.items()} | dict(options)
    for option, value in options.items():
        example = parameters[option].default
        if not _right(value, example):
            raise ValueError(
                f"the options of model {name!r} must be like their defaults, {option} "
                f"like {_shown(example)}, got {option} = {value!r}"
            )
        most = DEEPEST if option in STAGES else 2**20
        sizes = value if isinstance(value, tuple) else ()
        if any(not 1 <= size <= most for size in sizes):
            raise ValueError(
                f"every number of {option} must be from 1 to {most:,}, got {option} = "
                f"{value!r}"
            )
    for stages in STAGES:
        channels = len(given.get("channels", ()))
        least = 0 if stages == "blocks" else 1  # a residual network may end at its stem
        fits = stages not in given or least <= len(given[stages]) <= channels
        if fits and stages in given and "channels" in options:
            fits = channels == max(len(given[stages]), 1)
        if not fits or (stages in given and not channels):
            raise ValueError(
                f"model {name!r} must have a stage at least, and channels for each, "
                f"got {stages} = {given[stages]}, channels = {given['channels']}"
            )


def _shown(example):
    return "a function of arrays" if callable(example) else repr(example)


def _right(value, example):
    """Says whether an option is like its default: a function like any other one."""
    if example is None or callable(example):
        return callable(value) or value is example
    if isinstance(example, tuple):
        return values.like(value, example[:1])
    return values.like(value, example)


def _check_given(name: str, accepted: set[str], **asked) -> None:
    """Raises if a model is asked for more than a default of what it does not take."""
    for key, (value, default) in asked.items():
        if key not in accepted and value != default:
            raise ValueError(
                f"model {name!r} takes no {key}, which must therefore be {default!r}: "
                f"leave it out or give the module that attribute, got {key} = {value!r}"
            )


def _tuples(value):
    """Returns `value` with lists in it made tuples, which modules need."""
    if isinstance(value, list | tuple):
        return tuple(_tuples(v) for v in value)
    return value


_CIFAR = partial(ResNet, channels=(16, 32, 64))
_WIDE = partial(ResNet, channels=(64, 128, 256, 512))

MODELS = {
    "mlp": MLP,
    "lenet_300_100": partial(MLP, hidden=(300, 100)),
    "lenet5": LeNet5,
    "lenet_tutorial": TutorialLeNet,
    "conv2": partial(ConvNet, channels=(64,)),
    "conv4": partial(ConvNet, channels=(64, 128)),
    "conv6": partial(ConvNet, channels=(64, 128, 256)),
    "vgg11": partial(VGG, depths=(1, 1, 2, 2, 2)),
    "vgg13": partial(VGG, depths=(2, 2, 2, 2, 2)),
    "vgg16": partial(VGG, depths=(2, 2, 3, 3, 3)),
    "vgg19": partial(VGG, depths=(2, 2, 4, 4, 4)),
    "resnet8": partial(_CIFAR, blocks=(1, 1, 1)),
    "resnet14": partial(_CIFAR, blocks=(2, 2, 2)),
    "resnet20": partial(_CIFAR, blocks=(3, 3, 3)),
    "resnet32": partial(_CIFAR, blocks=(5, 5, 5)),
    "resnet44": partial(_CIFAR, blocks=(7, 7, 7)),
    "resnet56": partial(_CIFAR, blocks=(9, 9, 9)),
    "resnet110": partial(_CIFAR, blocks=(18, 18, 18)),
    "resnet18": partial(_WIDE, blocks=(2, 2, 2, 2)),
    "resnet26": partial(_WIDE, blocks=(2, 3, 4, 3)),
    "resnet34": partial(_WIDE, blocks=(3, 4, 6, 3)),
    "resnet50": partial(_WIDE, blocks=(3, 4, 6, 3), bottleneck=True),
    "resnet18_imagenet": partial(_WIDE, blocks=(2, 2, 2, 2), variant="imagenet"),
    "resnet26_imagenet": partial(_WIDE, blocks=(2, 3, 4, 3), variant="imagenet"),
    "resnet34_imagenet": partial(_WIDE, blocks=(3, 4, 6, 3), variant="imagenet"),
    "resnet50_imagenet": partial(
        _WIDE, blocks=(3, 4, 6, 3), bottleneck=True, variant="imagenet"
    ),
    "mobilenet_v1": MobileNetV1,
    "mobilenet_v2": MobileNetV2,
    "mobilenet_v1_imagenet": partial(MobileNetV1, variant="imagenet"),
    "mobilenet_v2_imagenet": partial(MobileNetV2, variant="imagenet"),
    "vit_tiny": ViT,
    "gpt_tiny": GPT,
    "detector": partial(recogniser, "detector"),
    "keypoints": partial(recogniser, "keypoints"),
    "segmenter": partial(recogniser, "segmenter"),
}
