"""Parameter-space noise in JAX: the noise heart, off-policy control, and what they stand on."""

__version__ = "0.1.0"
