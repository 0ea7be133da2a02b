"""Descriptions: what a terminal and the docs show of a component."""

import re

import pytest

from jaxpsn.core import describe, families
from tests.core import toys
from tests.core.toys import RULES, refused


@pytest.fixture(autouse=True)
def own_families(monkeypatch):
    """The toys are the families there are; other tests of this process add some of theirs to them."""
    monkeypatch.setattr(describe, "ALL", {one.name: one for one in (toys.HOLDS, toys.FORMS, toys.RULES)})


def test_as_text():
    assert _text("gaussian") == (
        "gaussian (toy-explore): White noise.\n\nEvery step anew.\n\n"
        "  std = 0.2  [traced]\n      Standard deviation of the noise.\n      a number at least 0\n\n"
        "Tuned: std over 0.1, 0.3.\nSource: tests.core.toys"
    )
    assert _text("both").startswith("both (toy-explore): Stands for parameter + gaussian(std=0.1).")
    assert "Tuned: target over 0.1, 0.2." in _text("parameter")


def test_as_markdown():
    text = describe.as_markdown(describe.describe(RULES, "all"))
    assert "| `needed` | `(required)` | a number at least 0 and at most 1 |  |  |" in text
    assert "| `rate` | `none` | a number above 0, or none | yes |  |" in text
    assert text.startswith("## all\n\nA field of each kind.\n")


def test_overview():
    told = describe.overview()
    assert list(told) == sorted(describe.ALL)
    assert ("gaussian", "White noise.") in told["toy-explore"] and ("wide", "A wide one.") in told["toy-explore"]
    text = describe.overview_text()
    # Other tests of this process may have registered holds of theirs, with longer names.
    listed = r"toy-hold: how long a draw is held\n  episode +The whole episode\.\n  steps +A number of steps\.\n"
    assert re.search(listed, text)


def test_a_name_of_several_families_is_told_of_each(monkeypatch):
    refused("--describe = 'gausian': unknown; nearest: gaussian", describe.find, "gausian")
    monkeypatch.setattr(describe, "ALL", {**toys.OWN, "other": toys.OWN["toy-explore"]})
    assert [told.family for told in describe.find("gaussian")] == ["toy-explore", "toy-explore"]
    assert [told.name for told in describe.find("toy-explore.gaussian")] == ["gaussian"]
    assert families.ALL is not describe.ALL


def _text(name):
    (told,) = describe.find(name)
    return describe.as_text(told)
