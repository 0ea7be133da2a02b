"""Noise that moves a little at every decision, instead of being redrawn at once."""

from typing import Any

import jax.numpy as jnp

from jaxpsn.core import checks
from jaxpsn.core.errors import refuse
from jaxpsn.noise import inputs
from jaxpsn.noise.draws import Draw, draw_all, where_members
from jaxpsn.noise.structures import Structure


def drifted(kind: Structure, key: Any, draw: Any, where: Any, rho: float) -> Draw:
    """Every perturbation one decision on: ``rho E + sqrt(1 - rho^2) E'``, E' a fresh one; new for members ``where``.

    The entries keep unit variance, with autocorrelation ``rho ** lag``: a hold of ``1 / (1 - rho)`` decisions has the
    same spectrum. ``E'`` is what :meth:`Structure.redraw` of all members would draw, so that the price is that of one.
    Low-rank factors move by ``sqrt(rho)`` each; E stays of its rank. Raises UserError for a structure whose state is
    not of Gaussian numbers. Source: van Hoof, Tanneberg and Peters 2017 (doi 10.1007/s10994-017-5657-1).
    """
    inputs.typed_key(key)
    checks.real("rho", rho, 0.0, 1.0)
    if not kind.drifts:
        refuse("kind", kind, "a structure of Gaussian numbers")
    kind.check_own(draw)
    mask = inputs.mask("where", where, draw.number)
    counter = draw.counter + jnp.uint32(1)
    fresh = draw_all(kind, draw.spec, key, draw.number, counter)
    leaves = draw.spec.by_path
    moved = {path: kind.drift(leaves[path], old, fresh[path], rho) for path, old in draw.noise.items()}
    return draw.replace(counter=counter, noise=where_members(mask, fresh, moved))
