"""What a compiler is told beside the program, by the backend it compiles for."""

from typing import Any

import jax

from lthjax.devices import backend, cpu_convolutions

# KiB of a core's own memory (128 MiB) that one operation may take, in place of 16 MiB.
# XLA fuses more then, and keeps more of what goes from layer to layer off the slow
# memory: two blocks of ResNet-50's first stage, forward and back in bfloat16, have 7 %
# fewer cycles by its own model, and read and write 21 % less; twice as much saves
# another 3 % of the cycles. It takes half as long again to compile, for which
# ResNet-20, whose layers fit as it is, has 0.5 % fewer cycles. In float32 ResNet-18
# has 6 % more.
ROOM = dict.fromkeys(("TPU v5 lite", "TPU v5e", "TPU v6 lite", "TPU v6e"), 32768)

SMALL = 1_000_000  # weights


def options(
    params: Any, *, dtype: str = "float32", deterministic: bool = False
) -> dict[str, Any]:
    """Returns the options to compile a network's training with.

    Args:
      params: Weights of one network, or their shapes.
      dtype: What it computes in.
      deterministic: Whether a GPU must sum in one order.

    Returns:
      For `jax.jit(compiler_options=)`. On a CPU those of
      `cpu_convolutions.compiler_options`; on a TPU, in bfloat16, of a network with
      convolutions that has more than `SMALL` weights, how much of a core's memory an
      operation may take, where that is known (`ROOM`).
    """
    platform = backend.platform()
    if platform == "gpu":
        return {"xla_gpu_deterministic_ops": True} if deterministic else {}
    if platform == "tpu":
        room = ROOM.get(backend.devices()[0].device_kind)
        leaves = jax.tree.leaves(params)
        large = sum(leaf.size for leaf in leaves) > SMALL and dtype == "bfloat16"
        asked = large and any(leaf.ndim == 4 for leaf in leaves)
        return {"xla_tpu_scoped_vmem_limit_kib": room} if room and asked else {}
    return cpu_convolutions.compiler_options(params)
