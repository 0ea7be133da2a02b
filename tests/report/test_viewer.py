import copy
import json
import re

import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.report import viewer


def _held(page):
    return json.loads(re.search(r"const DATA = (.*);\n", page)[1])


def test_the_page_holds_the_rollout_and_nothing_from_outside(walker_rollout):
    page = viewer.render_html(walker_rollout)
    held = _held(page)
    (only,) = held["episodes"]
    assert len(viewer.poses(only)) == 120 and held["title"] == "Walker, clean policy"
    assert not re.search(r"<(script|link|img|iframe)[^>]*\s(src|href)=|https?://|@import|fetch\(|import\(", page)
    assert "default-src 'none'" in page


def test_poses_survive_rounding_and_what_does_not_move_is_stored_once(walker_rollout):
    packed, frames = viewer.pack(walker_rollout), np.array(walker_rollout["frames"])
    (only,) = json.loads(json.dumps(packed))["episodes"]
    # The world stands still, and of each of 9 bodies what would turn it out of its plane; the torso does not turn.
    assert only["kind"] == "i2" and not set(range(7)) & set(only["columns"]) and len(only["columns"]) == 2 + 8 * 4
    assert viewer.poses(only) == pytest.approx(frames, abs=0.6e-4)
    assert len(only["data"]) < 120 * 34 * 2 * 1.34


@pytest.mark.parametrize(("jump", "kind"), [(3.0, "i2"), (5.0, "i4"), (1e9, "f8")])
def test_large_jumps_take_larger_numbers(cartpole_rollout, jump, kind):
    rollout = copy.deepcopy(cartpole_rollout)
    rollout["frames"][7][1][0] += jump
    (only,) = viewer.pack(rollout)["episodes"]
    assert only["kind"] == kind and viewer.poses(only) == pytest.approx(np.array(rollout["frames"]), abs=1e-4)


def test_members_stand_beside_the_clean_policy(beside):
    packed = viewer.pack(beside("sigma 0", "sigma 0.1"))
    found = [(one["label"], one["level"], len(viewer.poses(one))) for one in packed["episodes"]]
    assert found[0] == ("clean", None, 80) and found[1:3] == [("member 1", 0, 50), ("member 2", 0, 60)]
    assert len(found) == 5 and packed["levels"] == ["sigma 0", "sigma 0.1"]
    colors = {one["label"]: one["color"] for one in packed["episodes"]}
    assert colors["clean"] == "ink" and len(set(colors.values())) == 3


def test_rewards_belong_to_the_frame_they_led_to(cartpole_rollout):
    assert viewer.pack(cartpole_rollout)["episodes"][0]["rewards"] == [0] + [1] * 79
    assert viewer.pack(cartpole_rollout | {"rewards": []})["episodes"][0]["rewards"] == [0] * 80


def test_text_of_the_rollout_cannot_leave_its_place(cartpole_rollout):
    page = viewer.render_html(cartpole_rollout | {"title": "</script><script>alert(1)</script>"})
    assert page.count("</script>") == 1 and _held(page)["title"].startswith("</script>")


def _set(*path, to):
    def change(rollout):
        place = rollout
        for key in path[:-1]:
            place = place[key]
        place[path[-1]] = to

    return change


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (_set("frames", to=[]), "frames"),
        (_set("frames", 3, 1, to=[0.0]), "frames"),
        (_set("frames", 3, 1, 2, to=float("nan")), "frames"),
        (_set("frames", to="many"), "frames"),
        (_set("bodies", to=None), "bodies"),
        (_set("bodies", 1, to="cart"), r"bodies\[1\]"),
        (_set("bodies", 1, "geoms", 0, "type", to="cone"), "type"),
        (_set("bodies", 1, "geoms", 0, "size", to=[0.1, -1, 0.1]), "size"),
        (_set("bodies", 1, "geoms", 0, "quat", to=[1, 0]), "quat"),
        (_set("bodies", 0, "geoms", 0, "type", to="polyline"), "points"),
        (_set("dt", to=0), "dt"),
        (_set("camera", "target_body", to=9), "target_body"),
        (_set("camera", "distance", to=-1), "distance"),
        (_set("rewards", to=[1.0]), "rewards"),
        (_set("terminated_at", to=80), "terminated_at"),
        (_set("members", to=[1]), r"members\[0\]"),
        (_set("members", to=[{"frames": []}]), r"members\[0\].frames"),
        (_set("members", to="all"), "members"),
        (_set("levels", to=3), "levels"),
    ],
)
def test_a_malformed_rollout_is_refused_in_one_line(cartpole_rollout, change, says):
    rollout = copy.deepcopy(cartpole_rollout)
    change(rollout)
    with pytest.raises(UserError, match=says) as caught:
        viewer.render_html(rollout)
    assert "\n" not in str(caught.value) and len(str(caught.value)) < 300


def test_a_file_that_is_no_rollout_is_named(tmp_path):
    (tmp_path / "rollout.json").write_text("[1")
    for path, says in ((tmp_path / "rollout.json", "JSON"), (tmp_path / "none.json", "cannot be read")):
        with pytest.raises(UserError, match=says) as caught:
            viewer.write(path, tmp_path / "page.html")
        assert path.name in str(caught.value)
    (tmp_path / "rollout.json").write_text("[1]")
    with pytest.raises(UserError, match="object"):
        viewer.load(tmp_path / "rollout.json")


def test_a_frame_alone_is_a_rollout(cartpole_rollout, tmp_path):
    still = cartpole_rollout | {"frames": cartpole_rollout["frames"][:1], "rewards": [], "terminated_at": None}
    (tmp_path / "rollout.json").write_text(json.dumps(still))
    viewer.write(tmp_path / "rollout.json", tmp_path / "page.html")
    (only,) = _held((tmp_path / "page.html").read_text())["episodes"]
    assert only["columns"] == [] and len(viewer.poses(only)) == 1
