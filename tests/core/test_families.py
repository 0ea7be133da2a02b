"""Families: names, texts, JSON, aliases, streams."""

import json
from dataclasses import dataclass, replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from jaxpsn.core import Component, Family, Sum, from_json, spec_of, to_json
from jaxpsn.core.errors import UserError
from tests.core import toys
from tests.core.toys import (
    FORMS,
    HOLDS,
    RULES,
    Dense,
    Episode,
    Everything,
    Gaussian,
    Hold,
    LowRank,
    Parameter,
    Rule,
    Steps,
    refused,
    unlisted,
)


def record(name: str, /, **fields):
    """Records of a component, as JSON has them; objects are made in the tests themselves."""
    return st.fixed_dictionaries({"name": st.just(name), "fields": st.fixed_dictionaries(fields)})


positive, real = st.floats(1e-300, 1e300), st.floats(allow_nan=False, allow_infinity=False)
holds = record("episode") | record("steps", n=st.integers(1, 1 << 30))
gaussians = record("gaussian", std=st.floats(0, 1e300))
parameters = record(
    "parameter",
    structure=record("dense") | record("lowrank", rank=st.integers(1, 1024)),
    hold=holds,
    target=positive,
    low=st.floats(0, 1),
    high=st.floats(1, 1e300),
)
sums = st.tuples(parameters, gaussians).map(lambda terms: {"sum": list(terms)})
everything = record(
    "all",
    needed=st.floats(0, 1),
    name=st.text(max_size=20),
    maybe=st.none() | st.text(max_size=20) | st.just("none"),
    flag=st.booleans(),
    sort=st.sampled_from(["a", "b-c", "none"]),
    widths=st.lists(st.integers(1, 1 << 16), min_size=1, max_size=4),
    pair=st.tuples(real, st.integers()).map(list),
    texts=st.lists(st.text(max_size=8), max_size=3),
    any=st.integers(),
    free=real,
    between=st.floats(1, 10),
    holds=st.lists(holds, max_size=3),
    inner=st.none() | sums | gaussians,
    rate=st.none() | positive,
)


@given(st.one_of(everything, sums, parameters))
def test_text_and_json_of_a_component_are_that_component(record):
    component = RULES.make(record)
    assert RULES.parse(spec_of(component)) == component
    assert to_json(component) == record
    assert from_json(RULES, json.loads(json.dumps(record))) == component


def test_texts_leave_defaults_out():
    assert spec_of(Parameter()) == "parameter"
    assert spec_of(Parameter(hold=Steps(3), target=1)) == "parameter(hold=steps(n=3), target=1)"
    assert spec_of(Everything(0, maybe="none", name="a, b")) == 'all(needed=0, name="a, b", maybe="none")'


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("gausian", "explore = 'gausian': unknown; nearest: gaussian"),
        ("steps(3)", "explore = 'steps': unknown; allowed: all, both, gaussian, lattice, parameter, wide"),
        ("gaussian(stdd=1)", "gaussian.stdd = '1': unknown; nearest: std"),
        ("parameter(hold=episode(n=3))", "episode.n = '3': nothing, as episode has no fields"),
        ("parameter(hold=episode(3))", "episode = 'episode(3)': no values without a field"),
        ("gaussian(1, 2)", "gaussian = 'gaussian(1, 2)': values for std, and no more"),
        ("gaussian(1, std=2)", "gaussian.std = '2': given once only"),
        ("gaussian(std=abc)", "gaussian.std = 'abc': a number at least 0"),
        ("gaussian(std='1')", "gaussian.std = '\"1\"': a number at least 0"),
        ("gaussian(std=1e999)", "gaussian.std = inf: a number at least 0"),
        ("parameter(hold=stepz)", "parameter.hold = 'stepz': unknown; nearest: steps"),
        ("parameter(hold=steps(0))", "steps.n = 0: a whole number from 1 to 2147483647"),
        ("parameter(hold=steps+episode)", "parameter.hold = 'steps + episode': one toy-hold, as they do not add up"),
        ("parameter(hold.n=3)", "parameter.hold.n = '3': nothing, as episode has no fields"),
        ("parameter + lattice", "toy-explore = 'parameter + lattice': one policy at most"),
        ("gaussian + gaussian", "explore = 'gaussian + gaussian': gaussian once only"),
        ("(gaussian, wide)", "explore = '(gaussian, wide)': one of gaussian, parameter, lattice, all, wide, both"),
        ("all", "all.needed is missing: a number at least 0 and at most 1"),
        ("all(1, name=a+b)", "all.name = 'a + b': a text (in quotes, if it has brackets, commas, signs or spaces)"),
        ("all(1, widths=64x)", "all.widths = '': a whole number from 1 to 65536"),
        ("wide(rnk=3)", "wide.rnk = '3': unknown; nearest: structure.rank"),
        ("both(3)", "both = 'both(3)': no values without a field"),
    ],
)
def test_texts_that_are_refused(text, message):
    refused(message, RULES.parse, text, "explore")


@pytest.mark.parametrize(
    ("record", "message"),
    [
        ({"name": "gaussian", "fields": {"stdd": 1}}, "gaussian.stdd = 1: unknown; nearest: std"),
        ({"name": "gaussian", "fields": {}}, "toy-explore: gaussian.std is missing"),
        ({"name": "gaussian", "fields": {"std": "1"}}, "gaussian.std = '1': a number at least 0"),
        ({"name": "gausian", "fields": {}}, "toy-explore = 'gausian': unknown; nearest: gaussian"),
        ({"name": "gaussian"}, "toy-explore = {'name': 'gaussian'}: JSON such as {\"name\": ..., \"fields\": {...}}"),
        ([], 'toy-explore = []: JSON such as {"name": ..., "fields": {...}}'),
        ({"sum": [3]}, "toy-explore = 3: one of gaussian, parameter, lattice, all, wide, both"),
    ],
)
def test_json_that_is_refused(record, message):
    refused(message, from_json, RULES, record)


