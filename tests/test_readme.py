"""What the README says is so: its example runs, and it names what there is."""

import re
from pathlib import Path

import jax

from jaxpsn.control.config import RULES
from jaxpsn.rlvr.algorithms import LOSSES
from jaxpsn.rlvr.presets import PRESETS as RLVR_PRESETS
from jaxpsn.run.jobs.control import PRESETS
from jaxpsn.study.reasoning.arms import VARIANTS
from jaxpsn.tasks.problem import TASKS

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_the_example_runs_and_does_what_its_comments_say():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    names = {}
    exec(example, names)
    assert names["actions"].shape == (4096, 8)
    draw, where = names["draw"], names["obs"][:, 0] > 0
    assert (draw.counter == where.astype("uint32")).all()
    claimed = int(re.search(r"perturbations, (\d+) bytes each", example).group(1))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(draw)) == 4096 * claimed
    assert float(names["state"].sigma) != 0.1
    kernel = names["weights"]["params"]["layers_0"]["kernel"]
    assert kernel.shape == (27, 256) and not (kernel == names["params"]["params"]["layers_0"]["kernel"]).any()


def test_presets_and_rules_are_named():
    for name in (*PRESETS, *RULES, *RLVR_PRESETS, *TASKS.names(), *LOSSES.kinds, *VARIANTS):
        assert f"`{name}`" in README, name


def test_files_that_it_points_to_exist():
    for target in re.findall(r"\]\(((?!https?:)[^)#]+)\)", README):
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
