"""What XLA prints of a compiled program, read: cycles, loops, collectives, kernels."""

import collections
import math
import re
from collections.abc import Iterator
from typing import NamedTuple

COLLECTIVES = (
    "all-reduce",
    "all-gather",
    "reduce-scatter",
    "all-to-all",
    "collective-permute",
    "collective-broadcast",
)
# Instructions that a GPU starts no kernel for.
_FREE = (
    *("parameter", "constant", "tuple", "get-tuple-element", "bitcast"),
    *("while", "conditional", "call", "partition-id", "replica-id", "after-all"),
    *("opt-barrier", "async-update"),
)
_HEADER = re.compile(r"^(ENTRY )?%?([\w.\-]+) \(.*\{$")
_NAMED = re.compile(r"^\s+(?:ROOT )?%?([\w.\-]+) = (.*)$")
_CALLED = re.compile(r"(?:calls|to_apply|body|branch_computations)=\{?([^,}\s]+)")
_BRANCHES = re.compile(r"branch_computations=\{([^}]*)\}")
_ARRAY = re.compile(r"([a-z]\w*)\[([\d,]*)\]")


class Instruction(NamedTuple):
    """A line of a computation: name = type opcode(rest."""

    name: str
    type: str
    opcode: str
    rest: str


class Collective(NamedTuple):
    """Collectives of one kind in a step.

    Attributes:
      kind: "all-reduce", for one.
      count: How many there are.
      bytes: Of all their results on a device.
    """

    kind: str
    count: int
    bytes: int


class Loop(NamedTuple):
    """A loop inside the program.

    Attributes:
      turns: How many, where the program says so; `None` where the data decide.
      cycles: Of one turn, by the compiler's own model; 0 where it gives none.
      origin: The operation that was written, as JAX names it.
    """

    turns: int | None
    cycles: int
    origin: str


class Reading(NamedTuple):
    """What the text of a compiled program says.

    Attributes:
      cycles: Of the whole program, loops with all their turns (one, where the data
        decide), without collectives; 0 where the compiler gives none.
      loops: All of them, those inside others too.
      collectives: One of each kind.
      accessed: Bytes that instructions read and write, each operand and result once;
        of what is only gathered from, the rows taken.
      kernels: {what it is: how many}, what a GPU is asked to start.
    """

    cycles: int
    loops: tuple[Loop, ...]
    collectives: tuple[Collective, ...]
    accessed: int
    kernels: dict[str, int]


def read(text: str) -> Reading:
    """Returns what the text of a compiled program says.

    Args:
      text: As `jax.stages.Compiled.as_text` gives it.

    Raises:
      ValueError: It is no such text.
    """
    found = dict(_computations(text))
    if "" not in found:
        raise ValueError(
            "the text must be that of a compiled program, with an ENTRY, got "
            f"{text[:40]!r}"
        )
    return Reading(
        _cycles(found, ""),
        tuple(_loops(found, "")),
        _collectives(found),
        _accessed(found, ""),
        dict(_kernels(found, "")),
    )


def _computations(text) -> Iterator[tuple[str, list[Instruction]]]:
    """Yields (name, instructions) of every computation; the entry is called ""."""
    name, rows = None, []
    for line in text.splitlines():
        header = _HEADER.match(line)
        if header:
            name, rows = "" if header[1] else header[2], []
        elif line == "}" and name is not None:
            yield name, rows
            name = None
        elif name is not None and (row := _NAMED.match(line)):
            rows.append(_instruction(row[1], row[2]))


def _instruction(name, text):
    kind = _type(text)
    opcode, _, rest = text[len(kind) :].lstrip().partition("(")
    return Instruction(name, kind, opcode, rest)


def _type(text):
    """Returns the type that an instruction begins with, a tuple's in parentheses."""
    if not text.startswith("("):
        return text.partition(" ")[0]
    depth = 0
    for end, letter in enumerate(text, start=1):
        depth += {"(": 1, ")": -1}.get(letter, 0)
        if not depth:
            return text[:end]
    return text


def _called(row):
    """Returns the names of the computations that an instruction runs."""
    if branches := _BRANCHES.search(row.rest):
        return [name.strip(" %") for name in branches[1].split(",")]
    return [name.strip("%") for name in _CALLED.findall(row.rest)]


def _inside(found, row):
    """Returns those of which each instruction is run by itself: not fused ones."""
    if row.opcode not in ("while", "conditional", "call", "async-start"):
        return []
    return [name for name in _called(row) if name in found]


def _cycles(found, name):
    total = 0
    for row in found[name]:
        total += _number(r'"estimated_cycles":"(\d+)"', row.rest) or 0
        inside = [_cycles(found, called) for called in _inside(found, row)]
        turns = _turns(found, row) or 1 if row.opcode == "while" else 1
        total += turns * max(inside, default=0)
    return total


