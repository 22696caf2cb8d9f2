"""What is known of a data set before its images are read."""

from typing import NamedTuple

import numpy as np

from lthjax import registry


class Facts(NamedTuple):
    """The size and the shape of a data set, and how papers feed it to a network.

    `train` counts the images from which validation is still to be cut, `validation`
    those that the set brings for it. `mean` and `std` are per channel, of images / 255.
    `padding` (pixels) and `flip` say how the train images are augmented. `majority` is
    the share of the largest class among the test images, where it is known: the
    accuracy of always saying that class.

    Of what is no image, `image_shape` is the shape of one input whatever it is, mean
    and std are empty, and `dtype` is what a network is given; of what are no classes,
    `num_classes` is the number of outputs. `label_shape` and `label_dtype` are those of
    the labels of one example.
    """

    image_shape: tuple[int, ...]
    num_classes: int
    train: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 0
    flip: bool = False
    majority: float | None = None
    validation: int = 0
    dtype: str = "float32"
    label_shape: tuple[int, ...] = ()
    label_dtype: str = "int32"


# Both CIFARs are normalised by the numbers of CIFAR-10, as the retraining papers' codes
# do. Others differ, and `data.mean`, `data.std` give theirs: Continuous Sparsification
# (125.3, 123.0, 113.9) and (63.0, 62.1, 66.7), of 255; open_lth ImageNet's, of CIFAR
# too; the original MNIST experiment leaves pixels in [0, 1], mean 0 and deviation 1.
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

FACTS: dict[str, Facts] = {
    "digits": Facts((8, 8, 1), 10, 1_497, 300, (0.2876,), (0.3541,), majority=0.1),
    "mnist": Facts(
        (28, 28, 1), 10, 60_000, 10_000, (0.1307,), (0.3081,), majority=0.1135
    ),
    "fashion_mnist": Facts(
        (28, 28, 1), 10, 60_000, 10_000, (0.2860,), (0.3530,), majority=0.1
    ),
    "cifar10": Facts((32, 32, 3), 10, 50_000, 10_000, *_CIFAR, 4, True, 0.1),
    "cifar100": Facts((32, 32, 3), 100, 50_000, 10_000, *_CIFAR, 4, True, 0.01),
    "tiny_imagenet": Facts(
        (64, 64, 3), 200, 100_000, 10_000, *_IMAGENET, 8, True, 0.005
    ),
    "imagenet": Facts(
        (224, 224, 3), 1_000, 1_281_167, 50_000, *_IMAGENET, 0, True, 0.001
    ),
}


def shaped(
    *,
    like: str = "digits",
    image_shape: tuple[int, int, int] | None = None,
    num_classes: int | None = None,
    train: int = 512,
    test: int = 128,
) -> Facts:
    """Returns the facts of a set that is like another one, in what is not given here.

    Args:
      like: The set of `FACTS` whose shape, classes and augmentation it has.
      image_shape: (h, w, c), in place of that of `like`.
      num_classes: Number of classes, in place of that of `like`.
      train: Number of train images.
      test: Number of test images.

    Raises:
      ValueError: `like` is not a set of `FACTS`, or a number is out of its range.
    """
    if like not in FACTS:
        raise ValueError(
            f"like must be one of {', '.join(FACTS)}, got like = {like!r}"
            f"{registry.suggestion(like, FACTS)}"
        )
    facts = FACTS[like]
    shape = facts.image_shape if image_shape is None else tuple(image_shape)
    number = facts.num_classes if num_classes is None else num_classes
    _check_sizes(shape, train, test)
    check_classes("synthetic", number)
    return facts._replace(
        image_shape=shape,
        num_classes=number,
        train=train,
        test=test,
        mean=(0.5,) * shape[-1],
        std=(0.25,) * shape[-1],
        majority=-(-test // number) / test if test else None,
    )


def check_classes(
    name: str, num_classes: int, label_dtype: str | np.dtype = "int32"
) -> None:
    """Checks that there is something to tell apart, where labels are classes.

    Raises:
      ValueError: There are not at least two classes, or, where labels are floats, not
        at least one output.
    """
    if np.issubdtype(label_dtype, np.floating):
        if not _is_count(num_classes, 1):
            raise ValueError(
                "num_classes must be the number of outputs, at least one, where labels "
                f"are floats, got {name!r} with num_classes = {num_classes!r}"
            )
    elif not isinstance(num_classes, int | np.integer) or num_classes < 2:
        raise ValueError(
            "a data set must have at least two classes, a whole number, got "
            f"{name!r} with num_classes = {num_classes!r}; whole numbers that are no "
            "classes are given as floats"
        )


def _check_sizes(shape, train, test):
    sides = len(shape) == 3 and all(_is_count(side, 1) for side in shape)
    if not sides or not _is_count(train, 1) or not _is_count(test, 0):
        raise ValueError(
            "image_shape must be three positive integers, train at least 1 and test at "
            f"least 0, got image_shape = {shape}, train = {train!r}, test = {test!r}"
        )


def _is_count(value, least):
    whole = isinstance(value, int | np.integer) and not isinstance(value, bool)
    return whole and value >= least
