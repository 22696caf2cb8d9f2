import jax
import jax.numpy as jnp
import numpy as np
import pytest

from lthjax import models
from lthjax.models import recognition, resnet
from lthjax.pruning import masks as masks_lib
from lthjax.pruning import views

IMAGES = jax.ShapeDtypeStruct((2, 32, 32, 1), jnp.float32)


def shapes(name, classes=3, **options):
    net = models.build(name, classes, width=0.5, options=options)
    own = jax.eval_shape(
        lambda key: models.initialise(net, key, jnp.zeros((1, 32, 32, 1))),
        jax.random.key(0),
    )
    outputs, _ = jax.eval_shape(
        lambda params, state, x: models.apply(net, params, state, x, train=True),
        *own,
        IMAGES,
    )
    return own, outputs.shape


@pytest.mark.parametrize(
    "name, options, shape",
    [
        ("detector", {}, (2, 8, 8, 3 + 2 + 2)),
        ("detector", {"stride": 2}, (2, 16, 16, 7)),
        ("detector", {"backbone": "resnet18"}, (2, 8, 8, 7)),
        ("keypoints", {"points": 5}, (2, 8, 8, 7 + 10 + 5 + 2)),
        ("detector", {"backbone": "vgg11", "stride": 8}, (2, 4, 4, 7)),
        ("segmenter", {"backbone": "resnet8"}, (2, 32, 32, 3)),
    ],
)
def test_maps_have_the_stride_and_the_channels_of_the_heads(name, options, shape):
    (params, state), found = shapes(name, **options)
    assert found == shape
    assert set(params) == {"backbone", "neck", "heads"}
    assert set(state["batch_stats"]) == {"backbone", "neck"}


@pytest.mark.parametrize("name", ["resnet14", "vgg11"])
def test_a_backbone_is_its_network_without_the_head(name):
    (params, state), _ = shapes("detector", backbone=name)
    net = models.build(name, 10, width=0.5)
    whole, statistics = jax.eval_shape(
        lambda key: models.initialise(net, key, jnp.zeros((1, 32, 32, 1))),
        jax.random.key(0),
    )
    del whole["head"]
    assert params["backbone"] == whole
    assert state["batch_stats"]["backbone"] == statistics["batch_stats"]


def test_the_mean_of_a_trunks_maps_is_what_the_head_reads():
    net = models.build("resnet8", 3, width=0.25)
    images = jax.random.normal(jax.random.key(1), (2, 8, 8, 1))
    start = jax.jit(lambda key: models.initialise(net, key, images))
    params, state = start(jax.random.key(0))
    trunk = models.recognition.trunk(net)
    assert isinstance(trunk, resnet.Trunk) and not isinstance(net, resnet.Trunk)
    own = {name: leaf for name, leaf in params.items() if name != "head"}
    maps, _ = models.apply(trunk, own, state, images, train=False)
    logits, _ = models.apply(net, params, state, images, train=False)
    head = params["head"]
    read = maps.mean((1, 2)) @ head["kernel"] + head["bias"][None]
    np.testing.assert_allclose(read, logits, rtol=1e-5)


def test_heat_maps_begin_as_rare():
    sizes = models.recognition.HEADS["detector"](3, 0)
    heads = models.recognition.Heads(sizes, 4)
    own = jax.jit(heads.init)(jax.random.key(0), jnp.zeros((1, 4, 4, 2)))["params"]
    # 1 / (1 + exp(2.19)) = 0.1007
    bias = own["centres"]["bias"]
    np.testing.assert_allclose(jax.nn.sigmoid(bias), 0.1, atol=1e-3)
    assert not own["sizes"]["bias"].any()


def test_every_weight_of_a_recogniser_has_its_axes():
    net = models.build("keypoints", 3, width=0.25, options={"backbone": "resnet18"})
    params, found = views.traced(
        lambda key: models.initialise(net, key, jnp.zeros((1, 16, 16, 1)))[0],
        jax.random.key(0),
        rules=(),
    )
    kernels = [n for n in masks_lib.names(params) if n.endswith("kernel")]
    assert set(kernels) <= set(found)
    assert found["neck/up1/kernel"].kind == "ConvTranspose"


@pytest.mark.parametrize(
    "options, text",
    [
        ({"backbone": "mlp"}, "backbone must be one of resnet8|vgg11"),
        ({"backbone": "resnet2O"}, "did you mean"),
        ({"stride": 3}, "stride must be the backbone's, 4, or what halving it gives"),
        ({"stride": 8}, "stride must be the backbone's, 4"),
        ({"stride": 0}, "stride must be the backbone's, 4"),
    ],
)
def test_what_does_not_make_a_recogniser_is_refused(options, text):
    with pytest.raises(ValueError, match=text):
        models.build("detector", 3, options=options)


def test_images_that_the_stride_does_not_divide_are_refused():
    trunk = resnet.Trunk(2, blocks=(1, 1), channels=(4, 4))
    net = recognition.Recogniser("detector", trunk, num_classes=2, features=4, stride=1)
    jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 8, 8, 3)))
    with pytest.raises(ValueError, match="multiples of the backbone's stride 2, got"):
        jax.eval_shape(net.init, jax.random.key(0), jnp.ones((1, 9, 8, 3)))
