"""What is known of a data set before its images are read."""

from typing import NamedTuple

from lthjax import names


class Facts(NamedTuple):
    """The size and the shape of a data set, and how papers feed it to a network.

    `train` counts the images from which validation is still to be cut. `mean` and
    `std` are per channel, of images / 255. `padding` (pixels) and `flip` say how the
    train images are augmented.
    """

    image_shape: tuple[int, int, int]
    num_classes: int
    train: int
    test: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    padding: int = 0
    flip: bool = False


# Both CIFARs are normalised by the numbers of CIFAR-10, as the retraining papers' codes
# do. Others differ, and `data.mean`, `data.std` give theirs: Continuous Sparsification
# (125.3, 123.0, 113.9) and (63.0, 62.1, 66.7), of 255; open_lth ImageNet's, of CIFAR
# too; the original MNIST experiment leaves pixels in [0, 1], mean 0 and deviation 1.
_CIFAR = ((0.4914, 0.4822, 0.4465), (0.2023, 0.1994, 0.2010))
_IMAGENET = ((0.485, 0.456, 0.406), (0.229, 0.224, 0.225))

FACTS: dict[str, Facts] = {
    "digits": Facts((8, 8, 1), 10, 1_497, 300, (0.2876,), (0.3541,)),
    "mnist": Facts((28, 28, 1), 10, 60_000, 10_000, (0.1307,), (0.3081,)),
    "fashion_mnist": Facts((28, 28, 1), 10, 60_000, 10_000, (0.2860,), (0.3530,)),
    "cifar10": Facts((32, 32, 3), 10, 50_000, 10_000, *_CIFAR, 4, True),
    "cifar100": Facts((32, 32, 3), 100, 50_000, 10_000, *_CIFAR, 4, True),
    "tiny_imagenet": Facts((64, 64, 3), 200, 100_000, 10_000, *_IMAGENET, 8, True),
    "imagenet": Facts((224, 224, 3), 1_000, 1_281_167, 50_000, *_IMAGENET, 0, True),
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
      ValueError: `like` is not a set of `FACTS`.
    """
    if like not in FACTS:
        raise ValueError(
            f"like must be one of {', '.join(FACTS)}, got like = {like!r}"
            f"{names.suggestion(like, FACTS)}"
        )
    facts = FACTS[like]
    shape = tuple(image_shape or facts.image_shape)
    return facts._replace(
        image_shape=shape,
        num_classes=num_classes or facts.num_classes,
        train=train,
        test=test,
        mean=(0.5,) * shape[-1],
        std=(0.25,) * shape[-1],
    )
