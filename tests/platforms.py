"""Programs lowered for platforms that are not here."""

import re

import jax

PLATFORMS = ("tpu", "cuda")
# What JAX may call there; `jax.export` refuses what it does not know by itself.
ALLOWED = {
    "Sharding",
    "SPMDFullToShardShape",
    "SPMDShardToFullShape",
    "cu_threefry2x32",
}
ALLOWED |= {"mhlo.topk", "tpu_custom_call", "cu_threefry2x32_ffi"}


def exported(program, *args, **options):
    """Returns the text of a program for both, which calls nothing of a CPU's."""
    text = jax.export.export(program, platforms=PLATFORMS)(
        *args, **options
    ).mlir_module()
    called = set(re.findall(r"custom_call @([\w.$]+)", text))
    called |= set(re.findall(r'call_target_name = "([^"]+)"', text))
    assert called <= ALLOWED
    return text
