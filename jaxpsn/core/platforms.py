"""For which platform a program is traced: an argument, never the default of the process that traces."""

from collections.abc import Sequence
from typing import Any

import jax

CPU, CUDA = "cpu", "cuda"
DROPS_BARRIERS = jax.__version_info__ < (0, 11)
"""Whether XLA's CPU compiler of this JAX takes optimisation barriers out before it fuses: then they end no fusion."""


def barriers(platform: str) -> dict[str, str]:
    """Options of XLA, for a whole program, with which optimisation barriers end fusions on ``platform``.

    Empty where they do so by themselves. For ``jax.jit(compiler_options=...)`` of a program that no other one calls, or
    ``lowered.compile(compiler_options=...)``: JAX refuses them within a program.
    """
    return {"xla_disable_hlo_passes": "cse_barrier_expander"} if DROPS_BARRIERS and platform == CPU else {}


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
