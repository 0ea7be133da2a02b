"""Episodes side by side, as arrays and as a page: the clean policy, and perturbed members of it."""

import html
import json
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np

from jaxpsn.control import record
from jaxpsn.core import errors, files


class Rollout:
    """Episodes from one start; a notebook shows them moving, with a slider where there are several scales."""

    def __init__(self, recording: record.Recording):
        """``recording``: of :func:`jaxpsn.control.record.record`."""
        self.episodes = recording.episodes
        """The clean policy's first: ``label``, ``level`` (index of :attr:`scales`), and, frame by frame, ``obs``,
        ``actions``, ``clean`` (what the clean policy would have done in their place), ``rewards`` and ``poses``."""
        self.dt = recording.dt
        """Seconds between two frames."""
        self.scales = () if recording.crew is None else recording.crew.scales
        """Values of sigma (std) of the noise, one for each level."""
        self._recording = recording

    def __repr__(self) -> str:
        clean = self.episodes[0].rewards.sum()
        return f"Rollout({self._recording.name}, {len(self.episodes)} episodes, clean return {clean:.4g})"

    def at(self, level: int | None = None) -> tuple[record.Episode, ...]:
        """The members' episodes, at one level of the noise or at all."""
        return tuple(one for one in self.episodes[1:] if level is None or one.level == level)

    def distance(self, level: int | None = None) -> float:
        """Of executed from clean actions over the members' episodes: root mean square, or share of other choices.

        0 without members.
        """
        shown = self.at(level)
        acted, clean = ([getattr(one, name) for one in shown] for name in ("actions", "clean"))
        return float(self._recording.space.distance(*map(np.concatenate, (acted, clean)))) if shown else 0.0

    @cached_property
    def record(self) -> dict[str, Any]:
        """What ``rollout.json`` holds: plain numbers, with the scene."""
        return self._recording.rollout()

    def save(self, path: str | Path, **asked: Any) -> Path:
        """Write a page (.html), numbers (.json) or a moving picture (.gif, or .mp4 with the extra ``video``).

        ``asked``: of a .gif or .mp4, what :func:`jaxpsn.report.animation.frames` takes, such as ``seconds=4``. Raises
        :class:`jaxpsn.UserError`.
        """
        target = checked(path)
        if target.suffix in (".html", ".json") and asked:
            errors.refuse(next(iter(asked)), asked[next(iter(asked))], "of a .gif or .mp4 alone")
        target.parent.mkdir(parents=True, exist_ok=True)
        if target.suffix == ".html":
            files.write_atomically(target, self._page())
        elif target.suffix == ".json":
            files.write_atomically(target, json.dumps(self.record, separators=(",", ":")))
        else:
            from jaxpsn.report import animation

            animation.write(self.record, target, **asked)
        return target

    def _page(self) -> str:
        from jaxpsn.report.control import rollout

        return rollout.html(self.record)

    def _repr_html_(self) -> str:
        from jaxpsn.report import viewer

        page = html.escape(viewer.render_html(self.record), quote=True)
        look = "width:100%;height:560px;border:1px solid #8884;border-radius:10px"
        return f'<iframe title="rollout" style="{look}" srcdoc="{page}"></iframe>'


def checked(path: str | Path) -> Path:
    """A path whose name says what is written. Raises UserError for another."""
    target = Path(path)
    if target.suffix not in (".html", ".json", ".gif", ".mp4"):
        errors.refuse("path", str(path), "a name that ends in .html, .json, .gif or .mp4")
    return target
