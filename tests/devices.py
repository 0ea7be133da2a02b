"""Environments of processes that tests start."""

import os


def environment(devices: int = 1) -> dict[str, str]:
    """Of one with so many CPU devices, which compiles as this process does and shares its cache of programs."""
    flags = f"{os.environ.get('XLA_FLAGS', '')} --xla_force_host_platform_device_count={devices}"
    cached = {"JAX_PERSISTENT_CACHE_MIN_COMPILE_TIME_SECS": "0", "JAX_PERSISTENT_CACHE_MIN_ENTRY_SIZE_BYTES": "-1"}
    return os.environ | cached | {"XLA_FLAGS": flags, "JAX_PLATFORMS": "cpu"}
