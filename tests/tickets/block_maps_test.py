"""Block maps: the orders of the paper, its notation, and what is no map."""

import pytest

from lthjax.tickets import block_maps

TWENTY, THIRTY_TWO, FOURTEEN = (3, 3, 3), (5, 5, 5), (2, 2, 2)


@pytest.mark.parametrize(
    "order, text, row",
    [
        ("append", "0:0;1:1,3;2:2,4", (0, 1, 2, 1, 2)),
        ("interpolate", "0:0;1:1,2;2:3,4", (0, 1, 1, 2, 2)),
    ],
)
def test_stretching_from_twenty_to_thirty_two_is_what_the_authors_write(
    order, text, row
):
    found = block_maps.ORDERS[order](TWENTY, THIRTY_TWO)
    assert found == (row,) * 3 == block_maps.parse(text, THIRTY_TWO)


def test_spare_copies_are_of_early_blocks():
    assert block_maps.append((4,), (6,)) == ((0, 1, 2, 3, 1, 2),)
    assert block_maps.interpolate((4,), (6,)) == ((0, 1, 1, 2, 2, 3),)
    assert block_maps.interpolate((3,), (8,)) == ((0, 1, 1, 1, 1, 2, 2, 2),)


def test_squeezing_drops_at_even_distances_or_at_an_end():
    assert block_maps.interval((5,), (3,)) == ((0, 1, 3),)
    assert block_maps.interval((9,), (5,)) == ((0, 1, 3, 5, 7),)
    assert block_maps.drop_tail((5,), (3,)) == ((0, 1, 2),)
    assert block_maps.drop_head((5,), (3,)) == ((0, 3, 4),)
    assert block_maps.drop_tail((3,), (1,)) == ((0,),)


@pytest.mark.parametrize("order", block_maps.ORDERS)
def test_the_same_depth_is_the_identity(order):
    assert block_maps.ORDERS[order](TWENTY, TWENTY) == ((0, 1, 2),) * 3


def test_fifty_goes_to_a_hundred_and_one():
    found = block_maps.append((3, 4, 6, 3), (3, 4, 23, 3))
    assert [len(row) for row in found] == [3, 4, 23, 3]
    assert found[2][:8] == (0, 1, 2, 3, 4, 5, 1, 2)


def test_the_inverse_goes_back_to_the_first_copies():
    appended = block_maps.append(TWENTY, THIRTY_TWO)
    assert block_maps.inverse(appended) == block_maps.drop_tail(THIRTY_TWO, TWENTY)
    doubled = block_maps.interpolate(TWENTY, THIRTY_TWO)
    assert block_maps.inverse(doubled) == ((0, 1, 3),) * 3
    with pytest.raises(ValueError, match="got none of block 1 of stage 1"):
        block_maps.inverse(((0, 2),))


def test_a_stage_each_is_joined_by_a_bar():
    text = "0:0;1:1|0:0;1:1,2"
    assert block_maps.parse(text, (2, 3)) == ((0, 1), (0, 1, 1))
    assert block_maps.parse("0:0;3:1", (2,)) == ((0, 3),)


@pytest.mark.parametrize(
    "text, target, message",
    [
        (
            "0:0;1:1",
            (3,),
            r"each of the blocks 0 to 2 of the target once, got \[0, 1\]",
        ),
        ("0:0;1:1,2;2:2", (3,), r"once, got \[0, 1, 2, 2\]"),
        ("0:0;1-1", (2,), "written source:target,target;..., got '1-1'"),
        ("0:0|0:0|0:0", (1, 1), "each of the 2 stages, or one for all, got 3"),
        ("1:0;0:1", (2,), "the first block of a stage, and no other"),
        ("0:0,1", (2,), "the first block of a stage, and no other"),
    ],
)
def test_what_is_no_map_is_refused(text, target, message):
    with pytest.raises(ValueError, match=message):
        block_maps.parse(text, target)


@pytest.mark.parametrize(
    "order, source, target, message",
    [
        ("append", (3,), (2,), "nowhere shallower, got 3 blocks for 2 .*squeeze"),
        ("interval", (3,), (4,), "nowhere deeper, got 3 blocks for 4 .*; stretch"),
        ("append", (1, 2), (2, 2), "none beside its first, got 1 block for 2"),
        ("append", (3,), (3, 3), "equally many stages"),
        ("drop_tail", (3,), (0,), "got 3 blocks for 0"),
    ],
)
def test_depths_that_no_order_leads_to_are_refused(order, source, target, message):
    with pytest.raises(ValueError, match=message):
        block_maps.ORDERS[order](source, target)


def test_a_map_that_names_what_is_not_there_is_refused():
    with pytest.raises(ValueError, match="blocks of its source, 0 to 1 in stage 1"):
        block_maps.check(((0, 2),), (2,), (2,))
    with pytest.raises(ValueError, match="for each of the 3 blocks of stage 1, got 2"):
        block_maps.check(((0, 1),), (2,), (3,))
