"""What a compiled program is handed has the size of the data, not of a key."""

import jax
import numpy as np
import pytest
import tiny

from lthjax.program.build import data, moved_images
from lthjax.program.build import source as source_lib
from lthjax.program.run import check


@pytest.mark.parametrize(
    "asked, images, devices, taken",
    [
        (10**8, (16, 700), 1, 700),
        (10**8, (700, 16), 4, 700),
        (10**8, (16, 701), 4, 704),
        (600, (16, 701), 1, 600),
        (10**8, (16, 20), 1, 20),
        (500, (16, 20), 1, 500),  # as it was, to the last digit
        (8, (16, 20), 1, 8),
        (10**8, (15, 17), -1, 20),  # all devices there are, of which this is four
    ],
)
def test_no_more_images_are_evaluated_at_once_than_there_are(
    asked, images, devices, taken
):
    validation, test = images
    config = tiny.config(
        {
            "eval_batch": asked,
            "mesh.data": devices,
            "data.validation": validation,
            "data.options": {"train": validation + 16, "test": test},
        }
    )
    source = source_lib.load(config)
    assert data.chunk(config, source) == taken
    lying = data.run_data(config, source).lying
    held_out, tested = lying.validation[0], lying.test[0]
    assert {held_out.shape[1], tested.shape[1]} == {taken}
    assert np.asarray(tested).nbytes <= 2 * 64 * max(taken, test)


MIXED = {"data.augment": "cutout+mixup", "data.augment_options": {"side": 3}}


@pytest.mark.parametrize("stream", [False, True])
def test_a_batch_is_augmented_as_a_whole_after_it_is_moved(stream):
    plain = tiny.config({"data.crop": 1, "data.flip": True, "data.stream": stream})
    indices, key = np.array([3, 1, 4, 15, 9, 2]), jax.random.key(5)
    found = {}
    for name, changes in (("plain", {}), ("mixed", MIXED)):
        config = tiny.changed(plain, changes)
        own = data.run_data(config, source_lib.load(config))
        found[name] = own.fetch(key, own.lying, indices)
    mix = moved_images.mixing(tiny.changed(plain, MIXED), source_lib.load(plain))
    expected = jax.jit(mix)(key, found["plain"])
    for one, other in zip(found["mixed"], expected, strict=True):
        np.testing.assert_allclose(one, other, rtol=1e-5, atol=1e-6)
    assert found["mixed"][1].shape == (6, 10)


def no_batch(key, batch):
    return batch[0]


def wider(key, batch):
    return batch[0][:, :4], batch[1]


def odd_labels(key, batch):
    return batch[0], batch[1][:, None]


def raising(key, batch):
    raise RuntimeError("no")


@pytest.mark.parametrize(
    "changes, message",
    [
        (
            {"data.augment": f"{__name__}:no_batch"},
            r"must return \(inputs, labels\), in",
        ),
        (
            {"data.augment": f"{__name__}:wider"},
            r"got float32 \[12, 4, 8, 1\] and int3",
        ),
        (
            {"data.augment": f"{__name__}:odd_labels"},
            r"the labels int32 \[12, 1\] that",
        ),
        ({"data.augment": f"{__name__}:raising"}, "which raised RuntimeError: no"),
        ({"data.augment": "cutmix"}, "augmentation must be one of cutout, mixup"),
        ({"data.augment_options": {"alpha": 1}}, "takes, none, got .* with alpha"),
        ({"data.augment": "mixup", "data.augment_options": {"a": 1}}, "takes, alpha"),
    ],
)
def test_an_augmentation_that_gives_no_batch_is_refused_before_anything(
    changes, message
):
    with pytest.raises(ValueError, match=message):
        check.check(tiny.config(changes))
