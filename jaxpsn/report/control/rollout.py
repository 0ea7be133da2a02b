"""The page of a rollout: the viewer, and below it what the members did, over time."""

from collections.abc import Mapping
from typing import Any

import numpy as np
from markupsafe import Markup

from jaxpsn.report import page, viewer
from jaxpsn.report.charts import look
from jaxpsn.report.charts.spec import Axis, Chart, Line, Panel

_DIMENSIONS = 6  # of an action, at most; more would fill the page
_FRAMES = 200  # of an episode, at most: a longer one would be a grey band


def chart(rollout: Mapping[str, Any]) -> Chart | None:
    """The actions of everybody over time, at the middle level of the noise; None if nobody but the clean policy acts.

    Raises UserError for a malformed rollout.
    """
    packed, members = viewer.pack(rollout), rollout.get("members", [])
    level = len(packed["levels"]) // 2
    shown = [rollout, *(one for one in members if one.get("level", 0) == level)]
    if len(shown) < 2 or not all(one.get("actions") for one in shown):
        return None
    colors, dt, choices = viewer.looks(rollout), packed["scene"]["dt"], rollout.get("choices")
    choices = choices if choices is None else int(viewer.array("rollout.choices", choices, ()))
    height = Axis("", low=-1.05, high=1.05) if choices is None else Axis("", low=-0.5, high=choices - 0.5)
    acted = {}
    for index, one in enumerate(shown):
        field = "rollout" if index == 0 else f"rollout.members[{members.index(one)}]"
        shape = (None, None) if choices is None else (None,)
        found = viewer.array(f"{field}.actions", one["actions"], shape)
        acted[str(one.get("label", "clean"))] = found.reshape(len(found), -1)
    size = min(actions.shape[1] for actions in acted.values())
    panels = []
    for dimension in range(min(size, _DIMENSIONS)):
        lines = [_line(label, actions[:, dimension], dt, colors[label]) for label, actions in acted.items()]
        across = Axis("seconds" if dimension >= min(size, _DIMENSIONS) - 2 else "")
        panels.append(Panel(lines[::-1], across, height, f"action {dimension + 1}", height=1.3))
    told = f" at {packed['levels'][level]}" if packed["levels"] and packed["levels"][level] else ""
    finding = f"Actions of the clean policy and {len(acted) - 1} beside it, from one start{told}"
    longest = max(map(len, acted.values()))
    more = f" The first {_DIMENSIONS} of {size} are shown." if size > _DIMENSIONS else ""
    more += f" The first {_FRAMES * dt:.3g} of {longest * dt:.3g} seconds are shown." if longest > _FRAMES else ""
    what = "in [-1, 1]" if choices is None else f"one of the {choices} choices from 0 on"
    caption = f"What was executed, {what}. A line ends where its episode did." + more
    return Chart("actions", finding, caption, panels, columns=2 if len(panels) > 1 else 1)


def blocks(rollout: Mapping[str, Any]) -> list[page.Block]:
    """The viewer, and where there are members their charts, as parts of a page. Raises UserError on a malformed one."""
    acted = chart(rollout)
    frame = page.Frame("The rollout", viewer.render_html(rollout), bool(rollout.get("members")))
    return [frame] if acted is None else [frame, page.drawn(acted)]


def html(rollout: Mapping[str, Any]) -> str:
    """The whole page: the viewer alone for one episode, else with charts below. Raises UserError on a malformed one."""
    found = blocks(rollout)
    if len(found) == 1:
        return viewer.render_html(rollout)
    title = str(rollout.get("title") or rollout.get("name"))
    return page.templates().get_template("rollout.html").render(title=title, colors=Markup(look.css()), blocks=found)


def _line(label: str, actions: np.ndarray, dt: float, color: str) -> Line:
    shown = actions[:_FRAMES]
    return Line(dt * np.arange(len(shown)), shown, color, label, width=1.3 if color != "ink" else 1.9)
