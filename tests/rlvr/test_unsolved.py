"""Problems that are asked again, and the gate that leaves out those that an answer has solved."""

import jax
import numpy as np
import pytest

from jaxpsn.core.errors import UserError
from jaxpsn.rlvr import data, gathering
from jaxpsn.tasks.problem import TASKS

TASK = TASKS.get("chain_sum")(terms=2, digits=1)
POOL = 8


def numbers(source, position, count, solved):
    picked = data.pick(source, position, count, np.isin(np.arange(POOL), list(solved)))
    assert [source.problem(position + place) for place in range(POOL)]  # the stream itself is not moved
    return picked.numbers, picked.taken


def test_solved_problems_are_passed_over():
    source = data.stream(TASK, POOL, 3)
    order = [source.number(index) for index in range(POOL)]
    assert numbers(source, 0, 4, ()) == (order[:4], 4)
    assert numbers(source, 0, 4, {order[1], order[3]}) == ([order[0], order[2], order[4], order[5]], 6)
    left = {order[2], order[7]}
    filled, taken = numbers(source, 0, 4, set(order) - left)
    assert filled == [order[0], order[1], order[2], order[7]] and taken == POOL, "two are left, the first others fill"
    assert numbers(source, 0, 4, set(order)) == (order[:4], POOL), "with all solved all are asked"
    picked = data.pick(source, 5, 6, np.zeros(POOL, bool))
    assert len(set(picked.numbers)) == 6, "none twice, where two passes meet"


def test_a_pool_is_the_same_problems_in_another_order():
    source = data.stream(TASK, POOL, 3)
    passes = [[problem.id for problem in data.take(source, POOL * turn, POOL)] for turn in range(2)]
    assert sorted(passes[0]) == sorted(passes[1]) and passes[0] != passes[1]
    assert data.stream(TASK, 0, 3).problem(5) == TASK.problem(3, 5, "train")


def test_what_an_answer_solves_is_not_asked_again(small):
    settings = small.config(noise="none", rollout={"pool": POOL, "gate": "unsolved"})
    source = data.stream(small.TASK, POOL, 0)
    easy = {source.problem(0).id, source.problem(2).id}

    def grade(problems, texts):
        return [float(problem.id in easy) for problem in problems]

    made = small.gatherer(settings, grade, source)
    state = small.state(sigma=0.0).replace(solved=np.zeros(POOL, bool))
    first = made.gather(state, None, gathering.Clock())
    assert first.drawn == 4 and first.solved.sum() == 2 and not state.solved.any()
    again = made.gather(state.replace(solved=first.solved), None, gathering.Clock())
    asked = [problem.id for problem in again.experience.problems]
    assert again.drawn == 6 and not easy & set(asked) and len(set(asked)) == 4


def test_a_run_counts_what_is_solved_and_goes_on_with_it(small):
    settings = small.config(rollout={"pool": POOL, "gate": "unsolved"})
    made = small.reasoner(settings, source=data.stream(small.TASK, POOL, 0))
    state = made.init()
    assert not np.asarray(state.solved).any()
    kept, shares = None, []
    for step in range(3):
        state, told = made.step(state)
        shares.append(told["problems_solved"])
        kept = small.host(state.replace(key=None)) if step == 1 else kept
    assert "problems_solved" in made.metric_names() and shares == sorted(shares) and shares[0] > 0.0
    after, _ = made.step(jax.tree.map(jax.numpy.asarray, kept).replace(key=state.key))
    assert small.same(after.solved, state.solved) and small.same(after.params, state.params)


@pytest.mark.parametrize(
    ("rollout", "said"),
    [
        ({"gate": "unsolved"}, "rollout.gate = 'unsolved': none, or a rollout.pool"),
        ({"pool": 3}, "rollout.pool = 3: at least the 4 prompts"),
    ],
)
def test_what_gates_nothing_is_refused(small, rollout, said):
    with pytest.raises(UserError) as caught:
        small.config(rollout=rollout)
    assert said in str(caught.value)
