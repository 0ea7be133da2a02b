"""The pages in a real browser that has no network."""

import html
import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from jaxpsn.report import build, viewer
from jaxpsn.report.control import rollout
from jaxpsn.stats import statistics

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
    made, page, picture = request.getfixturevalue(which), tmp_path / "rollout.html", tmp_path / "picture.png"
    page.write_text(viewer.render_html(made).replace("<script>", f"<script>{CLOCK}</script><script>"))
    dom = _run(chromium, page, tmp_path / "a", "--window-size=900,600", "--dump-dom")
    assert _data(dom) == {"frames": str(len(made["frames"])), "panels": "1", "ready": "true"}
    assert not re.search(r"<(script|link)[^>]*\s(src|href)=", dom)
    assert float(re.search(r'id="return">([\d.]+)<', dom)[1]) > 5, "time went on by itself"
    _run(chromium, page, tmp_path / "b", "--window-size=900,600", f"--screenshot={picture}")
    assert _colors(picture, (250, 100, 650, 500)) > 100, "the stage shows shaded bodies"


SEEK = """
const scrub = document.querySelector("#scrub"), notes = () => [...document.querySelectorAll(".label")];
const told = () => notes().map(note => [...note.querySelectorAll("b, span, em")].filter(part => !part.hidden)
  .map(part => part.textContent).join(" ")).join("; ");
const seek = to => { scrub.value = to; scrub.dispatchEvent(new Event("input")); draw(t); };
setPlaying(false);
seek(10); data.first = told();
seek(55); data.later = told();
const dial = document.querySelector("#levels input");
data.level = document.querySelector("#levels b").textContent;
dial.value = 0; dial.dispatchEvent(new Event("input")); data.other = document.querySelector("#levels b").textContent;
data.places = notes().map(note => note.style.left + " " + note.style.top).join("; ");
data.wide = document.documentElement.scrollWidth - innerWidth;
"""


def test_members_move_in_step_beside_the_clean_policy(chromium, beside, tmp_path):
    page = tmp_path / "rollout.html"
    done = 'panels: shown.length, ready: "true" });'
    script = f"{done} {{ const data = document.body.dataset; {SEEK} }}"
    page.write_text(viewer.render_html(beside("sigma 0", "sigma 0.1")).replace(done, script))
    said = _data(_run(chromium, page, tmp_path / "a", "--window-size=420,700", "--dump-dom"))
    assert said["panels"] == "3" and said["frames"] == "80"
    assert said["first"] == "clean 10.00; member 1 10.00; member 2 20.00"
    assert said["later"] == "clean 55.00; member 1 49.00; member 2 110"  # an episode that is over stands still
    assert (said["level"], said["other"]) == ("sigma 0.1", "sigma 0")
    assert len(set(said["places"].split("; "))) == 3 and int(said["wide"]) <= 0
    picture = tmp_path / "picture.png"
    _run(chromium, page, tmp_path / "b", "--window-size=420,700", f"--screenshot={picture}")
    for top in (70, 320):
        assert _colors(picture, (0, top, 420, top + 220)) > 60, "bodies in every row"


def test_the_page_of_members_has_charts_below(chromium, beside, tmp_path):
    page = tmp_path / "rollout.html"
    page.write_text(rollout.html(beside()), encoding="utf-8")
    dom = _run(chromium, page, tmp_path / "a", "--window-size=420,1600", "--dump-dom")
    assert _data(dom) == {"charts": "1", "ready": "true", "rollout-frames": "80"}
    assert dom.count('data-key="member ') == 2 and "action 2" in dom
    found = {}
    for theme, flags in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0", "--force-dark-mode"))):
        picture = tmp_path / f"{theme}.png"
        still = (*flags, "--force-prefers-reduced-motion")
        _run(chromium, page, tmp_path / theme, "--window-size=1000,1300", *still, f"--screenshot={picture}")
        with Image.open(picture) as image:
            found[theme] = [np.median(np.asarray(image.convert("L").crop((20, top, 980, top + 300)), float))
                            for top in (100, 850)]  # fmt: skip
    assert min(found["light"]) > 200 and max(found["dark"]) < 80, found


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


