"""What of JAX's own settings decides random bits, fixed: a seed draws the same answers on any machine and day."""

import jax

FIXED = {"jax_default_prng_impl": "threefry2x32", "jax_threefry_partitionable": True}
"""Settings that the environment (JAX_DEFAULT_PRNG_IMPL and the like) could change between start and resume."""


def fix() -> None:
    """Set them, whatever the environment says."""
    for name, value in FIXED.items():
        if hasattr(jax.config, name):
            jax.config.update(name, value)
