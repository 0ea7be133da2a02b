"""The README is short, its example does what its comments say, and its numbers are those of the files."""

import re
from pathlib import Path

import jax

ROOT = Path(__file__).resolve().parent.parent
README = (ROOT / "README.md").read_text()


def test_it_is_one_screen_and_a_half():
    assert README.count("\n") <= 130
    assert len(README.split()) <= 900


def test_the_example_runs_and_does_what_its_comments_say():
    (example,) = re.findall(r"```python\n(.*?)```", README, re.DOTALL)
    assert len([line for line in example.splitlines() if line and "import" not in line]) <= 10
    names = {}
    exec(example, names)
    assert names["actions"].shape == (4096, 8)
    claimed = int(re.search(r"perturbations, (\d+) bytes each", example).group(1))
    assert sum(leaf.nbytes for leaf in jax.tree.leaves(names["draw"])) == 4096 * claimed
    assert (names["actions"][:1] != names["actions"][1:]).any(axis=1).all()


def test_files_that_it_points_to_exist():
    targets = re.findall(r"\]\(((?!https?:)[^)#]+)\)", README)
    assert len(targets) > 10
    for target in targets:
        assert (ROOT / target).exists(), target


def test_nothing_is_left_to_fill_in():
    assert "@@" not in README
