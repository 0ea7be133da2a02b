"""Components check their fields, and are read and changed by path."""

import dataclasses
import subprocess
import sys
from dataclasses import dataclass
from fractions import Fraction as Ratio

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from jaxpsn.core import (
    Component,
    Sum,
    Tune,
    fields_of,
    override,
    path_in,
    paths_of,
    replaced,
    spec_of,
    traced,
    tunes_of,
)
from jaxpsn.core.errors import UserError
from tests.core.toys import RULES, Everything, Gaussian, LowRank, Parameter, Steps, refused


def test_values_are_brought_to_the_type_of_their_field():
    made = Everything(1, widths=[3, 4], pair=(1, 2), holds=["steps(3)"], inner="both", between=np.float32(2.5))
    assert isinstance(made.needed, float) and made.widths == (3, 4) and made.pair == (1.0, 2)
    assert made.holds == (Steps(3),) and isinstance(made.inner, Sum) and type(made.between) is float
    assert Everything(Ratio(1, 2), any=np.int64(3)).any == 3
    assert RULES.parse("all(1, any=1e6)").any == 1_000_000


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"needed": 1.5}, "all.needed = 1.5: a number at least 0 and at most 1"),
        ({"needed": True}, "all.needed = True: a number at least 0 and at most 1"),
        ({"needed": "0.5"}, "all.needed = '0.5': a number at least 0 and at most 1"),
        ({"needed": float("nan")}, "all.needed = nan: a number at least 0 and at most 1"),
        ({"free": float("inf")}, "all.free = inf: a number"),
        ({"any": 1.0}, "all.any = 1.0: a whole number"),
        ({"any": None}, "all.any = None: a whole number"),
        ({"between": 0.5}, "all.between = 0.5: a number at least 1 and at most 10"),
        ({"flag": 1}, "all.flag = 1: true or false"),
        ({"name": 3}, "all.name = 3: a text (in quotes, if it has brackets, commas, signs or spaces)"),
        ({"sort": "bc"}, "all.sort = 'bc': unknown; nearest: b-c"),
        ({"sort": None}, "all.sort = None: one of a, b-c, none"),
        ({"widths": ()}, "all.widths = (): 1 to 64 values, each a whole number from 1 to 65536"),
        ({"widths": (0,)}, "all.widths = 0: a whole number from 1 to 65536"),
        ({"widths": 64}, "all.widths = 64: 1 to 64 values, each a whole number from 1 to 65536"),
        ({"pair": (1, 2, 3)}, "all.pair = (1, 2, 3): (a number; a whole number)"),
        ({"holds": (Gaussian(),)}, "all.holds = 'gaussian': one of episode, steps"),
        ({"holds": (3,)}, "all.holds = 3: one of episode, steps"),
        ({"rate": 0}, "all.rate = 0: a number above 0"),
    ],
)
def test_what_is_out_of_range_is_refused(fields, message):
    refused(message, Everything, **{"needed": 0} | fields)


def test_a_long_number_is_shown_by_its_ends():
    with pytest.raises(UserError, match=r"^all\.free = 1000.* \.\.\. .*000: a number$"):
        Everything(0, free=10**400)
    with pytest.raises(UserError, match=r"^all\.free = Fraction\(1000.* \.\.\. .*: a number$"):
        Everything(0, free=Ratio(10**400))


def test_fields_that_contradict_each_other():
    refused("parameter.low = 3.0: at most high = 2", Parameter, low=3, high=2)
    changed = override(Parameter(low=1, high=2), {"low": "4", "high": "8"})
    assert (changed.low, changed.high) == (4, 8)


def test_descriptions_of_fields():
    (std,) = fields_of(Gaussian)
    assert (std.name, std.type, std.allowed, std.default) == ("std", "float", "a number at least 0", 0.2)
    assert std.traced and not std.required and std.doc == "Standard deviation of the noise."
    told = {one.name: one for one in fields_of(Everything)}
    assert told["needed"].required and told["rate"].traced and told["rate"].type == "float | None"
    assert told["inner"].type == "toy-explore | None" and told["name"].doc == ""


def test_an_annotation_that_says_nothing_is_an_error_of_its_author():
    @dataclass(frozen=True)
    class Odd(Component):
        """Odd."""

        field: dict = dataclasses.field(default_factory=dict)

    with pytest.raises(TypeError, match=r"Odd.field: .* is no type of a field"):
        Odd()