# What a reader does, and what is then to be seen: run in the page once it is ready, its answers read from its body.
LEGEND = """
const figure = document.querySelector("#chart-learning"), drawn = figure.querySelector("svg.wide"), answers = [];
const visible = () => [...document.querySelectorAll("[data-arm]:not(.off)")].filter(part => part.closest("svg.wide"));
const names = () => [...new Set(visible().map(part => part.dataset.arm))].sort().join(" ");
const key = figure.querySelector("[data-key=pink]");
data.before = names();
key.dispatchEvent(new MouseEvent("click", { detail: 1 }));
data.hidden = names();
key.dispatchEvent(new MouseEvent("click", { detail: 2 }));
data.alone = names();
data.pressed = document.querySelectorAll('#chart-coverage [aria-pressed=true]').length;
key.dispatchEvent(new MouseEvent("click", { detail: 2 }));
data.again = names();
"""
HOVER = """
const figure = document.querySelector("#chart-learning"), panel = figure.querySelector("svg.wide .panel");
figure.scrollIntoView();
const box = panel.querySelector(".field").getBoundingClientRect(), tip = figure.querySelector(".tip");
const at = { bubbles: true, clientX: box.left + 0.98 * box.width, clientY: box.top + 20 };
panel.querySelector(".field").dispatchEvent(new PointerEvent("pointermove", at));
data.tip = tip.hidden ? "" : tip.innerText.replace(/\\s+/g, " ");
figure.querySelector("svg.wide").dispatchEvent(new PointerEvent("pointerleave"));
data.gone = tip.hidden;
const finals = document.querySelector("#chart-finals"), other = finals.querySelector(".tip");
finals.querySelector("svg.wide [data-tip]").dispatchEvent(new PointerEvent("pointermove", at));
data.dot = other.innerText;
"""
SORT = """
const table = document.querySelector("#results table"), heads = [...table.tHead.rows[0].cells];
const column = heads.findIndex(head => head.innerText.startsWith("cells"));
const order = () => [...table.tBodies[0].rows].map(row => row.cells[0].innerText.split("\\n")[0].trim()).join(" ");
heads[column].querySelector("button").click();
data.down = order();
data.says = heads[column].getAttribute("aria-sort");
heads[column].querySelector("button").click();
data.up = order();
heads[0].querySelector("button").click();
data.names = order();
"""
SMALL = """
const texts = [...document.querySelectorAll("figure.chart svg text")].filter(text => text.checkVisibility());
const sizes = texts.map(text => parseFloat(getComputedStyle(text).fontSize) * text.getScreenCTM().a);
data.smallest = Math.min(...sizes).toFixed(2);
data.texts = texts.length;
const ends = texts.map(text => text.getBoundingClientRect());
data.beyond = ends.filter(end => end.left < -1 || end.right > innerWidth + 1).length;
data.page = document.documentElement.scrollWidth - innerWidth;
"""


@pytest.fixture(scope="module")
def sparse(studies, tmp_path_factory):
    """The page of a study of five arms."""
    return build.build(studies.realistic(tmp_path_factory.mktemp("study") / "sparse", seeds=5, points=21))


def _asked(chromium, page, folder, script, *flags) -> dict[str, str]:
    """What the body says after ``script`` ran in the page."""
    source = page.read_text(encoding="utf-8")
    ask = f'page.ready = "true"; {{ const data = page; {script} }}'
    changed = folder / "asked.html"
    changed.write_text(source.replace('page.ready = "true";', ask), encoding="utf-8")
    dom = _run(chromium, changed, folder / "profile", "--window-size=1280,1500", *flags, "--dump-dom")
    return {name: html.unescape(value) for name, value in _data(dom).items()}


def test_a_click_on_the_legend_hides_an_arm_in_every_chart(chromium, sparse, tmp_path):
    said = _asked(chromium, sparse, tmp_path, LEGEND)
    assert said["before"] == said["again"] == "gaussian none ou parameter pink"
    assert said["hidden"] == "gaussian none ou parameter" and said["alone"] == "pink" and said["pressed"] == "1"


def test_values_are_told_on_hover(chromium, sparse, tmp_path):
    said = _asked(chromium, sparse, tmp_path, HOVER)
    assert said["tip"].startswith("environment steps of a seed 200 k ") and said["gone"] == "true"
    for arm in build.results(sparse.parent).study.arms:
        band = statistics.curve(arm.run.series("eval_return").values, resamples=1000)
        told = re.search(rf"\b{arm.label} ([\d.]+) \[([\d.]+), ([\d.]+)\]", said["tip"])
        assert [float(one) for one in told.groups()] == pytest.approx([one[-1] for one in band], rel=1e-3)
    assert re.fullmatch(r"parameter: \d+", said["dot"])


