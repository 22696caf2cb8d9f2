"""Block maps: of which block of another depth each block of a network is made.

A stage is a row of blocks of one shape behind a first one. A map goes from target to
source, a row of numbers a stage, so that each block of the target has exactly one.

References:
  Chen et al., 2021, arXiv:2103.16547. Its code stores maps from source to target, where
  a block may be forgotten, or written twice.
"""

import re
from collections.abc import Callable, Sequence

BlockMap = tuple[tuple[int, ...], ...]
Stages = tuple[tuple[str, ...], ...]  # paths of the units of each stage


def append(source: Sequence[int], target: Sequence[int]) -> BlockMap:
    """Returns the map that repeats all normal blocks: B0 B1 B2 becomes B0 B1 B2 B1 B2.

        target block j  <-  1 + (j - 1) mod r,  r normal blocks in the source's stage

    Args:
      source: Number of blocks of each stage, the first of each counted.
      target: The same of the deeper network.

    Raises:
      ValueError: The stages are not as many, the target is shallower somewhere, or a
        stage of the source has no normal block to be copied.
    """
    return _by_stage(source, target, _cycle, deeper=True)


def interpolate(source: Sequence[int], target: Sequence[int]) -> BlockMap:
    """Returns the map that doubles blocks in place: B0 B1 B2 becomes B0 B1 B1 B2 B2.

    Of R wanted, each of the r normal blocks is copied floor(R / r) times, the first
    R mod r of them once more.

    Args:
      source: As for `append`.
      target: Likewise.

    Raises:
      ValueError: As `append`.
    """

    def doubled(r, wanted):
        times, more = divmod(wanted, r)
        counts = [times + (i <= more) for i in range(1, r + 1)]
        return [i for i, n in enumerate(counts, start=1) for _ in range(n)]

    return _by_stage(source, target, doubled, deeper=True)


