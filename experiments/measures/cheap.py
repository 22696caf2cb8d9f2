"""Compiling made cheap, for smoke runs and tests, which ask the path, not the speed."""

import importlib.metadata
import os
import platform


def flags() -> str:
    """Returns flags of XLA with which a processor compiles in a third of the time.

    Not level 0: its programs of network slimming give NaN. At level 1 the LLVM of JAX
    0.10 aborts on the newest processors, whose instructions are left out.
    """
    found = ["--xla_backend_optimization_level=1"]
    if importlib.metadata.version("jaxlib").startswith("0.10."):  # 0.12 has it no more
        found.append("--xla_cpu_use_fusion_emitters=false")
        if platform.machine() == "x86_64":
            found.append("--xla_cpu_max_isa=AVX2")
    return " ".join(found)


def compile_so() -> None:
    """Has this process compile so, from before its first program; own flags win."""
    os.environ["XLA_FLAGS"] = f"{flags()} {os.environ.get('XLA_FLAGS', '')}".strip()
