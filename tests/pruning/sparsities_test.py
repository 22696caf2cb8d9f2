"""How much: the counts of a schedule are exact, each from N and the level alone."""

import math
from fractions import Fraction

import numpy as np
import pytest

from lthjax.pruning import kept_counts, sparsities

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


# What ResNet-18's 16 levels keep of its convolutions, by the table of the retraining
# papers (arXiv:2206.12755); and what open_lth keeps of ResNet-20 and of VGG-16 (there
# the classifier counts), which of R weights removes ceil(R / 5) and one more.
RETRAINED = (8_927_386, 7_141_908, 5_713_527, 4_570_821, 3_656_657, 2_925_326)
RETRAINED += (2_340_261, 1_872_208, 1_497_767, 1_198_213, 958_571, 766_857, 613_485)
RETRAINED += (490_788, 392_631, 314_104)
OPEN_LTH = {
    270_896: (
        *(216_715, 173_371, 138_695, 110_955, 88_763, 71_009, 56_806, 45_443, 36_353),
        *(29_081, 23_263, 18_609, 14_886, 11_907, 9524, 7618, 6093, 4873, 3897, 3116),
    ),
    14_715_584: (
        *(11_772_466, 9_417_971, 7_534_375, 6_027_499, 4_821_998, 3_857_597),
        *(3_086_076, 2_468_859, 1_975_086, 1_580_067, 1_264_052, 1_011_240, 808_991),
        *(647_191, 517_751, 414_199, 331_358, 265_085, 212_067, 169_652),
    ),
}


def test_sixteen_levels_of_resnet18_keep_what_the_table_says():
    assert sparsities.by_rate(RESNET18, 0.2, 16) == list(RETRAINED)


@pytest.mark.parametrize("total", OPEN_LTH)
def test_open_lth_keeps_one_or_two_weights_a_level_fewer(total):
    found = sparsities.by_rate({"all": total}, 0.2, 20)
    apart = np.subtract(found, OPEN_LTH[total])
    # At most two a level, of which later levels take a fifth; and our rounding.
    most = 2 * (1 - 0.8 ** np.arange(1, 21)) / 0.2 + 0.5
    assert (apart >= 1).all() and (apart <= most).all()


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
    with pytest.raises(ValueError, match=r"layer_rates must be a regular expression"):
        sparsities.by_rate(LENET, 0.2, 3, layer_rates={"(": 0.1})


@pytest.mark.parametrize(
    "values, expected",
    [([0.5, 0.4], "must not fall"), ([-0.1], "must not fall"), ([0.5, 1.0], "got spa")],
)
def test_sparsities_that_fall_or_leave_the_unit_interval_are_refused(values, expected):
    with pytest.raises(ValueError, match=expected):
        sparsities.by_list(LENET, values)