def test_aliases_stand_for_texts():
    wide = RULES.parse("wide")
    assert wide == Parameter(LowRank(4), target=0.6)
    assert RULES.parse("wide(target=0.4, structure.rank=2)") == Parameter(LowRank(2), target=0.4)
    assert RULES.parse("wide(dense)") == Parameter(Dense(), target=0.6)
    assert spec_of(RULES.parse("both(std=0.3) ")) == "parameter + gaussian(std=0.3)"
    assert RULES.get("wide") is Parameter and RULES.names()[-2:] == ("wide", "both")
    assert RULES.stream("wide") == RULES.stream("parameter")


def test_an_alias_of_itself_is_refused(monkeypatch):
    monkeypatch.setattr(RULES, "aliases", dict(RULES.aliases))
    RULES.alias("round", "all(1, inner=and-round)")
    RULES.alias("and-round", "round")
    RULES.alias("round", "all(1, inner=and-round)")  # a cell that runs again
    refused("toy-explore = 'round': an alias that does not stand for itself", RULES.parse, "round")


def test_objects_of_ones_own_go_where_a_name_goes():
    @dataclass(frozen=True)
    class Mine(Rule):
        """Not registered."""

    assert RULES.make(Mine()) == Mine() and spec_of(Mine()) == "Mine"
    assert RULES.make({"name": "gaussian", "fields": {"std": 1}}) == Gaussian(1)
    assert RULES.make(Sum((Mine(), Gaussian()))).terms == (Mine(), Gaussian())
    assert RULES.stream(Mine()) == RULES.stream(Mine) != RULES.stream(Gaussian())
    refused("toy-explore = 'Mine': a registered component", RULES.name_of, Mine())
    refused("toy-explore = 'steps': one of gaussian, parameter, lattice, all, wide, both", RULES.make, Steps())


def test_streams_are_functions_of_the_name():
    assert FORMS.stream("dense") == 0 and RULES.stream(Gaussian()) == 1
    assert HOLDS.stream("steps") == HOLDS.stream(Steps(3)) == 928605738
    assert HOLDS.stream("episode") >= 1024


def test_registering(monkeypatch):
    monkeypatch.setattr(toys, "OWN", {})  # the family made here is of this test alone
    with unlisted():
        family = Family("toy-more", _Base, modules={"later": "tests.core.toys"})
        with pytest.raises(ValueError, match="there is a family toy-more already"):
            Family("toy-more", _Base)
    first = family.register("first", stream=5)(_One)
    assert first is _One and family.names() == ("later", "first") and family.get("first") is _One
    family.register("first", stream=5)(_One)  # a cell that runs again
    refused(
        "toy-more = 'first': another name, as tests.core.test_families._One has it",
        family.register("first"),
        _foreign(_Two),
    )
    refused("toy-more = 'later': another name, as tests.core.toys has it", family.register("later"), _Two)
    refused(
        "toy-more = 'two': another name, as its noise would be that of first", family.register("two", stream=5), _Two
    )
    refused("toy-more = 'a b': a name of letters, digits and ._/-, from a letter on", family.register("a b"), _Two)
    refused("toy-more = 'first': another name, as tests.core.test_families._One has it", family.register("first"), _Two)
    refused("toy-more = 'first': another name, as tests.core.test_families._One has it", family.alias, "first", "two")
    with pytest.raises(TypeError, match="a class of the base _Base"):
        family.register("three")(Gaussian)
    with pytest.raises(TypeError, match=r"must be a @dataclass\(frozen=True\)"):
        family.register("three")(type("Three", (_Base,), {}))
    assert family.names() == ("later", "first")


class _Base(Component):
    """A base."""


@dataclass(frozen=True)
class _One(_Base):
    """One."""


@dataclass(frozen=True)
class _Two(_Base):
    """Two."""


def _foreign(kind):
    """The class as another module would have it."""
    made = dataclass(frozen=True)(type(kind.__name__, (_Base,), {"__module__": "elsewhere"}))
    assert replace(made()) == made()
    return made


def test_lazy_modules_are_imported_when_asked_for(tmp_path, monkeypatch):
    (tmp_path / "toy_lazy_module.py").write_text(
        "from dataclasses import dataclass\nfrom tests.core.toys import Hold\nimport tests.core.test_families as t\n"
        "@t.LAZY.register('lazy')\n@dataclass(frozen=True)\nclass Lazy(t._Base):\n    'Lazy.'\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    import sys

    monkeypatch.setitem(sys.modules, "tests.core.test_families", sys.modules[__name__])
    with unlisted():
        monkeypatch.setattr(sys.modules[__name__], "LAZY", Family("toy-lazy", _Base, {"lazy": "toy_lazy_module"}))
    assert LAZY.names() == ("lazy",) and "toy_lazy_module" not in sys.modules
    assert LAZY.parse("lazy").__class__.__name__ == "Lazy" and LAZY.name_of(LAZY.make("lazy")) == "lazy"


LAZY: Family = None


def test_a_narrower_base_is_kept():
    assert HOLDS.make("steps(2)", "x", Steps) == Steps(2)
    refused("x = 'episode': one of steps", HOLDS.make, "episode", "x", Steps)
    assert isinstance(HOLDS.make(Episode()), Hold)


def test_names_of_an_unregistered_name():
    with pytest.raises(UserError, match="unknown; nearest: steps"):
        HOLDS.get("step")
