"""Every name that the package offers leads to what it names; a module that does not keep its word says so."""

import dataclasses
import importlib
import re
from pathlib import Path

import pytest

import jaxpsn
from jaxpsn.core import describe
from jaxpsn.core.components import Component, Sum, spec_of, terms_of
from jaxpsn.core.families import ALL, Family

HOME = Path(jaxpsn.__file__).parent


def families():
    """The families of the package, those of tests left out."""
    for path in sorted(HOME.rglob("*.py")):
        if path.parent.name != "core" and re.search(r"\bFamily(\[.*\])?\(", path.read_text()):
            parts = ("jaxpsn", *path.relative_to(HOME).with_suffix("").parts)
            importlib.import_module(".".join(parts).removesuffix(".__init__"))
    return [family for family in ALL.values() if family.base.__module__.startswith("jaxpsn.")]


NAMES = [(family, name) for family in families() for name in family.names()]


@pytest.mark.parametrize(("family", "name"), NAMES, ids=[f"{family.name}.{name}" for family, name in NAMES])
def test_a_name_leads_to_what_it_names(family, name):
    told = describe.describe(family, name)
    assert told.summary and told.name == name
    if name in family.aliases:
        made = family.make(name)
        assert all(isinstance(term, family.base) for term in terms_of(made))
        return
    kind = family.get(name)
    assert issubclass(kind, family.base) and family.name_of(kind) == name and dataclasses.is_dataclass(kind)
    if name in family.modules:
        assert kind.__module__ == family.modules[name]
    if not any(row.default == "(required)" for row in told.rows):
        assert family.make(name) == kind() and spec_of(kind()) == name and not isinstance(kind(), Sum)


def test_all_rooms_are_seen():
    assert len(families()) >= 14 and {"agent", "explore", "scale", "noise", "reward", "log"} <= set(ALL)


def test_a_module_that_registers_another_name_says_so(request):
    class Thing(Component):
        """A thing."""

    request.addfinalizer(lambda: ALL.pop("thing"))
    things = Family("thing", Thing, {"spoon": "json"})
    with pytest.raises(LookupError, match="json registers no thing of the name spoon"):
        things.get("spoon")


def test_components_are_left_alone_by_run_time_checkers():
    assert Component.__no_type_check__ is True