def test_a_hundred_exponential_rounds_are_those_of_the_paper():
    total = 10**6
    found = sparsities.exponential(total, total // 10, 100)
    # round(N 10^(-e / 100)) after e = 1, 2, 50, 99 and 100 rounds.
    picked = [found[e - 1] for e in (1, 2, 50, 99, 100)]
    assert picked == [977_237, 954_993, 316_228, 102_329, 100_000]
    assert len(found) == 100 and sorted(found, reverse=True) == found


def test_linear_rounds_remove_the_same_number_each():
    assert sparsities.linear(100, 20, 4) == [80, 60, 40, 20]
    assert sparsities.linear(10, 0, 3) == [7, 3, 0]  # 6.67 and 3.33, rounded


@pytest.mark.parametrize("schedule", [sparsities.exponential, sparsities.linear])
@pytest.mark.parametrize("kept", [0, 1, 159, 159_400])
@pytest.mark.parametrize("rounds", [1, 7])
def test_the_last_round_keeps_exactly_what_was_asked(schedule, kept, rounds):
    found = schedule(159_400, kept, rounds)
    assert len(found) == rounds and found[-1] == kept
    assert all(isinstance(count, int) for count in found)


@pytest.mark.parametrize("schedule", [sparsities.exponential, sparsities.linear])
def test_schedules_refuse_counts_and_rounds_outside_their_range(schedule):
    for kept in (-1, 11):
        with pytest.raises(ValueError, match=rf"in \[0, 10\], got kept = {kept}"):
            schedule(10, kept, 3)
    with pytest.raises(ValueError, match="at least 1, got rounds = 0"):
        schedule(10, 3, 0)


def convolutions(stage, channels, number):
    return {f"{stage}_{i}": (3, 3, channels, channels) for i in range(number)}


RESNET20 = {
    "conv0": (3, 3, 3, 16),
    **convolutions("stage1", 16, 6),
    "2.0.c1": (3, 3, 16, 32),
    **convolutions("stage2", 32, 5),
    "2.sc": (1, 1, 16, 32),
    "3.0.c1": (3, 3, 32, 64),
    **convolutions("stage3", 64, 5),
    "3.sc": (1, 1, 32, 64),
    "fc": (64, 10),
}
TOTAL20 = sum(map(math.prod, RESNET20.values()))
# Densities of Erdos-Renyi-kernel at four sparsities, and eps, solved in float64.
KINDS = ("conv0", "stage1_0", "2.0.c1", "stage2_0", "2.sc", "3.0.c1", "stage3_0")
KINDS += ("3.sc", "fc")
GOLDEN = {
    0.8: ((1, 0.5938, 0.4219, 0.2735, 1, 0.1992, 0.1309, 1, 1), 36.0023),
    0.9: ((0.983, 0.2802, 0.1991, 0.129, 1, 0.094, 0.0617, 0.8128, 1), 16.986),
    0.95: (
        (0.4748, 0.1353, 0.0961, 0.0623, 0.8012, 0.0454, 0.0298, 0.3926, 0.9486),
        8.204,
    ),
    0.98: (
        (0.1899, 0.0541, 0.0385, 0.0249, 0.3205, 0.0182, 0.0119, 0.157, 0.3794),
        3.2816,
    ),
}


@pytest.mark.parametrize("sparsity", GOLDEN)
def test_erdos_renyi_kernel_has_the_known_densities_of_resnet20(sparsity):
    densities, eps = GOLDEN[sparsity]
    kept = kept_counts.kept_count(TOTAL20, sparsity)
    found = dict(zip(RESNET20, sparsities.erdos_renyi(RESNET20, kept), strict=True))
    for name, density in zip(KINDS, densities, strict=True):
        size = math.prod(RESNET20[name])
        # The table has four decimals; a count is off by less than one weight.
        assert abs(found[name] - density * size) < 1 + size * 5e-5
    rest = [name for name in RESNET20 if found[name] < math.prod(RESNET20[name])]
    sides = sum(sum(RESNET20[name]) for name in rest)
    # Their target was not an integer: half a weight, and four decimals.
    assert abs(sum(found[name] for name in rest) / sides - eps) < 0.5 / sides + 5e-5


def random_shapes(seed):
    generator = np.random.default_rng(seed)
    sizes = generator.integers(1, 40, (generator.integers(1, 8), 2))
    kernels = generator.choice([1, 3, 5], len(sizes))
    return {
        str(i): (int(k), int(k), int(a), int(b)) if k > 1 else (int(a), int(b))
        for i, ((a, b), k) in enumerate(zip(sizes, kernels, strict=True))
    }


DISTRIBUTIONS = {
    "uniform": lambda shapes, kept: sparsities.uniform(
        {name: math.prod(shape) for name, shape in shapes.items()}, kept
    ),
    "er": lambda shapes, kept: sparsities.erdos_renyi(shapes, kept, kernel=False),
    "erk": sparsities.erdos_renyi,
}


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_meet_their_target_and_no_layer_exceeds_its_size(name):
    for seed in range(20):
        shapes = random_shapes(seed)
        sizes = [math.prod(shape) for shape in shapes.values()]
        for fraction in (0, 0.01, 0.1, 0.5, 0.95, 1):
            kept = round(fraction * sum(sizes))
            found = DISTRIBUTIONS[name](shapes, kept)
            assert sum(found) == kept
            assert all(0 <= k <= n for k, n in zip(found, sizes, strict=True))


@pytest.mark.parametrize("name", ["er", "erk"])
def test_densities_are_in_the_ratio_of_the_shapes_where_no_layer_is_dense(name):
    sides = slice(None) if name == "erk" else slice(-2, None)
    for seed in range(20):
        shapes = random_shapes(seed)
        sizes = [math.prod(shape) for shape in shapes.values()]
        kept = sum(sizes) // 2
        found = DISTRIBUTIONS[name](shapes, kept)
        ratios = [sum(s[sides]) / math.prod(s[sides]) for s in shapes.values()]
        rest = [i for i, n in enumerate(sizes) if found[i] < n]
        dense = [i for i in range(len(sizes)) if i not in rest]
        weights = [ratios[i] * sizes[i] for i in rest]
        eps = (kept - sum(sizes[i] for i in dense)) / sum(weights)
        for i, weight in zip(rest, weights, strict=True):
            assert abs(found[i] - eps * weight) < 1
        assert all(eps * ratios[i] * sizes[i] > sizes[i] - 1 for i in dense)


def test_of_equal_layers_the_first_get_what_is_left_over():
    assert sparsities.uniform({"a": 10, "b": 10, "c": 10}, 8) == [3, 3, 2]
    assert sparsities.erdos_renyi({"a": (2, 5), "b": (5, 2)}, 3) == [2, 1]


@pytest.mark.parametrize("name", DISTRIBUTIONS)
def test_distributions_refuse_counts_outside_their_range(name):
    for kept in (-1, 13):
        with pytest.raises(ValueError, match=rf"in \[0, 12\], got kept = {kept}"):
            DISTRIBUTIONS[name]({"a": (3, 4)}, kept)


def test_a_scope_that_is_none_is_refused():
    for call in (
        lambda: sparsities.by_list({"a": 4}, [0.5], scope="bogus"),
        lambda: sparsities.by_rate({"a": 4}, 0.5, 3, scope="layers"),
    ):
        with pytest.raises(ValueError, match="scope must be 'global' or 'layer', got"):
            call()


def test_counts_of_numpy_do_not_overflow():
    sizes = {"a": np.int32(1_000_000), "b": np.int32(3_000_000)}
    assert sparsities.uniform(sizes, np.int32(400_000)) == [100_000, 300_000]
    shapes = {"a": (np.int32(1000), 1000), "b": (3000, 1000)}
    assert sum(sparsities.erdos_renyi(shapes, np.int32(400_000))) == 400_000
    for schedule in (sparsities.linear, sparsities.exponential):
        found = schedule(np.int32(4_000_000), np.int32(400_000), np.int32(900))
        assert found == schedule(4_000_000, 400_000, 900)
    with pytest.raises(ValueError, match="kept must be a whole number, got kept = 0.5"):
        sparsities.linear(10, 0.5, 2)


def test_a_layer_without_weights_takes_none():
    assert sparsities.erdos_renyi({"a": (0, 3), "b": (3, 3)}, 4) == [0, 4]
    assert sparsities.erdos_renyi({"a": (0, 3)}, 0) == [0]


@pytest.mark.parametrize("kind", [np.int32, np.uint8, np.int64])
def test_sizes_and_rates_of_numpy_give_what_python_s_give(kind):
    size = 200 if kind is np.uint8 else 2**30
    sizes, own = {n: kind(size) for n in "abc"}, dict.fromkeys("abc", size)
    rate = np.float32(0.2)
    for scope in ("global", "layer"):
        found = sparsities.by_rate(sizes, rate, 3, scope=scope)
        assert found == sparsities.by_rate(own, float(rate), 3, scope=scope)
        assert sparsities.by_list(sizes, [0.2], scope=scope) == sparsities.by_list(
            own, [0.2], scope=scope
        )


@pytest.mark.parametrize("total", range(1, 8))
def test_linear_rounds_halves_of_those_that_have_gone(total):
    for kept in range(total):
        for rounds in (1, 2, 4):
            gone = [(total - kept) * Fraction(e, rounds) for e in range(1, rounds + 1)]
            expected = [total - round(part) for part in gone]
            assert sparsities.linear(total, kept, rounds) == expected
