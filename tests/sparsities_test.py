"""How much: the counts of a schedule are exact, each from N and the level alone."""

from fractions import Fraction

import pytest

from lthjax import sparsities

RESNET18 = {"all": 11_159_232}
LENET = {
    "dense1/kernel": 784 * 300,
    "dense2/kernel": 300 * 100,
    "head/kernel": 100 * 10,
}


def exact(total, rate, level):
    """round(N (1 - rate)^level) in rational arithmetic."""
    return round(total * (1 - Fraction(rate)) ** level)


@pytest.mark.parametrize("rate", ["0.2", "0.1", "0.5", "0.05"])
@pytest.mark.parametrize("sizes", [RESNET18, LENET, {"tiny": 7}])
def test_the_counts_of_twenty_levels_are_those_of_fractions(sizes, rate):
    found = sparsities.by_rate(sizes, float(rate), 20)
    total = sum(sizes.values())
    assert found == [exact(total, rate, level) for level in range(1, 21)]


def test_each_level_is_computed_from_n_and_not_from_the_level_before():
    few, many = (sparsities.by_rate(LENET, 0.2, levels) for levels in (5, 9))
    assert many[:5] == few
    assert sparsities.by_rate(LENET, 0.2, 0) == []


def test_the_protocol_of_lenet_prunes_its_head_at_half_the_rate():
    found = sparsities.by_rate(LENET, 0.2, 12, layer_rates={"^head/": 0.1})
    rates = ["0.2", "0.2", "0.1"]
    for level, row in enumerate(found, start=1):
        pairs = zip(LENET.values(), rates, strict=True)
        assert row == [exact(size, rate, level) for size, rate in pairs]


def test_by_layer_every_layer_keeps_its_own_count():
    found = sparsities.by_rate(LENET, 0.2, 3, scope="layer")
    assert found[2] == [exact(size, "0.2", 3) for size in LENET.values()]
    listed = sparsities.by_list(LENET, [0.5, 0.75], scope="layer")
    assert listed == [[size // 2 for size in LENET.values()], [58_800, 7_500, 250]]


def test_a_list_of_sparsities_says_what_each_level_keeps():
    found = sparsities.by_list(RESNET18, [0.0, 0.2, 0.2, 0.99])
    kept = [Fraction(1), Fraction("0.8"), Fraction("0.8"), Fraction("0.01")]
    assert found == [round(RESNET18["all"] * fraction) for fraction in kept]


@pytest.mark.parametrize("value", [0.0, 1.0, -0.1, 1.5])
def test_a_rate_outside_its_range_is_refused_by_name(value):
    with pytest.raises(ValueError, match=rf"in \(0, 1\), got rate = {value}"):
        sparsities.by_rate(LENET, value, 3)
    with pytest.raises(ValueError, match=rf"in \(0, 1\), got head = {value}"):
        sparsities.by_rate(LENET, 0.2, 3, layer_rates={"head": value})


def test_a_negative_number_of_levels_is_refused():
    with pytest.raises(ValueError, match="at least 0, got levels = -1"):
        sparsities.by_rate(LENET, 0.2, -1)


def test_a_pattern_that_finds_no_layer_is_refused_with_the_layers():
    with pytest.raises(ValueError, match="got 'haed'; the layers are dense1/kernel"):
        sparsities.by_rate(LENET, 0.2, 3, layer_rates={"haed": 0.1})


@pytest.mark.parametrize(
    "values, expected",
    [([0.5, 0.4], "must not fall"), ([-0.1], "must not fall"), ([0.5, 1.0], "got spa")],
)
def test_sparsities_that_fall_or_leave_the_unit_interval_are_refused(values, expected):
    with pytest.raises(ValueError, match=expected):
        sparsities.by_list(LENET, values)
