"""For which platform a program is traced: an argument, never the default of the process that traces."""

from collections.abc import Sequence
from typing import Any

import jax

CPU, CUDA = "cpu", "cuda"


def of(devices: Sequence[Any] | None = None) -> str:
    """The platform, as ``lowering_platforms`` names it, of ``devices`` (JAX's default ones if left out).

    ``cpu``, ``cuda``, ``rocm`` or ``tpu``. The devices may be those of a topology that nobody has: programs are then
    compiled here for an accelerator that is elsewhere.
    """
    device = (jax.devices() if devices is None else devices)[0]
    if device.platform != "gpu":
        return device.platform
    made_by = f"{device.client.platform_version} {device.device_kind}".lower()
    return CUDA if CUDA in made_by or "nvidia" in made_by else "rocm"
