"""Pods and GPUs that are not here: what they are, and what their compilers say.

The compilers are those of `jax[tpu]` and `jax[cuda13]`; they need no device. What is
compiled can be looked at, not run.
"""

import contextlib
import hashlib
import json
import math
import os
import pathlib
import re
import warnings
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax
from jax.experimental import topologies

from lthjax import packages, whole_files
from lthjax.devices import backend, compiled_text, operations

_READER = 2  # to be raised where what is read of a program changes
# What XLA:TPU says of a program that does not fit, in its older and its newer words.
_OVER = re.compile(
    r"([\d.]+)([KMGT])\)? (?:of|exceeds available HBM) \(?([\d.]+)([KMGT])"
)
_UNITS = {"K": 2**10, "M": 2**20, "G": 2**30, "T": 2**40}


class Chip(NamedTuple):
    """One device, by its maker.

    Attributes:
      platform: "tpu" or "gpu".
      memory: Bytes.
      flops: The peak rate of products in bfloat16, sums in float32, operations/s.
      bandwidth: Of the memory, bytes/s.
      clock: Cycles/s.
      sides: How many numbers name a pod of them: 2 for "4x4".
      spec: Of a GPU, what its compiler asks for: multiprocessors, L2 cache (bytes),
        shared memory of one (bytes), of a block (bytes), compute capability.
    """

    platform: str
    memory: int
    flops: float
    bandwidth: float
    clock: float
    sides: int = 1
    spec: tuple[int, int, int, int, int] = (0, 0, 0, 0, 0)


# TPUs: memory, peak and bandwidth as https://cloud.google.com/tpu/docs/v5e, v5p and v6e
# have them (memory in GiB: v5p 95, of which the compiler gives programs a little less).
# The clock follows from the peak: units of a chip times side^2 times 2 operations a
# cycle; 4 units of 128 in v5e, 8 in v5p's two cores, 4 of 256 in v6e (Google's pages
# say 4 or 2 of v6e; with 2 of them its clock would be 3.5 GHz).
# GPUs: NVIDIA's data sheets of H100 SXM, H200 SXM and A100 SXM 80 GB, without sparsity,
# at their highest clock; spec as their CUDA device properties have it.
_HOPPER = (132, 50 * 2**20, 228 * 2**10, 227 * 2**10, 9)
_AMPERE = (108, 40 * 2**20, 164 * 2**10, 163 * 2**10, 8)
CHIPS: dict[str, Chip] = {
    "v5e": Chip("tpu", 16 * 2**30, 197e12, 819e9, 1.503e9, 2),
    "v5p": Chip("tpu", 95 * 2**30, 459e12, 2765e9, 1.751e9, 3),
    "v6e": Chip("tpu", 32 * 2**30, 918e12, 1640e9, 1.751e9, 2),
    "h100": Chip("gpu", 80 * 10**9, 989e12, 3350e9, 1.98e9, spec=_HOPPER),
    "h200": Chip("gpu", 141 * 10**9, 989e12, 4800e9, 1.98e9, spec=_HOPPER),
    "a100": Chip("gpu", 80 * 10**9, 312e12, 2039e9, 1.41e9, spec=_AMPERE),
}
KNOWN = "v5e:4x4, v5p:2x2x2, v6e:2x4, h100, h100:8, h200, a100, or more of these chips"


class Target(NamedTuple):
    """Devices that programs are compiled for.

    Attributes:
      name: "v5e:4x4", or "h100:8".
      chip: What each of them is.
      count: How many there are.
    """

    name: str
    chip: Chip
    count: int


class Report(NamedTuple):
    """What a compiler says of a program, on one device of its target.

    Attributes:
      arguments: Bytes of what the program is given, weights and data.
      temporaries: Bytes of what it needs while it runs, results and its code too.
      limit: Bytes that the compiler gives programs, where it said so; else those of
        the chip.
      flops: Operations of its products and convolutions (`operations.count`).
      accessed: Bytes that its operations read and write, as XLA counts them; on a GPU,
        where it counts none, as the text lists them.
      read: What its text says; `None` where it does not fit, and none was made.
    """

    arguments: int
    temporaries: int
    limit: int
    flops: float
    accessed: float
    read: compiled_text.Reading | None

    @property
    def total(self) -> int:
        """Bytes a device."""
        return self.arguments + self.temporaries

    @property
    def fits(self) -> bool:
        """Says whether a device holds it."""
        return self.read is not None and self.total <= self.limit


