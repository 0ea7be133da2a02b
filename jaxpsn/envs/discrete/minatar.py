"""The five MinAtar games, as pgx has them (the extra ``minatar``)."""

import importlib
import importlib.util
from dataclasses import dataclass
from typing import Any, ClassVar

from jaxpsn.core import errors
from jaxpsn.core.fields import Fraction
from jaxpsn.envs import foreign
from jaxpsn.envs.family import ENVS, Environment


@dataclass(frozen=True)
class MinAtar(Environment):
    """What the games share; they have no time limit, so 10,000 steps are ours."""

    limit = 10_000
    game: ClassVar[str]
    """The module of the package pgx_minatar."""
    kind: ClassVar[str]
    """Its class."""

    sticky: Fraction = 0.1
    """Chance that the last action is repeated in place of the one that is chosen."""
    minimal: bool = True
    """Only the actions that do something in this game, in place of all six."""

    def make(self, **options: Any) -> foreign.Pgx:
        """The game; it has no other options. Raises UserError where pgx or pgx-minatar is not installed."""
        name = f"minatar/{self.game}"
        for part in ("pgx", "pgx_minatar"):
            if importlib.util.find_spec(part) is None:
                raise errors.UserError(f"env.name = {name!r}: {part} is not installed; the extra: jaxpsn[minatar]")
        kind = getattr(importlib.import_module(f"pgx_minatar.{self.game}"), self.kind)
        made = kind(sticky_action_prob=self.sticky, use_minimal_action_set=self.minimal, **options)
        return foreign.Pgx(made, name)


@ENVS.register("minatar/asterix")
@dataclass(frozen=True)
class Asterix(MinAtar):
    """MinAtar's Asterix by pgx: collect treasure (+1), avoid enemies, of which one ends the episode.

    Images [10, 10, 4], flattened. pgx is a reimplementation of Young and Tian 2019 (arXiv 1903.03176), version 1.
    """

    game, kind = "asterix", "MinAtarAsterix"


@ENVS.register("minatar/breakout")
@dataclass(frozen=True)
class Breakout(MinAtar):
    """MinAtar's Breakout by pgx: +1 for every brick; a missed ball ends the episode.

    Images [10, 10, 4], flattened. pgx is a reimplementation of Young and Tian 2019 (arXiv 1903.03176), version 1.
    """

    game, kind = "breakout", "MinAtarBreakout"


@ENVS.register("minatar/freeway")
@dataclass(frozen=True)
class Freeway(MinAtar):
    """MinAtar's Freeway by pgx: +1 for every crossing; the game itself ends after 2500 steps.

    Images [10, 10, 7], flattened. pgx is a reimplementation of Young and Tian 2019 (arXiv 1903.03176), version 1.
    """

    game, kind = "freeway", "MinAtarFreeway"


@ENVS.register("minatar/seaquest")
@dataclass(frozen=True)
class Seaquest(MinAtar):
    """MinAtar's Seaquest by pgx: shoot and rescue under water, with oxygen that runs out.

    Images [10, 10, 10], flattened. pgx is a reimplementation of Young and Tian 2019 (arXiv 1903.03176), version 1.
    """

    game, kind = "seaquest", "MinAtarSeaquest"


@ENVS.register("minatar/space_invaders")
@dataclass(frozen=True)
class SpaceInvaders(MinAtar):
    """MinAtar's Space Invaders by pgx: +1 for every alien; one that arrives, or a hit, ends the episode.

    Images [10, 10, 6], flattened. pgx is a reimplementation of Young and Tian 2019 (arXiv 1903.03176), version 1.
    """

    game, kind = "space_invaders", "MinAtarSpaceInvaders"
