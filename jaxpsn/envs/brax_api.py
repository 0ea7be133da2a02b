"""Brax's interface, imported in silence: MJX prints while it looks for warp, and Brax still imports retired JAXopt."""

from jaxpsn.envs import brax_door

with brax_door.quiet():
    from brax.base import Transform
    from brax.envs.base import Env, State

__all__ = ["Env", "State", "Transform"]
