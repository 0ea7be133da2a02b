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


_GAMES = {
    "asterix": (4, "collect treasure (+1), and avoid enemies, of which one ends the episode"),
    "breakout": (4, "+1 for every brick; a missed ball ends the episode"),
    "freeway": (7, "+1 for every crossing; the game itself ends after 2500 steps"),
    "seaquest": (10, "shoot and rescue under water, with oxygen that runs out"),
    "space_invaders": (6, "+1 for every alien; one that arrives, or a hit, ends the episode"),
}
"""Game -> channels of its images, and what it is about."""
_DOC = """MinAtar's {title} by pgx: {about}.

Images [10, 10, {channels}], flattened. pgx is a reimplementation of Young and Tian 2019 (arXiv 1903.03176), version 1.
"""
for _game, (_channels, _about) in _GAMES.items():
    _title = _game.replace("_", " ").title()
    _fields = {"__doc__": _DOC.format(title=_title, about=_about, channels=_channels), "__module__": __name__}
    _fields |= {"game": _game, "kind": f"MinAtar{_title.replace(' ', '')}"}
    ENVS.register(f"minatar/{_game}")(dataclass(frozen=True)(type(_title.replace(" ", ""), (MinAtar,), _fields)))