def _loops(found, name):
    for row in found[name]:
        inside = _inside(found, row)
        if row.opcode == "while":
            origin = re.search(r'op_name="([^"]*)"', row.rest)
            cycles = sum(_cycles(found, called) for called in inside)
            yield Loop(_turns(found, row), cycles, origin[1] if origin else row.name)
        for called in inside:
            yield from _loops(found, called)


def _turns(found, row):
    """Returns how often a loop turns: as XLA notes it, or by the bound it counts to."""
    noted = _number(r'"known_trip_count":\{"n":"(\d+)"', row.rest)
    condition = re.search(r"condition=%?([\w.\-]+)", row.rest)
    if noted is not None or condition is None:
        return noted
    rows = found.get(condition[1], [])
    compared = [x for x in rows if x.opcode == "compare" and "direction=LT" in x.rest]
    bounds = {x.name: x.rest for x in rows if x.opcode == "constant"}
    if len(compared) != 1:
        return None
    given = re.findall(r"%?([\w.\-]+)[,)]", compared[0].rest)
    known = [bounds[name] for name in given[:2] if name in bounds]
    return _number(r"^(\d+)\)", known[0]) if known else None


def _number(pattern, text):
    match = re.search(pattern, text)
    return int(match[1]) if match else None


def _collectives(found):
    """Returns all collectives, those that are part of a fusion too."""
    counts, sizes = collections.Counter(), collections.Counter()
    for row in (row for rows in found.values() for row in rows):
        kind = row.opcode.removesuffix("-start")
        if kind in COLLECTIVES:
            counts[kind] += 1
            sizes[kind] += size(row.type) // (2 if _has_operands(row) else 1)
    return tuple(Collective(kind, counts[kind], sizes[kind]) for kind in counts)


def _has_operands(row):
    """Says whether a type lists what goes in beside what comes out."""
    nested = row.type.startswith("((") or not row.opcode.startswith("all-reduce")
    return row.opcode.endswith("-start") and nested


def size(kind: str) -> int:
    """Returns the bytes of a type as XLA writes it, of all arrays of a tuple.

    Args:
      kind: "f32[3,64]{1,0}", or "(bf16[2], f32[])".
    """
    total = 0
    for name, sides in _ARRAY.findall(kind):
        bits = 8 if name == "pred" else _number(r"^[a-z]+(\d+)", name) or 0
        total += math.prod(int(s) for s in sides.split(",") if s) * bits
    return total // 8


def _accessed(found, name):
    types = {row.name: row.type for row in found[name]}
    total = 0
    for row in found[name]:
        inside = [_accessed(found, called) for called in _inside(found, row)]
        turns = _turns(found, row) or 1 if row.opcode == "while" else 1
        total += turns * max(inside, default=0)
        if _is_kernel(row):
            skipped = _gathered(found, row)
            given = [x for i, x in enumerate(_operands(row)) if i not in skipped]
            total += size(row.type) + sum(size(types.get(x, "")) for x in given)
    return total


def _operands(row):
    return re.findall(r"%([\w.\-]+)", row.rest.partition(")")[0])


def _gathered(found, row):
    """Returns the places of operands of which an instruction takes a few rows only."""
    if row.opcode in _TAKING:
        return {0}
    called = _called(row)
    if row.opcode != "fusion" or not called or called[0] not in found:
        return set()
    places, users = {}, collections.defaultdict(set)
    for inner in found[called[0]]:
        if inner.opcode == "parameter":
            places[inner.name] = _number(r"^(\d+)\)", inner.rest)
        for i, name in enumerate(_operands(inner)):
            users[name].add(inner.opcode in _TAKING and i == 0)
    return {place for name, place in places.items() if users[name] == {True}}


_TAKING = ("gather", "dynamic-slice")


def _is_kernel(row):
    return row.opcode not in _FREE and not row.opcode.endswith("-done")


def _kernels(found, name):
    counts = collections.Counter()
    for row in found[name]:
        for called in _inside(found, row):
            counts += _kernels(found, called)
        if _is_kernel(row):
            counts[_kernel(row)] += 1
    return counts


def _kernel(row):
    """Returns what a kernel is called here: its opcode, or the library that has it."""
    target = re.search(r'custom_call_target="([^"]*)"', row.rest)
    if row.opcode != "custom-call" or not target:
        return row.opcode
    for part, name in _LIBRARIES.items():
        if part in target[1]:
            return name
    return target[1]


_LIBRARIES = {"cudnn$conv": "cuDNN convolution", "cublas": "cuBLAS product"}