def test_traced_fields_take_arrays_and_are_swept():
    rule = RULES.parse("both(hold=steps(3))")
    assert traced(rule) == {"parameter.target": 0.2, "gaussian.std": 0.1}

    def doubled(std):
        return 2.0 * traced(replaced(rule, {"gaussian.std": std}))["gaussian.std"]

    np.testing.assert_allclose(jax.vmap(doubled)(jnp.arange(3.0)), [0.0, 2.0, 4.0])
    assert jax.tree.leaves(traced(replaced(rule, traced(rule)))) == [0.1, 0.2]
    assert isinstance(Gaussian(std=jnp.float32(0.5)).std, jax.Array)
    assert spec_of(Gaussian(std=jnp.float32(0.5))) == "gaussian(std=0.5)"
    refused("value = 'ArrayImpl': a number, to be written down", spec_of, Gaussian(std=jnp.ones(2)))
    refused("gaussian.std = -1.0: a number at least 0", Gaussian, std=np.float64(-1.0))
    with pytest.raises(Exception, match=r"parameter\.low = .*: a number at least 0"):
        Parameter(low=jnp.zeros(()))


def test_validation_does_not_see_arrays():
    assert Parameter(target=jnp.zeros(3), low=3.0, high=2.0).low == 3.0


def test_overrides_reach_into_what_was_just_chosen():
    after = override(Parameter(), {"structure.rank": "4", "structure": "lowrank", "hold": "steps(7)"}, "explore")
    assert after == Parameter(structure=LowRank(4), hold=Steps(7))
    both = override(RULES.parse("both"), {"std": "1", "structure.rank": "3", "parameter.target": "0.5"})
    assert spec_of(both) == "parameter(structure=lowrank(rank=3), target=0.5) + gaussian(std=1)"
    assert override(Everything(1), {"name": "a b, (c)", "maybe": "none", "widths": "8"}) == Everything(
        1, name="a b, (c)", maybe=None, widths=(8,)
    )
    assert paths_of(both)[:3] == ("parameter.structure", "parameter.structure.rank", "parameter.hold")


@pytest.mark.parametrize(
    ("rule", "path", "text", "message"),
    [
        ("parameter", "structure.rnk", "4", "explore.structure.rnk = '4': unknown; nearest: rank"),
        ("parameter", "targt", "4", "explore.targt = '4': unknown; nearest: target, structure"),
        ("parameter", "target.x", "4", "explore.target.x = '4': unknown; nearest: target"),
        ("parameter", "target", "-4", "explore.target = -4: a number above 0"),
        ("parameter", "structure", "lowrnk", "explore.structure = 'lowrnk': unknown; nearest: lowrank"),
        ("parameter", "structure.rank", "0", "explore.structure.rank = 0: a whole number from 1 to 1024"),
        ("parameter", "hold", "steps(", "explore.hold = 'steps(': a name or a value is expected, not the end"),
        ("both", "gaussian", "pink", "explore.gaussian = 'pink': unknown; nearest: gaussian.std"),
        ("both", "gaussian.st", "1", "explore.gaussian.st = '1': unknown; nearest: std"),
        ("lattice + gaussian", "std", "1", "explore.std = '1': a whole path: lattice.std, gaussian.std"),
    ],
)
def test_overrides_that_are_refused(rule, path, text, message):
    refused(message, override, RULES.parse(rule), {path: text}, "explore")


def test_what_a_tuning_tries():
    assert Gaussian().tune_field() == Tune("std", (0.1, 0.3))
    assert Parameter().tune_field().field == "target" and tunes_of(Steps()) == {}
    assert tunes_of(Gaussian()) == {"std": (0.1, 0.3)}
    assert tunes_of(RULES.parse("both")) == {"parameter.target": (0.1, 0.2), "gaussian.std": (0.1, 0.3)}


def test_the_room_imports_no_numerics():
    code = (
        "import sys, jaxpsn.core; from jaxpsn.core import Component, Family, load_plugin, describe;"
        "assert not {'jax', 'numpy', 'jinja2', 'rich'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_a_field_that_one_nested_component_has_needs_no_path():
    assert RULES.parse("parameter(structure=lowrank, rank=4)").structure.rank == 4
    assert override(RULES.parse("parameter"), {"structure": "lowrank", "rank": "4"}).structure.rank == 4
    summed = RULES.parse("both(structure=lowrank, rank=4)")
    assert summed.terms[0].structure.rank == 4 and path_in(summed, "rank") == "parameter.structure.rank"
    assert path_in(summed.terms[0], "rank") == "structure.rank" == path_in(summed.terms[0], "structure.rank")
    refused("parameter.rank = '4': unknown; allowed: high, hold, low, structure, target",
            RULES.parse, "parameter(structure=dense, rank=4)")  # fmt: skip
    refused("explore.std = std: a whole path: lattice.std, gaussian.std".replace("std:", "'std':", 1), path_in,
            RULES.parse("lattice + gaussian"), "std", "explore")  # fmt: skip
