"""A program that gets simpler on its way: which one runs when, and that nothing else of a run knows of it."""

import jax.numpy as jnp
import pytest

from jaxpsn.run.checkpoints.store import digest
from tests.run.test_loop import events, stop_after, table

CHANGE = 15
"""The call from which on the simpler program holds; chunks of ten calls can take it from their second border on."""


@pytest.fixture
def simpler(fake):
    """A program that is another one from a call on: the same steps, and a metric that tells which one made them."""

    class Later(fake.Fake):
        def step(self, state):
            state, metrics = super().step(state)
            return state, metrics | {"never": jnp.float32(1.0)}

    class Now(fake.Fake):
        def __init__(self):
            super().__init__()
            self.later = Later()

        def since(self, clock, hyper=None):
            return self.later if clock >= CHANGE else self

    return Now


@pytest.mark.parametrize("seeds", [1, 2])
def test_it_changes_at_the_first_border_behind(train, fake, simpler, seeds):
    plain, changing = train(name="plain", seeds=seeds), train(simpler(), name="changing", seeds=seeds)
    assert digest(plain.state) == digest(changing.state)
    told = {int(row["step"]): row["never"] for row in table(changing.folder)}
    assert [told[step] for step in (40, 80, 120, 160)] == ["", "", "1", "1"]
    compiled = [one["detail"] for one in events(changing.folder) if one["event"] == "compile"]
    assert [text.rsplit(" ", 2)[0] for text in compiled] == ["training step", "step after the warm-up", "evaluation"]


@pytest.mark.parametrize("crash", [40, 80, 120])
def test_resumed_on_either_side_it_is_the_uninterrupted_run(train, monkeypatch, simpler, crash):
    whole = train(simpler(), name="whole")
    with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
        stop_after(patch, crash)
        train(simpler(), name="cut")
    program = simpler()  # the crash at a step comes before its checkpoint
    again = train(program, name=None, resume="cut")
    assert digest(again.state) == digest(whole.state) and table(again.folder) == table(whole.folder)
    assert bool(program.traces) == (crash <= 80), "behind the change the first program is not compiled again"
