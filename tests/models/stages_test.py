"""Units of a network: blocks, convolutions, layers, and those of a user."""

import pytest

from lthjax import models
from lthjax.models import stages


@pytest.mark.parametrize(
    "name, numbers",
    [
        ("resnet8", (1, 1, 1)),
        ("resnet14", (2, 2, 2)),
        ("resnet26", (2, 3, 4, 3)),
        ("resnet50_imagenet", (3, 4, 6, 3)),
        ("vgg11", (1, 1, 2, 2, 2)),
        ("vgg19", (2, 2, 4, 4, 4)),
        ("lenet_300_100", (1, 1)),
    ],
)
def test_networks_of_ours_have_units(name, numbers):
    found = stages.units(models.build(name, 10))
    assert tuple(map(len, found)) == numbers


def test_units_are_named_as_the_leaves_are():
    vgg = stages.units(models.build("vgg13", 10))
    assert vgg[1] == ("conv2_1", "conv2_2")
    resnet = stages.units(models.build("resnet14", 10))
    assert resnet[2] == ("stage3_block0", "stage3_block1")


def test_a_network_of_ones_own_has_a_rule():
    names = ["part2/unit1/kernel", "part2/unit0/kernel", "part1/unit0/a", "head/kernel"]
    found = stages.named(r"part(\d+)/unit(\d+)", names)
    assert found == (("part1/unit0",), ("part2/unit0", "part2/unit1"))


@pytest.mark.parametrize(
    "expression, message",
    [
        (r"part(\d+)", "two groups that are whole numbers"),
        (r"(part)(\d+)", "two groups that are whole numbers"),
        (r"block(\d+)_(\d+)", "must find some, got"),
        ("(", r"units must be a regular expression, got '\('"),
    ],
)
def test_an_expression_that_finds_no_units_is_refused(expression, message):
    with pytest.raises(ValueError, match=message):
        stages.named(expression, ["part1/kernel", "head/kernel"])


def test_two_units_of_the_same_numbers_are_refused():
    names = ["enc_s1_b0/kernel", "dec_s1_b0/kernel"]
    with pytest.raises(ValueError, match=r"gives \(1, 0\) to enc_s1_b0 and dec_s1_b0"):
        stages.named(r"(?:enc|dec)_s(\d+)_b(\d+)", names)


def test_another_family_is_refused_by_name():
    with pytest.raises(ValueError, match="ResNet, VGG, MLP, .* got LeNet5"):
        stages.units(models.build("lenet5", 10))
