"""Scale rules are one family for both homes: a home takes what it can measure, and refuses the rest in one line."""

import jax.numpy as jnp
import pytest

from jaxpsn.control.exploration.parameter import Parameter
from jaxpsn.core import errors
from jaxpsn.core.components import to_json
from jaxpsn.noise.scale_rules import SCALES, Run
from jaxpsn.rlvr.config import RlvrConfig
from jaxpsn.rlvr.exploration import sigma
from jaxpsn.rlvr.exploration.noises import Psn

CONTROL = ("constant", "linear", "multiplicative", "first_order", "bisection")
REASONING = ("fixed", "staged", "kl", "composite", "multiplicative", "first_order", "bisection")


def test_every_rule_is_of_the_one_family_and_has_a_home():
    assert {name for name in SCALES.names() if name not in SCALES.aliases} == {*CONTROL, *REASONING}


@pytest.mark.parametrize("name", sorted({*CONTROL, *REASONING}))
def test_a_home_takes_what_it_measures_and_names_what_fits(name):
    for kind, field, fitting in ((Parameter, "scale", CONTROL), (Psn, "sigma", REASONING)):
        if name in fitting:
            assert to_json(kind(**{field: name}))["fields"][field]["name"] == name
            continue
        with pytest.raises(errors.UserError) as caught:
            kind(**{field: name})
        text = str(caught.value)
        assert text.startswith(f"{kind.__name__.lower()}.{field} = '{name}'") and len(text.splitlines()) == 1
        assert set(text.partition(": a rule that fits here: ")[2].split(", ")) >= set(fitting)


@pytest.mark.parametrize("name", ["multiplicative", "first_order", "bisection"])
def test_a_rule_of_control_follows_the_kl_of_a_language_model(name):
    rule = RlvrConfig(noise=f"psn(sigma={name}(target=0.01))").sigma
    assert rule.divergence == 0.01 and rule.bounds == (1e-5, 10.0)
    follow = sigma.told(rule.build(rule.start, Run(10, 15)))
    state = follow.init(rule.start)
    for _ in range(400):
        state = follow.update(state, {"noise_kl_k1": jnp.float32(9.0), "noise_kl_k3": 0.25 * state.sigma**2})
    assert 0.25 * float(state.sigma) ** 2 == pytest.approx(0.01, rel=0.1)
    still = follow.update(state, {"noise_kl_k1": jnp.float32(0.0), "noise_kl_k3": jnp.float32(jnp.nan)})
    assert float(still.sigma) == float(state.sigma)
