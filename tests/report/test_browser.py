"""The pages in a real browser that has no network."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxpsn.report import build as report
from jaxpsn.report import viewer
from jaxpsn.report.reasoning_study import build
from jaxpsn.report.study import build as study

NAMES = ("chromium", "chromium-browser", "google-chrome", "google-chrome-stable", "chrome")
FLAGS = (
    "--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run",
    "--disable-background-networking", "--disable-component-update", "--disable-sync",
    "--hide-scrollbars", "--host-resolver-rules=MAP * ~NOTFOUND",
    "--virtual-time-budget=3000", "--enable-logging=stderr",
)  # fmt: skip

pytestmark = pytest.mark.browser


@pytest.fixture(scope="module")
def chromium():
    found = next(filter(None, map(shutil.which, NAMES)), None)
    if found is None:
        reason = f"no Chromium: none of {', '.join(NAMES)} is on PATH"
        if os.environ.get("JAXPSN_REQUIRE_BROWSER") == "1":
            pytest.fail(reason)
        pytest.skip(reason)
    return found


def _run(chromium, page: Path, profile: Path, *what: str) -> str:
    command = [chromium, *FLAGS, f"--user-data-dir={profile}", *what, page.as_uri()]
    done = subprocess.run(command, capture_output=True, text=True, timeout=120)
    assert done.returncode == 0, done.stderr
    complaints = [line for line in done.stderr.splitlines() if "CONSOLE" in line]
    assert not complaints, complaints
    return done.stdout


def _data(dom: str) -> dict[str, str]:
    body = re.search(r"<body([^>]*)>", dom)
    return dict(re.findall(r'data-([\w-]+)="([^"]*)"', body[1]))


def _colors(picture: Path, box: tuple[int, int, int, int]) -> int:
    with Image.open(picture) as image:
        return len(image.convert("RGB").crop(box).getcolors(1 << 24))


# Headless Chromium draws few frames of its virtual time, and not always as many: a timer in place of its frames does.
CLOCK = "window.requestAnimationFrame = tick => setTimeout(() => tick(performance.now()), 20);"


@pytest.mark.parametrize("which", ["walker_rollout", "cartpole_rollout"])
def test_the_rollout_plays(chromium, which, request, tmp_path):
    rollout, page, picture = request.getfixturevalue(which), tmp_path / "rollout.html", tmp_path / "picture.png"
    page.write_text(viewer.render_html(rollout).replace("<script>", f"<script>{CLOCK}</script><script>"))
    dom = _run(chromium, page, tmp_path / "a", "--window-size=900,600", "--dump-dom")
    assert _data(dom) == {"frames": str(len(rollout["frames"])), "ready": "true"}
    assert not re.search(r"<(script|link)[^>]*\s(src|href)=", dom)
    assert float(re.search(r'id="return">([\d.]+)<', dom)[1]) > 5, "time went on by itself"
    _run(chromium, page, tmp_path / "b", "--window-size=900,600", f"--screenshot={picture}")
    assert _colors(picture, (250, 100, 650, 500)) > 100, "the stage shows shaded bodies"


SIZES = {"sphere": [0.2], "capsule": [0.1, 0.2], "cylinder": [0.1, 0.2], "box": [0.1, 0.1, 0.2], "polyline": []}


@pytest.mark.parametrize("kind", SIZES)
def test_every_shape_is_drawn(chromium, kind, cartpole_rollout, tmp_path):
    points = [[-1, 0, 0], [0, 0, 1], [1, 0, 0]]
    geom = {"type": kind, "size": SIZES[kind], "points": points, "color": [0.8, 0.1, 0.1, 1]}
    bare = [{"name": "none", "geoms": []}] * 2
    page, picture = tmp_path / "page.html", tmp_path / "picture.png"
    page.write_text(viewer.render_html(cartpole_rollout | {"bodies": [{"name": "world", "geoms": [geom]}, *bare]}))
    _run(chromium, page, tmp_path / "profile", "--window-size=500,400", f"--screenshot={picture}")
    with Image.open(picture) as image:
        red, green, blue = np.asarray(image.convert("RGB").crop((100, 60, 400, 340)), float).transpose(2, 0, 1)
    assert (red > 1.6 * np.maximum(green, blue)).sum() > 300


def test_the_report_opens_with_its_plots_and_its_rollout(chromium, write_run, walker_rollout, tmp_path):
    page = report.build(write_run(tmp_path / "run", 3, rollout=walker_rollout))
    dom = _run(chromium, page, tmp_path / "a", "--window-size=1100,3400", "--dump-dom")
    picture = tmp_path / "picture.png"
    assert _data(dom) == {"images": "3", "ready": "true", "rollout-frames": "120"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
    _run(chromium, page, tmp_path / "b", "--window-size=1100,3400", f"--screenshot={picture}")
    assert _colors(picture, (100, 850, 1000, 1350)) > 100, "the learning curve is seen"


def test_the_report_of_a_reasoning_run_opens_and_hostile_answers_stay_text(chromium, write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 20)
    hostile = "</pre><script>document.body.dataset.broken = 1</script><img src=x onerror=alert(1)>\x00\ud800\u202e"
    row = {"step": 1, "problem": hostile, "prompt": hostile, "text": hostile + "(" * 10**6, "reward": 0}
    (folder / "samples.jsonl").write_text(json.dumps(row) + "\n")
    page = report.build(folder)
    dom = _run(chromium, page, tmp_path / "a", "--window-size=1100,6000", "--dump-dom")
    assert _data(dom) == {"images": "7", "ready": "true"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
    assert "&lt;script&gt;document.body" in dom and len(dom) < 5_000_000
    picture = tmp_path / "picture.png"
    _run(chromium, page, tmp_path / "b", "--window-size=1100,6000", f"--screenshot={picture}")
    assert _colors(picture, (100, 850, 1000, 1350)) > 100, "the curves of pass@k are seen"


def test_the_report_of_a_study_opens_with_its_table_and_plots(chromium, studies, tmp_path):
    page = study.build(studies.realistic(tmp_path / "sparse", seeds=5, points=21))
    dom = _run(chromium, page, tmp_path / "a", "--window-size=1280,1500", "--dump-dom")
    assert _data(dom) == {"images": "11", "ready": "true"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
    picture = tmp_path / "picture.png"
    _run(chromium, page, tmp_path / "b", "--window-size=1280,1500", f"--screenshot={picture}")
    assert _colors(picture, (150, 980, 1130, 1480)) > 100, "the learning curves are seen"


def test_the_report_of_a_reasoning_study_opens_and_its_tables_fit(chromium, reasoning_studies, tmp_path):
    arms = {name: reasoning_studies.ARMS[name] for name in ("grpo", "psn", "psn-composite")}
    folder = reasoning_studies.simulate(tmp_path / "deep", arms, ["countdown"], seeds=2, problems=12, steps=8)
    page = build.build(folder)
    source = page.read_text(encoding="utf-8")
    wide = "document.body.dataset.wide = [...document.querySelectorAll('.scroll')].filter(x => x.offsetParent &&"
    probe = f"{wide} x.scrollWidth > x.clientWidth + 1).length;"
    page.write_text(source.replace('page.ready = "true";', f'page.ready = "true"; {probe}'), encoding="utf-8")
    dom = _run(chromium, page, tmp_path / "a", "--window-size=1280,1500", "--dump-dom")
    assert _data(dom) == {"images": "6", "ready": "true", "wide": "0"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
