import functools
import math

import jax
import jax.numpy as jnp
import pytest
from cases import rest_slow
from flax import linen as nn

from lthjax import models
from lthjax.models import by_name

SHAPES = {"mlp": (28, 28, 1), "lenet_300_100": (28, 28, 1), "lenet5": (28, 28, 1)}


class Plain(nn.Module):
    num_classes: int
    features: tuple[int, ...] = (4,)

    @nn.compact
    def __call__(self, images):
        x = images.reshape(images.shape[0], -1)
        for features in self.features:
            x = nn.Dense(features)(x)
        return nn.Dense(self.num_classes)(x)


class Normed(nn.Module):
    dtype: jnp.dtype = jnp.float32

    @nn.compact
    def __call__(self, images, train):
        x = images.reshape(images.shape[0], -1)
        return nn.BatchNorm(use_running_average=not train, dtype=self.dtype)(x)


def plain(num_classes, **options):
    return Plain(num_classes, **options)


INSTANCE = Plain(3)


def not_a_module(num_classes):
    return num_classes


def shapes(name, num_classes=10, *, image=None, **kwargs):
    """The shapes of (params, model_state), without computing anything."""
    model = models.build(name, num_classes, **kwargs)
    image = image or SHAPES.get(name, (32, 32, 3))
    images = jax.ShapeDtypeStruct((2, *image), jnp.float32)
    key = jax.random.key(0)
    init = functools.partial(models.initialise, model, key)
    return model, images, *jax.eval_shape(init, images)


def paths(tree):
    leaves = jax.tree.leaves_with_path(tree)
    return {jax.tree_util.keystr(k, simple=True, separator="/"): v for k, v in leaves}


def count(params, keep=lambda path, leaf: True):
    return sum(math.prod(v.shape) for k, v in paths(params).items() if keep(k, v))


def is_kernel(path, leaf):
    return path.endswith("/kernel")


def is_convolution(path, leaf):
    return is_kernel(path, leaf) and len(leaf.shape) == 4


# Sources: the specs' tables; VGG-11/13/19, ResNet-50 on CIFAR and MobileNet V1 on CIFAR
# from the published PyTorch CIFAR models, the ImageNet ones from torchvision (MobileNet
# V1: the TensorFlow model); LeNet-5: 500 + 20 and 25,000 + 50 in two convolutions,
# 800 x 500 + 500 and 5,000 + 10 after them; the tutorial's: 450 + 6, 2,400 + 16, then
# 400 x 120 + 120, 120 x 84 + 84, 840 + 10; MobileNet V2 with 10 for 1,000 classes has
# 1,280 x 990 + 990 = 1,268,190 fewer than 3,504,872.
@pytest.mark.parametrize(
    ("name", "classes", "parameters"),
    [
        ("mlp", 10, 266_610),
        ("lenet_300_100", 10, 266_610),
        ("lenet5", 10, 431_080),
        ("lenet_tutorial", 10, 62_006),
        ("conv2", 10, 4_301_642),
        ("conv4", 10, 2_425_930),
        ("conv6", 10, 2_262_602),
        ("vgg11", 10, 9_231_114),
        ("vgg13", 10, 9_416_010),
        ("vgg16", 10, 14_728_266),
        ("vgg19", 10, 20_040_522),
        ("resnet20", 10, 272_474),
        ("resnet32", 10, 466_906),
        ("resnet44", 10, 661_338),
        ("resnet56", 10, 855_770),
        ("resnet110", 10, 1_730_714),
        ("resnet18", 10, 11_173_962),
        ("resnet18", 100, 11_220_132),
        ("resnet34", 10, 21_282_122),
        ("resnet34", 100, 21_328_292),
        ("resnet50", 10, 23_520_842),
        ("resnet18_imagenet", 1000, 11_689_512),
        ("resnet34_imagenet", 1000, 21_797_672),
        ("resnet50_imagenet", 1000, 25_557_032),
        ("mobilenet_v1", 10, 3_217_226),
        ("mobilenet_v2", 10, 2_236_682),
        ("mobilenet_v1_imagenet", 1000, 4_231_976),
        ("mobilenet_v2_imagenet", 1000, 3_504_872),
    ],
)
def test_parameters_are_as_many_as_published(name, classes, parameters):
    _, _, params, _ = shapes(name, classes)
    assert count(params) == parameters