def named(name: str) -> Target:
    """Returns a target.

    Args:
      name: A chip of `CHIPS`, and how many of them: "v5e:4x4", "h100", "h100:8".

    Raises:
      ValueError: There is none of that name.
    """
    kind, _, shape = name.partition(":")
    chip = CHIPS.get(kind)
    one = "x".join(["1"] * chip.sides) if chip else ""
    sides = (shape or one).split("x")
    whole = all(re.fullmatch(r"[1-9]\d{0,3}", side) for side in sides)
    if chip is None or not whole or len(sides) != chip.sides:
        raise ValueError(f"a target must be one of {KNOWN}, got {name!r}")
    return Target(name, chip, math.prod(map(int, sides)))


@contextlib.contextmanager
def aimed(target: Target) -> Iterator[Sequence[Any]]:
    """Makes programs for a target while it lasts; yields its devices.

    Args:
      target: The target.

    Raises:
      ValueError: Its compiler is not installed, or does not know such a pod.
    """
    found = devices(target)
    with backend.aimed(target.chip.platform, found):
        yield found


def devices(target: Target) -> list:
    """Returns the devices of a target, as its compiler lists them.

    Args:
      target: The target.

    Raises:
      ValueError: Its compiler is not installed, or does not know such a pod.
    """
    tpu = target.chip.platform == "tpu"
    extra, what = ("tpu", "libtpu") if tpu else ("cuda13", "jax-cuda13-plugin")
    if not packages.version(what, absent=""):
        raise ValueError(
            f"a plan on {target.name} needs its compiler, got none; pip install "
            f"'jax[{extra}]' brings it (no device is needed)"
        )
    # No service of a cloud is asked, and no driver: nothing is going to run.
    os.environ.setdefault("TPU_SKIP_MDS_QUERY", "1")
    os.environ.setdefault("TPU_WORKER_HOSTNAMES", "localhost")
    os.environ.setdefault("ALLOW_MULTIPLE_LIBTPU_LOAD", "1")
    os.environ.setdefault("JAX_SKIP_CUDA_CONSTRAINTS_CHECK", "1")
    try:
        return list((_pod if tpu else _gpus)(target).devices)
    except (RuntimeError, ValueError) as error:
        told = " ".join(str(error).split())[:200]
        raise ValueError(
            f"a target must be one that its compiler knows, got {target.name!r} "
            f"({told}); known are {KNOWN}"
        ) from error


def _pod(target):
    kind, _, shape = target.name.partition(":")
    shape = shape or "x".join(["1"] * target.chip.sides)
    # A host has 2 x 2 chips, unless the pod has fewer: older compilers must be told so.
    host = [2 - int(side) % 2 for side in shape.split("x")[:2]] + [1]
    return topologies.get_topology_desc(
        platform="tpu", topology_name=f"{kind}:{shape}", chips_per_host_bounds=host
    )


def _gpus(target):
    return topologies.get_topology_desc(
        platform="cuda",
        topology_name=target.name.partition(":")[0],
        target_config=_gpu_text(target.chip),
        topology=f"1x1x{target.count}",
    )


def _gpu_text(chip):
    """Returns a GPU as XLA's text proto `GpuTargetConfigProto`."""
    cores, cache, shared, block, capability = chip.spec
    return f"""
    gpu_device_info {{
      threads_per_block_limit: 1024
      threads_per_warp: 32
      shared_memory_per_block: 49152
      shared_memory_per_core: {shared}
      threads_per_core_limit: 2048
      core_count: {cores}
      fpus_per_core: {128 if capability == 9 else 64}
      block_dim_limit_x: 2147483647
      block_dim_limit_y: 65535
      block_dim_limit_z: 65535
      memory_bandwidth: {int(chip.bandwidth)}
      l2_cache_size: {cache}
      clock_rate_ghz: {chip.clock / 1e9}
      device_memory_size: {chip.memory}
      shared_memory_per_block_optin: {block}
      cuda_compute_capability {{ major: {capability} }}
      registers_per_core_limit: 65536
      registers_per_block_limit: 65536
    }}
    platform_name: "CUDA"
    dnn_version_info {{ major: 9 }}
    """


