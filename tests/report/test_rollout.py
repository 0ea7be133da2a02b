"""The page of members side by side, and the same as a moving picture."""

import builtins
import html
import json

import numpy as np
import pytest
from PIL import Image

from jaxpsn.core.errors import UserError
from jaxpsn.report import animation, build
from jaxpsn.report.control import rollout


def test_the_chart_holds_the_actions_of_everybody_over_time(beside):
    made = beside("sigma 0", "sigma 0.2", "sigma 0.4")
    chart = rollout.chart(made)
    assert "at sigma 0.2" in chart.finding and "2 beside it" in chart.finding
    first, second = chart.panels
    lines = {line.label: line for line in first.layers}
    assert set(lines) == {"clean", "member 1", "member 2"} and lines["clean"].color == "ink"
    np.testing.assert_allclose(lines["member 2"].y, np.sin(0.1 * np.arange(59) + 2))
    np.testing.assert_allclose(lines["clean"].x, 0.04 * np.arange(79))
    assert {float(line.y[0]) for line in second.layers} == {0.0, 0.5}, "those of the level that is shown"


def test_long_episodes_and_many_dimensions_are_cut_and_it_is_said(beside):
    made = beside()
    for one in (made, *made["members"]):
        one["frames"] = [made["frames"][0]] * 301
        one |= {"actions": [[0.0] * 9] * 300, "rewards": [], "terminated_at": None}
    chart = rollout.chart(made)
    assert len(chart.panels) == 6 and len(chart.panels[0].layers[0].x) == 200
    assert "first 6 of 9" in chart.caption and "first 8 of 12 seconds" in chart.caption


def test_one_episode_has_no_chart(cartpole_rollout):
    assert rollout.chart(cartpole_rollout) is None
    assert "<iframe" not in rollout.html(cartpole_rollout)


def test_run_folders_have_a_page_of_their_own_and_the_same_in_the_report(write_run, beside, tmp_path):
    report = build.build(write_run(tmp_path / "run", rollout=beside()))
    page = (tmp_path / "run" / "rollout.html").read_text()
    for source in (page, report.read_text()):
        assert source.count('class="tall" title="The rollout"') == 1 and 'id="chart-actions"' in source
        assert "default-src 'none'" in source and "http" not in html.unescape(source).replace("http-equiv", "")
    assert len(page) < 130_000


@pytest.mark.parametrize("actions", [[], "none", [[1.0], [2.0, 3.0]]])
def test_actions_that_are_none_are_refused_or_left_out(beside, actions):
    made = beside()
    made["members"][0]["actions"] = actions
    if actions == []:
        assert rollout.chart(made) is None
        return
    with pytest.raises(UserError, match=r"members\[0\].actions") as caught:
        rollout.chart(made)
    assert "\n" not in str(caught.value)


def test_a_gif_moves_and_shows_everybody(beside, walker_rollout, tmp_path):
    path = animation.write(beside(), tmp_path / "made.gif", panel=(120, 90), seconds=1.0, rate=5.0)
    with Image.open(path) as image:
        assert image.size == (360, 110) and image.n_frames == 6
        begin = np.asarray(image.convert("RGB"), int)
        image.seek(5)
        moved = np.abs(np.asarray(image.convert("RGB"), int) - begin).sum(axis=2) > 60
    for panel in range(3):
        assert moved[20:, 120 * panel : 120 * panel + 120].sum() > 30
    first = next(animation.frames(walker_rollout, panel=(300, 220), zoom=1.5))
    assert len(first.getcolors(1 << 20)) > 100, "ground, shaded capsules and a head"


def test_every_shape_is_drawn(cartpole_rollout):
    sizes = {"sphere": [0.2], "capsule": [0.1, 0.2], "cylinder": [0.1, 0.2], "box": [0.1, 0.1, 0.2], "polyline": []}
    for kind, size in sizes.items():
        geom = {"type": kind, "size": size, "points": [[-1, 0, 0], [0, 0, 1]], "color": [0.8, 0.1, 0.1, 1]}
        bare = [{"name": "none", "geoms": []}] * 2
        made = cartpole_rollout | {"bodies": [{"name": "world", "geoms": [geom]}, *bare]}
        red, green, _ = np.asarray(next(animation.frames(made)), float).transpose(2, 0, 1)
        assert (red > 1.6 * green).sum() > 150, kind


def test_mp4_is_an_extra(beside, tmp_path, monkeypatch):
    load = builtins.__import__

    def missing(name, *rest):
        if name.startswith("imageio"):
            raise ImportError(name)
        return load(name, *rest)

    monkeypatch.setattr(builtins, "__import__", missing)
    with pytest.raises(UserError, match=r"extra video: pip install 'jaxpsn\[video\]'"):
        animation.write(beside(), tmp_path / "made.mp4")
    with pytest.raises(UserError, match=r"ends in \.gif or \.mp4"):
        animation.write(beside(), tmp_path / "made.avi")
    assert not list(tmp_path.iterdir())


def test_an_mp4_is_written_where_it_is_installed(beside, tmp_path):
    pytest.importorskip("imageio_ffmpeg")
    path = animation.write(beside(), tmp_path / "made.mp4", panel=(120, 100), seconds=1.0)
    assert path.read_bytes()[4:8] == b"ftyp" and [made.name for made in tmp_path.iterdir()] == ["made.mp4"]


def test_rollouts_of_json_are_drawn_as_they_were(beside):
    made = beside("sigma 0")
    one, other = (next(animation.frames(each)).tobytes() for each in (made, json.loads(json.dumps(made))))
    assert one == other