@pytest.mark.parametrize(
    ("name", "keep", "weights"),
    [
        ("lenet_300_100", is_kernel, 266_200),
        ("resnet20", is_kernel, 270_896),
        ("conv6", is_kernel, 2_261_184),
        ("conv6", is_convolution, 1_144_512),
        ("vgg16", is_kernel, 14_715_584),
        ("vgg16", is_convolution, 14_710_464),
        ("resnet18", is_convolution, 11_159_232),
        ("resnet34", is_convolution, 21_259_968),
    ],
)
def test_weights_are_as_many_as_published(name, keep, weights):
    _, _, params, _ = shapes(name)
    assert count(params, keep) == weights


def test_resnet20_without_shortcut_norms_is_the_one_of_continuous_sparsification():
    _, _, params, _ = shapes("resnet20", options={"shortcut_norm": False})
    masked = [
        path
        for path, leaf in paths(params).items()
        if is_convolution(path, leaf) and "shortcut" not in path
    ]
    assert count(params) == 272_282
    assert len(masked) == 19
    assert count(params, lambda path, leaf: path in masked) == 267_696


# One of each family; the others differ in numbers that the counts above hold.
ONE_EACH = ("mlp", "lenet5", "conv2", "vgg11", "resnet20", "resnet18", "mobilenet_v1")
ONE_EACH += ("mobilenet_v2",)
# Those that find objects, and transformers, have tests of their own.
OTHERS = ("detector", "keypoints", "segmenter", "vit_tiny", "gpt_tiny")
CLASSIFIERS = [name for name in by_name.MODELS if name not in OTHERS]


@pytest.mark.parametrize("name", rest_slow(CLASSIFIERS, *ONE_EACH))
def test_every_network_keeps_the_contract(name):
    model, images, params, state = shapes(name, 7, width=0.5, dtype="bfloat16")
    leaves = paths(params)
    assert leaves["head/kernel"].shape[-1] == 7
    assert {path.split("/")[-1] for path in leaves} <= {"kernel", "bias", "scale"}
    assert all(leaf.dtype == jnp.float32 for leaf in jax.tree.leaves((params, state)))
    for train in (True, False):
        forward = functools.partial(models.apply, model, train=train)
        logits, after = jax.eval_shape(forward, params, state, images)
        assert (logits.shape, logits.dtype) == ((2, 7), jnp.float32)
        assert after == state


def test_each_norm_is_named_after_its_layer():
    _, _, params, _ = shapes("mobilenet_v2")
    leaves = paths(params)
    norms = [path for path in leaves if path.endswith("/scale")]
    for path in norms:
        kernel = leaves[path.replace("_norm/scale", "/kernel")]
        assert kernel.shape[-1:] == leaves[path].shape
    assert "stage2_block0/depthwise_norm/scale" in norms