def compile(  # noqa: A001
    target: Target, program: Any, shapes: tuple, *, cache: pathlib.Path | None = None
) -> Report:
    """Returns what a target's compiler says of a program.

    Args:
      target: The target.
      program: A function of `jax.jit`.
      shapes: Its arguments, each a tree of `jax.ShapeDtypeStruct` with shardings on the
        devices of the target.
      cache: A folder that keeps what was said, by program, target and versions; `None`
        for none.

    Raises:
      ValueError: The compiler refuses the program for another reason than its size.
    """
    traced = program.trace(*shapes)
    lowered = traced.lower()
    names = "jax", "jaxlib", *_COMPILERS
    versions = [packages.version(name, absent="") for name in names]
    # What is not in a program's text; JAX says its options in no public place.
    told = target, getattr(traced, "_params", {}).get("compiler_options_kvs")
    key = f"{_READER} {told} {versions} {lowered.as_text()}"
    name = hashlib.sha256(key.encode()).hexdigest()[:32]
    path = cache / f"{name}.json" if cache else None
    if path and path.exists():
        with contextlib.suppress(ValueError, TypeError, KeyError):
            return _from_json(path.read_text())
    flops = operations.count(traced.jaxpr)
    found = _compiled(target, lowered)._replace(flops=flops)
    if path:
        path.parent.mkdir(parents=True, exist_ok=True)
        with whole_files.writing(path) as partial:
            partial.write_text(json.dumps(found._asdict()))
    return found


_COMPILERS = ("libtpu", "jax-cuda13-plugin", "jax-cuda13-pjrt")


def _from_json(text):
    """Returns a report; raises `TypeError`, `KeyError` where it is none."""
    found = json.loads(text)
    if (read := found["read"]) is not None:
        cycles, loops, collectives, *more = read
        loops = tuple(compiled_text.Loop(*row) for row in loops)
        rows = tuple(compiled_text.Collective(*row) for row in collectives)
        found["read"] = compiled_text.Reading(cycles, loops, rows, *more)
    return Report(**found)


def _compiled(target, lowered):
    # JAX's own folder of compiled programs cannot keep those of absent devices.
    kept = jax.config.jax_enable_compilation_cache
    jax.config.update("jax_enable_compilation_cache", False)
    try:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            program = lowered.compile()
    except jax.errors.JaxRuntimeError as error:
        return _refused(target, str(error), error)
    finally:
        jax.config.update("jax_enable_compilation_cache", kept)
    read, costs = compiled_text.read(program.as_text()), program.cost_analysis() or {}
    sizes = program.memory_analysis()
    reused = sizes.output_size_in_bytes - sizes.alias_size_in_bytes
    more = sizes.temp_size_in_bytes + sizes.generated_code_size_in_bytes
    return Report(
        sizes.argument_size_in_bytes,
        reused + more,
        target.chip.memory,
        0.0,
        costs.get("bytes accessed") or read.accessed,
        read,
    )


def _refused(target, told, error):
    """Returns the report of a program that does not fit, by what its compiler says."""
    over = _OVER.search(told)
    if over is None:
        raise ValueError(
            f"the compiler of {target.name} must take the program, got "
            f"{' '.join(told.split())[:300]}"
        ) from error
    used, limit = (int(float(over[i]) * _UNITS[over[i + 1]]) for i in (1, 3))
    return Report(0, used, limit, 0.0, 0.0, None)


def seconds(target: Target, report: Report) -> tuple[float, str]:
    """Returns the seconds that a program takes, and whose estimate that is.

    On a TPU the cycles of the compiler's own model by the clock. On a GPU, whose
    compiler gives none, what the peak rates allow at the least,

        max(flops / rate, accessed / bandwidth)

    Collectives are in neither.

    Args:
      target: The target.
      report: Of a program that fits.
    """
    chip, read = target.chip, report.read
    if read is not None and read.cycles:
        return read.cycles / chip.clock, "by XLA's cycles"
    bound = max(report.flops / chip.flops, report.accessed / chip.bandwidth)
    return bound, "at the least, by the peak rates"