def test_a_click_on_a_heading_sorts(chromium, sparse, studies, tmp_path):
    said = _asked(chromium, sparse, tmp_path, SORT)
    rows = studies.read_csv(sparse.parent / "table.csv")
    best = [row["arm"] for row in sorted(rows, key=lambda row: -float(row["coverage"]))]
    assert said["down"].split() == best and said["up"].split() == best[::-1] and said["says"] == "descending"
    assert said["names"].split() in (sorted(best), sorted(best)[::-1])


def test_charts_follow_the_theme(chromium, sparse, tmp_path):
    """The page is dark where the reader's system is, the charts with it."""
    found = {}
    for theme, flags in (("light", ()), ("dark", ("--blink-settings=preferredColorScheme=0", "--force-dark-mode"))):
        picture = tmp_path / f"{theme}.png"
        _run(chromium, sparse, tmp_path / theme, "--window-size=1280,1800", *flags, f"--screenshot={picture}")
        with Image.open(picture) as image:
            found[theme] = np.asarray(image.convert("L").crop((160, 980, 1120, 1480)), float)
    assert np.median(found["light"]) > 240 and np.median(found["dark"]) < 60
    assert (found["dark"] > 150).sum() > 500, "lines and text are bright there"


def test_charts_are_readable_on_a_phone(chromium, sparse, tmp_path):
    """In a window as wide as a phone: text of at least 11 pixels, nothing beyond the edge."""
    frame = tmp_path / "phone.html"
    script = f'page.ready = "true"; {{ const data = page; {SMALL} }}'
    source = sparse.read_text(encoding="utf-8").replace('page.ready = "true";', script).replace("frame-src about:", "")
    inner = html.escape(source, quote=True)
    size = "width:420px;height:900px;border:0"
    frame.write_text(f'<!DOCTYPE html><body><iframe style="{size}" srcdoc="{inner}"></iframe>'
                     "<script>onload = () => Object.assign(document.body.dataset, "
                     "document.querySelector('iframe').contentDocument.body.dataset)</script>")  # fmt: skip
    said = _data(_run(chromium, frame, tmp_path / "profile", "--window-size=1000,1000", "--dump-dom"))
    assert float(said["smallest"]) >= 10.9 and int(said["texts"]) > 100
    assert said["beyond"] == "0" and int(said["page"]) <= 0


def test_the_report_opens_with_its_plots_and_its_rollout(chromium, write_run, walker_rollout, tmp_path):
    page = build.build(write_run(tmp_path / "run", 3, rollout=walker_rollout))
    dom = _run(chromium, page, tmp_path / "a", "--window-size=1100,3400", "--dump-dom")
    picture = tmp_path / "picture.png"
    assert _data(dom) == {"charts": "3", "ready": "true", "rollout-frames": "120"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
    _run(chromium, page, tmp_path / "b", "--window-size=1100,3400", f"--screenshot={picture}")
    assert _colors(picture, (100, 850, 1000, 1350)) > 100, "the learning curve is seen"


def test_the_report_of_a_reasoning_run_opens_and_hostile_answers_stay_text(chromium, write_reasoning, tmp_path):
    folder = write_reasoning(tmp_path / "run", 20)
    hostile = "</pre><script>document.body.dataset.broken = 1</script><img src=x onerror=alert(1)>\x00\ud800\u202e"
    row = {"step": 1, "problem": hostile, "prompt": hostile, "text": hostile + "(" * 10**6, "reward": 0}
    (folder / "samples.jsonl").write_text(json.dumps(row) + "\n")
    page = build.build(folder)
    dom = _run(chromium, page, tmp_path / "a", "--window-size=1100,6000", "--dump-dom")
    assert _data(dom) == {"charts": "7", "ready": "true"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
    assert "&lt;script&gt;document.body" in dom and len(dom) < 5_000_000
    picture = tmp_path / "picture.png"
    _run(chromium, page, tmp_path / "b", "--window-size=1100,6000", f"--screenshot={picture}")
    assert _colors(picture, (100, 850, 1000, 1350)) > 100, "the curves of pass@k are seen"


def test_the_report_of_a_study_opens_with_its_table_and_plots(chromium, sparse, tmp_path):
    dom = _run(chromium, sparse, tmp_path / "a", "--window-size=1280,1500", "--dump-dom")
    assert _data(dom) == {"charts": "11", "ready": "true"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
    picture = tmp_path / "picture.png"
    _run(chromium, sparse, tmp_path / "b", "--window-size=1280,1500", f"--screenshot={picture}")
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
    assert _data(dom) == {"charts": "6", "ready": "true", "wide": "0"}
    assert not re.search(r'<(script|link|img|iframe)[^>]*\s(src|href)="(?!data:)', dom)
