"""RunConfig refuses bad values; cadences are rounded to whole chunks and fall due exactly once."""

import subprocess
import sys

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from jaxpsn.core.errors import UserError
from jaxpsn.run import cadence
from jaxpsn.run.config import RunConfig


@pytest.mark.parametrize(
    "fields",
    [
        {"steps": 0}, {"seed": -1}, {"seed": 1 << 31}, {"seeds": 0}, {"chunk": 0},
        {"eval_every": -1}, {"checkpoint_every": -5}, {"keep": 0}, {"out": ""}, {"name": "a/b"},
        {"name": ".."}, {"name": ""}, {"resume": ""}, {"resume": "a", "overwrite": True},
    ],
)  # fmt: skip
def test_bad_values_are_refused_in_one_line(fields):
    with pytest.raises(UserError) as caught:
        RunConfig(**fields)
    assert list(fields)[-1] in str(caught.value) and "\n" not in str(caught.value)


def test_config_and_folder_import_without_jax():
    code = "import sys; from jaxpsn.run import config, folder, startup; print('jax' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "False"


def test_rounding_is_told():
    plan = cadence.plan(RunConfig(steps=1000, chunk=150, eval_every=200, checkpoint_every=0), 64)
    assert (plan.chunk, plan.calls, plan.end, plan.eval_every, plan.checkpoint_every) == (192, 3, 1152, 384, 0)
    assert [note.split()[0] for note in plan.notes] == ["chunk", "steps", "eval_every"]
    assert cadence.plan(RunConfig(steps=1000, chunk=100, eval_every=200, checkpoint_every=500), 50).notes == ()


@settings(deadline=None)
@given(
    st.integers(1, 5000), st.integers(1, 900), st.integers(0, 2000), st.integers(0, 2000), st.integers(1, 70),
    st.integers(0, 40),
)  # fmt: skip
def test_every_run_reaches_its_end_in_whole_chunks(steps, chunk, eval_every, checkpoint_every, per_call, done):
    run = RunConfig(steps=steps, chunk=chunk, eval_every=eval_every, checkpoint_every=checkpoint_every)
    plan = cadence.plan(run, per_call, start=done * per_call)
    step, evaluations, saves = plan.start, 0, 0
    while step < plan.end:
        before, step = step, plan.next(step, step)
        assert step - before == plan.calls * per_call
        evaluations += plan.evaluates(before, step)
        saves += plan.saves(before, step)
    assert step == plan.end and (step >= steps or plan.start >= steps)
    assert step - max(steps, plan.start) < plan.chunk
    if plan.start < plan.end:
        assert saves >= 1 and (evaluations >= 1) == (eval_every > 0)
        if checkpoint_every:
            expected = plan.end // plan.checkpoint_every - plan.start // plan.checkpoint_every
            assert expected <= saves <= expected + 1
