"""What programs are made for: the devices that are here, or those of a named target."""

import contextlib
import contextvars
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import jax


class Aim(NamedTuple):
    """Devices that need not be here, and what they are."""

    platform: str
    devices: tuple


_AIM: contextvars.ContextVar[Aim | None] = contextvars.ContextVar("aim", default=None)


@contextlib.contextmanager
def aimed(platform: str, devices: Sequence[Any]) -> Iterator[None]:
    """Makes programs, while it lasts, for devices that are known to a compiler only.

    They can be lowered and compiled, not run.

    Args:
      platform: "tpu" or "gpu".
      devices: What a topology of JAX lists.
    """
    token = _AIM.set(Aim(platform, tuple(devices)))
    try:
        yield
    finally:
        _AIM.reset(token)


def platform() -> str:
    """Returns "cpu", "gpu" or "tpu": what programs are made for."""
    aim = _AIM.get()
    return jax.default_backend() if aim is None else aim.platform


def devices() -> list:
    """Returns what a mesh is made of: by default, the devices of all processes."""
    aim = _AIM.get()
    return jax.devices() if aim is None else list(aim.devices)


def absent() -> bool:
    """Says whether programs are made for devices that are not here."""
    return _AIM.get() is not None