def interval(source: Sequence[int], target: Sequence[int]) -> BlockMap:
    """Returns the map that drops blocks at even distances.

        target block j  <-  1 + floor((j - 1) r / R),  R normal blocks in the target's

    Args:
      source: Number of blocks of each stage, the first of each counted.
      target: The same of the shallower network.

    Raises:
      ValueError: The stages are not as many, or the target is deeper somewhere.
    """

    def spaced(r, wanted):
        return [1 + (j * r) // wanted for j in range(wanted)]

    return _by_stage(source, target, spaced, deeper=False)


def drop_tail(source: Sequence[int], target: Sequence[int]) -> BlockMap:
    """Returns the map that drops the last blocks of each stage.

    Args:
      source: As for `interval`.
      target: Likewise.

    Raises:
      ValueError: As `interval`.
    """
    return _by_stage(source, target, lambda r, n: range(1, n + 1), deeper=False)


def drop_head(source: Sequence[int], target: Sequence[int]) -> BlockMap:
    """Returns the map that drops the first normal blocks: a control, the paper's worst.

    Args:
      source: As for `interval`.
      target: Likewise.

    Raises:
      ValueError: As `interval`.
    """
    return _by_stage(source, target, lambda r, n: range(r - n + 1, r + 1), deeper=False)


ORDERS: dict[str, Callable[..., BlockMap]] = {
    "append": append,
    "interpolate": interpolate,
    "interval": interval,
    "drop_tail": drop_tail,
    "drop_head": drop_head,
}


def inverse(block_map: BlockMap) -> BlockMap:
    """Returns the map back, from the first copy of each block of the source.

    Raises:
      ValueError: A block of the source has no copy.
    """
    found = []
    for stage, row in enumerate(block_map, start=1):
        absent = sorted(set(range(max(row) + 1)) - set(row))
        if absent:
            raise ValueError(
                "a map has an inverse where every block of the source is copied, got "
                f"none of block {absent[0]} of stage {stage} in {row}"
            )
        found.append(tuple(row.index(i) for i in range(max(row) + 1)))
    return tuple(found)


def parse(text: str, target: Sequence[int]) -> BlockMap:
    """Returns the map of the authors' notation, "0:0;1:1,3;2:2,4".

    That is source:targets; ... within a stage, stages joined by "|"; a single one
    serves all stages. What is named nowhere is dropped.

    Args:
      text: The map.
      target: Number of blocks of each stage of the target.

    Raises:
      ValueError: It is none, a block of the target is named twice or not at all, or
        there are not as many maps as stages.
    """
    parts = text.split("|")
    parts = parts * len(target) if len(parts) == 1 else parts
    if len(parts) != len(target):
        raise ValueError(
            f"a map must have one part for each of the {len(target)} stages, or one "
            f"for all, got {len(parts)} of them in {text!r}"
        )
    pairs = zip(parts, target, strict=True)
    found = tuple(_parsed(text, part, number) for part, number in pairs)
    check(found, [max(row) + 1 for row in found], target)
    return found


def check(block_map: BlockMap, source: Sequence[int], target: Sequence[int]) -> None:
    """Refuses a map that does not lead from one depth to another.

    Args:
      block_map: The map, target to source.
      source: Number of blocks of each stage, the first of each counted.
      target: The same of the target.

    Raises:
      ValueError: It is not complete, names a block that there is not, or makes a first
        block of another one, or another one of a first.
    """
    sizes = len(block_map), len(source), len(target)
    if len(set(sizes)) > 1:
        raise ValueError(
            "a map, its source and its target must have equally many stages, got "
            f"{sizes[0]}, {sizes[1]} and {sizes[2]}"
        )
    rows = zip(block_map, source, target, strict=True)
    for stage, (row, there, wanted) in enumerate(rows, start=1):
        if len(row) != wanted:
            raise ValueError(
                f"a map must name a source for each of the {wanted} blocks of stage "
                f"{stage}, got {len(row)} in {row}"
            )
        wrong = [i for i in row if not 0 <= i < there]
        if wrong:
            raise ValueError(
                f"a map must name blocks of its source, 0 to {there - 1} in stage "
                f"{stage}, got {wrong[0]} in {row}"
            )
        if row and (row[0] or 0 in row[1:]):
            raise ValueError(
                "the first block of a stage, and no other, is made of the first block "
                f"of the source's, got {row} for stage {stage}"
            )


def _by_stage(source, target, order, *, deeper):
    """Returns a map, `order(normal blocks, wanted)` of every stage."""
    check_depth(source, target, deeper=deeper)
    rows = []
    for there, wanted in zip(source, target, strict=True):
        normal = order(there - 1, wanted - 1) if wanted > 1 else ()
        rows.append((0, *normal))
    return tuple(rows)


def check_depth(source: Sequence[int], target: Sequence[int], *, deeper: bool) -> None:
    """Refuses a target that is shallower somewhere, or deeper, or cannot be reached.

    Args:
      source: Number of blocks of each stage, the first of each counted.
      target: The same of the target.
      deeper: Whether the target must be the deeper one.

    Raises:
      ValueError: It is not, or a stage has no normal block to be copied.
    """
    if len(source) != len(target):
        raise ValueError(
            "source and target must have equally many stages, got source = "
            f"{tuple(source)}, target = {tuple(target)}"
        )
    for stage, (there, wanted) in enumerate(zip(source, target, strict=True), start=1):
        right = wanted >= there if deeper else wanted <= there
        if not right or min(there, wanted) < 1:
            raise ValueError(
                f"the target must be nowhere {'shallower' if deeper else 'deeper'}, "
                f"got {there} blocks for {wanted} in stage {stage}; "
                f"{'squeeze' if deeper else 'stretch'} such a one"
            )
        if wanted > there == 1:
            raise ValueError(
                "a stage is stretched by copies of its normal blocks, and stage "
                f"{stage} of the source has none beside its first, got 1 block for "
                f"{wanted}"
            )


def _cycle(r, wanted):
    return [1 + j % r for j in range(wanted)]


def _parsed(text, part, number):
    """Returns one stage of `parse`."""
    pairs = [_pair(text, pair) for pair in part.split(";") if pair]
    row = [(j, source) for source, targets in pairs for j in targets]
    if sorted(j for j, _ in row) != list(range(number)):
        raise ValueError(
            f"a map must name each of the blocks 0 to {number - 1} of the target once, "
            f"got {sorted(j for j, _ in row)} in {text!r}"
        )
    return tuple(source for _, source in sorted(row))


def _pair(text, pair):
    """Returns (source, its targets) of "2:2,4"."""
    match = re.fullmatch(r"\s*(\d+)\s*:\s*(\d+(?:\s*,\s*\d+)*)\s*", pair)
    if not match:
        raise ValueError(
            f"a map must be written source:target,target;..., got {pair!r} in {text!r}"
        )
    return int(match[1]), [int(j) for j in match[2].split(",")]