@pytest.mark.parametrize("name", ["conv4", "vgg11", "resnet20", "mobilenet_v1"])
def test_half_the_width_halves_both_sides_of_a_hidden_kernel(name):
    _, _, full, _ = shapes(name)
    _, _, half, _ = shapes(name, width=0.5)
    hidden = [
        path
        for path, leaf in paths(full).items()
        if path.endswith("conv2/kernel") or path.endswith("block1/pointwise/kernel")
    ] or ["conv2_1/kernel"]
    for path in hidden:
        *window, inputs, outputs = paths(full)[path].shape
        assert paths(half)[path].shape == (*window, inputs // 2, outputs // 2)


@pytest.mark.parametrize("width", [0.05, 0.35, 0.5, 0.75, 1.3, 1.4])
def test_mobilenet_v2_has_multiples_of_eight_channels_not_far_below(width):
    model = models.build("mobilenet_v2", 10, width=width)
    for channels in (16, 24, 32, 64, 96, 160, 320):
        scaled = model.scaled(channels)
        assert scaled % 8 == 0
        assert 0.9 * channels * width <= scaled < channels * width + 8


def test_options_reach_the_network():
    options = {"norm_scale": "half", "blocks": [1], "channels": [4]}
    model = models.build("resnet20", 10, options=options)
    params, _ = models.initialise(model, jax.random.key(0), jnp.zeros((1, 4, 4, 3)))
    assert (model.blocks, model.channels) == ((1,), (4,))
    assert set(params) == {"stem", "stem_norm", "stage1_block0", "head"}
    assert jnp.all(params["stem_norm"]["scale"] == 0.5)


def test_a_user_s_module_is_used_as_it_is():
    images, key = jnp.ones((2, 2, 2, 1)), jax.random.key(0)
    options = {"features": [3, 2]}
    for name in ("Plain", "plain"):
        model = models.build(f"{__name__}:{name}", 5, options=options)
        params, state = models.initialise(model, key, images)
        logits, after = models.apply(model, params, state, images, train=True)
        assert model == Plain(5, (3, 2))
        assert (logits.shape, state, after) == ((2, 5), {}, {})


def test_a_user_s_module_with_a_train_argument_is_told():
    model = models.build(f"{__name__}:Normed", 4, dtype="bfloat16")
    images = jnp.arange(8.0).reshape(2, 2, 2, 1)
    params, state = models.initialise(model, jax.random.key(0), images)
    logits, after = models.apply(model, params, state, images, train=True)
    assert model.dtype == jnp.bfloat16 and logits.dtype == jnp.float32
    assert jnp.all(after["batch_stats"]["BatchNorm_0"]["mean"] != 0)
    assert models.apply(model, params, state, images, train=False)[1] is state


@pytest.mark.parametrize(
    ("name", "kwargs", "message"),
    [
        ("resnet21", {}, "resnet20.*vgg16.*got model = 'resnet21', did you mean"),
        ("resnet20", {"dtype": "float16"}, "float32, bfloat16, got dtype"),
        ("resnet20", {"width": 0}, "positive, got width = 0"),
        (
            "vgg16",
            {"options": {"depth": 1}},
            "channels, depths.* did you mean 'depths'",
        ),
        ("vgg16", {"options": {"width": 1}}, "options of model 'vgg16' .* 'width'"),
        ("vgg16", {"options": {"hidden": (9,)}}, "'hidden'; .*options = {} leaves out"),
        (f"{__name__}:Plain", {"width": 2.0}, "takes no width.*got width = 2.0"),
        (f"{__name__}:Plain", {"dtype": "bfloat16"}, "takes no dtype"),
        (
            f"{__name__}:Plain",
            {"options": {"norm": 1}},
            "features, got option = 'norm'",
        ),
        (f"{__name__}:Missing", {}, "importable"),
        (f"{__name__}:INSTANCE", {}, "must lead to a flax module class"),
        (f"{__name__}:SHAPES", {}, "must lead to a flax module class"),
        (f"{__name__}:not_a_module", {}, "flax linen module"),
    ],
)
def test_what_is_unknown_or_would_be_ignored_is_refused(name, kwargs, message):
    with pytest.raises(ValueError, match=message):
        models.build(name, 10, **kwargs)


@pytest.mark.parametrize(
    ("name", "options", "message"),
    [
        ("resnet20", {"variant": "mnist"}, "cifar, imagenet.*variant = 'mnist'"),
        ("resnet20", {"initialiser": "zero"}, "glorot_normal.*initialiser = 'zero'"),
        ("mobilenet_v2", {"variant": "mnist"}, "cifar, imagenet"),
        ("vgg16", {}, "at least 2x2"),
        ("lenet5", {}, "at least 16x16"),
    ],
)
def test_networks_name_what_does_not_fit(name, options, message):
    with pytest.raises(ValueError, match=message):
        shapes(name, image=(8, 8, 3), options=options)


@pytest.mark.parametrize("image", [(), (32,), (32, 32), (2, 32, 32, 3)])
def test_inputs_that_are_no_images_go_to_dense_networks_alone(image):
    given = jax.ShapeDtypeStruct((64, *image), jnp.float32)
    needs = "needs images .batch, height, width, channels.|needs tokens"
    for name in by_name.MODELS:
        network = models.build(name, 10)
        init = functools.partial(models.initialise, network, jax.random.key(0))
        if name in ("mlp", "lenet_300_100"):
            jax.eval_shape(init, given)
            continue
        with pytest.raises(ValueError, match=needs):
            jax.eval_shape(init, given)
