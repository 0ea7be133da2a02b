"""Colours: how the power of noise is shared among components that are held for unequal times."""

import numpy as np
from scipy import optimize

from jaxpsn.core import checks

_PLACES = 4  # of a power: far below what a spectrum shows, far above what two libraries differ in


def ladder(shortest: float = 1.0, longest: float = 256.0, ratio: float = 4.0) -> tuple[float, ...]:
    """Mean holds ``shortest * ratio ** k``, in decisions, as far as ``longest``: by default 1, 4, 16, 64, 256."""
    steps = int(np.floor(np.log(longest / shortest) / np.log(ratio) + 1e-9))
    return tuple(float(shortest * ratio**step) for step in range(steps + 1))


def spectrum(holds: tuple[float, ...], powers: tuple[float, ...], frequency: np.ndarray) -> np.ndarray:
    """Power spectral density ``sum_k powers[k] S_k`` at ``frequency[F]``, in cycles a decision; white noise has 1.

    ``S_k = (1 - r^2) / (1 - 2 r cos(2 pi f) + r^2)`` with ``r = 1 - 1 / holds[k]``: a component that is redrawn with
    probability ``1 / holds[k]`` at every decision has the autocorrelation ``r ** lag``.
    """
    r = 1.0 - 1.0 / np.asarray(holds, np.float64)
    angle = 2.0 * np.pi * np.asarray(frequency, np.float64)[:, None]
    return (1.0 - r**2) / (1.0 - 2.0 * r * np.cos(angle) + r**2) @ np.asarray(powers, np.float64)


def band(holds: tuple[float, ...]) -> np.ndarray:
    """Frequencies ``[F]`` between the corners ``1 / (2 pi hold)`` of the longest and the shortest hold, log-spaced."""
    return np.geomspace(0.5 / (np.pi * max(holds)), 0.5 / (np.pi * min(holds)), 256)


def powers(beta: float, holds: tuple[float, ...]) -> tuple[float, ...]:
    """Shares of the variance, one for each hold, with which the sum's spectrum falls as ``f ** -beta`` in the band.

    They minimise ``sum_f (f^beta sum_k p_k S_k(f) - c)^2`` over the band, p >= 0 and ``sum_k p_k = 1`` (least squares
    of the relative error, S_k as in :func:`spectrum`). With ever more components this is ``p_k ~ hold_k^(beta - 1)``,
    as the integral of ``T^(beta-1) S_T(f)`` over log T is proportional to ``f^-beta`` for 0 < beta < 2: equal shares
    for pink noise. For a few, and at both ends, the fit corrects it: beta 0 leaves the shortest hold alone (white if
    that is one decision), beta 2 the longest alone (red, as noise that is held).
    Source: relaxation times spread evenly over the logarithm give 1/f noise (van der Ziel 1950, Physica 16, 359);
    sums of held numbers do (Voss, in Gardner 1978, Scientific American 238(4), 16).
    """
    checks.real("beta", beta, 0.0, 2.0)
    frequency = band(holds)
    each = np.stack([spectrum((hold,), (1.0,), frequency) for hold in holds], axis=1)
    relative = each * frequency[:, None] ** beta
    found, _ = optimize.nnls(relative / np.mean(relative), np.ones(len(frequency)))
    found = np.round(found / found.sum(), _PLACES)
    return tuple(float(share) for share in found / found.sum())


def slope(frequency: np.ndarray, density: np.ndarray) -> float:
    """Exponent of a power law through a spectrum ``density[F]``, by least squares in the logarithms of both."""
    return float(np.polyfit(np.log(frequency), np.log(density), 1)[0])
