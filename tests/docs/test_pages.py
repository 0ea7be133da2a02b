"""The pages name what there is, their tables are those of the files, and what they link to exists."""

import re
from pathlib import Path

import pytest
from _make import api, figures, markdown, methods, tables

from jaxpsn.control.bonus.family import BONUSES
from jaxpsn.control.exploration.family import EXPLORATION
from jaxpsn.control.presets import PRESETS
from jaxpsn.rlvr.objective.algorithms import LOSSES
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.study.control import arms, presets
from jaxpsn.study.reasoning.arms import VARIANTS
from jaxpsn.tasks.problem import TASKS
from tests.core import toys

ROOT = Path(__file__).resolve().parents[2]
PAGES = sorted((ROOT / "docs").rglob("*.md"))
TEXT = "\n".join(page.read_text() for page in PAGES)


def _name(path):
    return str(path.relative_to(ROOT))


@pytest.mark.parametrize("page", [page for page in PAGES if "<!-- table" in page.read_text()], ids=_name)
def test_tables_are_those_of_the_files(page):
    text = page.read_text()
    assert tables.render(text) == text, "run: python docs/_make/tables.py"
    assert text.count("<!-- table ") == text.count("<!-- /table -->")


def test_every_kind_of_table_is_on_a_page():
    used = set(re.findall(r"<!-- table ([\w-]+)", TEXT))
    assert used == set(tables.TABLES)


def test_a_change_of_a_file_changes_its_table(monkeypatch):
    before = tables.table("ratios replay")
    changed = [row | {"ratio": "9.87"} for row in tables.rows("replay.csv")]
    monkeypatch.setattr(tables, "rows", lambda file: changed)
    assert "9.87" in tables.table("ratios replay") and "9.87" not in before


def test_presets_rules_tasks_losses_and_arms_are_named():
    told = (
        *PRESETS,
        *EXPLORATION.names(),
        *BONUSES.names(),
        *RLVR_PRESETS,
        *TASKS.names(),
        *LOSSES.kinds,
        *VARIANTS,
        *presets.PRESETS,
        *arms.names(),
    )
    for name in told:
        assert f"`{name}`" in TEXT, name


@pytest.mark.parametrize("page", PAGES, ids=_name)
def test_files_that_pages_link_to_exist(page):
    for target in re.findall(r"\]\(((?!https?:|#)[^)#]+)", page.read_text()):
        generated = (page.parent / target).resolve()
        made = {(ROOT / "docs" / uri).resolve() for uri in api.pages()}
        assert generated.exists() or generated in made, target


def test_charts_stand_in_their_page_and_take_its_colours():
    """An image of an SVG becomes the drawing, under the words of the page; the style sheet has all of its colours."""
    source = (ROOT / "results" / "acting.svg").read_text()
    page = figures.inline(
        '<p><img alt="a &amp; b" src="x/acting.svg" /> <img alt="c" src="c.gif" /></p>', lambda _: source
    )
    assert page.count("<svg ") == source.count("<svg ") and 'src="c.gif"' in page and "acting.svg" not in page
    assert (
        "<style" not in page and 'aria-label="a &amp; b"' in page and "width=" not in re.search("<svg [^>]*>", page)[0]
    )
    day, _, night = figures.style().partition("[data-md-color-scheme=slate]")
    for color in set(re.findall(r"var\(--(\w+)\)", page)):
        assert f"--{color}:#" in day and f"--{color}:#" in night


def test_no_figure_of_a_page_is_white_in_the_dark():
    """Pictures that pages show are charts, which follow the theme, or films."""
    for page in (ROOT / "README.md", *PAGES, *sorted((ROOT / "results").rglob("README.md"))):
        for image in re.findall(r"!\[[^]]*\]\(([^)]+)\)", page.read_text()):
            assert image.endswith((".svg", ".gif", ".webp")), (page, image)


def test_every_public_name_is_asked_for():
    """Each public module of the package has its part on a page, with all that it defines; the build checks the rest."""
    pages, asked = api.pages(), api.names()
    for module in api.modules():
        page = next(uri for uri, content in pages.items() if f"::: {module.name}\n" in content or not module.own)
        assert set(asked.get(page, ())) >= {f"{module.name}.{name}" for name in module.own}
    assert "jaxpsn.noise.flipout.Flipout" in asked["api/jaxpsn.noise.md"]


def test_docstrings_become_markdown():
    near = ("jaxpsn.noise.flipout.Flipout", "jaxpsn.noise.flipout")
    told = markdown.markdown(
        "Texts [problem][sample] of :class:`Flipout`, ``x[i][j]``; see :func:`nowhere`::\n\n    code", near
    )
    assert r"\[problem\]\[sample\]" in told and "``x[i][j]``" in told and told.endswith("`nowhere`:\n\n    code")
    assert "[`Flipout`][jaxpsn.noise.flipout.Flipout]" in told


def test_every_component_and_every_module_of_methods_has_a_page():
    made = {uri: text for content in methods.pages().values() for uri, text in content.items()}
    for family in methods.families().values():
        for name in family.names():
            assert made[f"methods/{family.name}/{name}.md"].startswith(f"# {name}\n")
    index = made.pop("methods/index.md")
    for uri, text in made.items():
        assert uri.removeprefix("methods/") in index
        assert len(text.split()) > 4, uri


def test_a_component_of_a_family_is_described(monkeypatch):
    monkeypatch.setattr(methods, "families", lambda: {"rule": toys.RULES})
    methods.pages.cache_clear()
    try:
        made = methods.pages()[toys.RULES.name.capitalize()]
    finally:
        methods.pages.cache_clear()
    assert set(made) == {f"methods/{toys.RULES.name}/{name}.md" for name in toys.RULES.names()}
